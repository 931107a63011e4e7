//! Ways in which other trainers lose a run without a word; each must be an error or impossible here. The tests are named
//! after the lines of this table; those of other crates are named in it.
//!
//! | line | failure | test |
//! |---|---|---|
//! | 1 | a mask without a learned token | `line_01_...` |
//! | 2 | a mask that covers everything | `line_02_...` |
//! | 3 | two BOS tokens | `line_03_...` |
//! | 4 | EOS never learned | `line_04_...` |
//! | 5 | the wrong EOS saved | `line_05_...` |
//! | 6 | a wrong boundary between prompt and completion | `line_06_...` |
//! | 7 | accumulated gradients that are not those of the large batch | `train/tests/step.rs`: `the_step_does_not_depend_on_how_it_is_cut`; `objective/tests/identities.rs`: `a_mean_of_means_is_not_the_token_mean` |
//! | 8 | packed rows that see each other, or stand at wrong positions | `model/tests/equivalence.rs`: `packed_sequences_have_the_log_probs_that_each_has_alone`, `changing_one_segment_leaves_what_does_not_see_it_bit_equal`; `line_08_...` |
//! | 9 | small updates that round to nothing in bf16 | `gft/tests/train.rs`: `resume_keeps_the_master_weights_of_a_rounded_model` |
//! | 12 | all groups without a signal, loss 0, nothing said | `train/tests/step.rs`: `no_signal_no_update`; `train/src/health.rs` |
//! | 13 | equal rewards whose deviation is not quite 0 | `objective/src/advantage.rs`: `equal_rewards_have_advantage_exactly_zero` |
//! | 14 | log-probabilities at another temperature than that of sampling | `model/tests/generation.rs`: `reported_log_probabilities_are_those_of_the_training_path`; `gft/tests/train.rs`: `a_cut_distribution_of_draws_is_said` |
//! | 15 | text tokenized again into other ids than those sampled | `rollout/tests/own.rs`: `own_rollouts_are_keyed`; `line_06_merges_across_...` |

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

use gft_data::{
    ChatTemplate, Completion, Encode, EncodeOptions, Encoder, GroupShape, Message, Presentation, Prompt,
    Rendering, Row, Tokenizer, pack,
};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data").join(name)
}

fn tokenizer(name: &str) -> Arc<Tokenizer> {
    Arc::new(Tokenizer::load(&golden("tokenizers").join(name)).unwrap())
}

fn encoder(tokenizer_name: &str, template: &str, options: EncodeOptions) -> Encoder {
    let tokenizer = tokenizer(tokenizer_name);
    let source = match std::fs::read_to_string(golden("templates").join(format!("{template}.jinja"))) {
        Ok(source) => source,
        Err(_) => template.to_string(),
    };
    let template = ChatTemplate::new(&source, "test", tokenizer.specials().clone()).unwrap();
    Encoder::with_template(tokenizer, template, options).unwrap()
}

fn row(prompt: Prompt, answer: &str) -> Row {
    let (expert, columns) = (vec![Completion::text(answer)], Map::new());
    let (teachers, named) = (Vec::new(), Map::new());
    Row { id: "r".into(), prompt, solution: None, gold: None, expert, teachers, columns, named }
}

fn question(text: &str, answer: &str) -> Row {
    row(Prompt::Question(text.into()), answer)
}

fn turns() -> Row {
    let messages = [Message::user("One?"), Message::assistant("the first"), Message::user("Two?")];
    row(Prompt::Messages(messages.to_vec()), "the second")
}

fn all_turns() -> EncodeOptions {
    EncodeOptions { all_turns: true, ..EncodeOptions::default() }
}

fn error<T: std::fmt::Debug>(result: gft_data::Result<T>) -> String {
    result.unwrap_err().to_string()
}

/// The learned tokens as text, each run on its own.
fn learned(encoder: &Encoder, ids: &[u32], mask: &[bool]) -> Vec<String> {
    let mut runs: Vec<Vec<u32>> = vec![Vec::new()];
    for (&id, &learned) in ids.iter().zip(mask) {
        match learned {
            true => runs.last_mut().unwrap().push(id),
            false if runs.last().unwrap().is_empty() => {}
            false => runs.push(Vec::new()),
        }
    }
    runs.iter().filter(|r| !r.is_empty()).map(|r| encoder.tokenizer().decode(r, false).unwrap()).collect()
}

// 1: a mask without a single learned token.
#[test]
fn line_01_no_supervised_token_is_an_error() {
    let marks_nothing = "{% for m in messages %}{{ m.content }}{% generation %}{% endgeneration %}<|im_end|>{% endfor %}{{ 'A:' if add_generation_prompt }}";
    let marked = encoder("plain", marks_nothing, all_turns());
    assert!(error(marked.row(&turns())).contains("no token of this completion would be learned"));
    let cut = EncodeOptions { max_completion_tokens: Some(0), ..EncodeOptions::default() };
    assert!(error(encoder("plain", "chatml", cut).row(&question("q", "a"))).contains("no token"));
}

// 2: a mask that covers everything.
#[test]
fn line_02_other_speakers_are_never_learned() {
    for template in ["chatml", "chatml_marked_crlf", "qwen2_5"] {
        let encoder = encoder("plain", template, all_turns());
        let encoded = encoder.row(&turns()).unwrap().kept().unwrap();
        let completion = &encoded.expert[0];
        let runs = learned(&encoder, &completion.ids, &completion.supervised);
        assert_eq!(runs, ["the first<|im_end|>", "the second<|im_end|>"], "{template}");
    }
}

/// A message that says that it is not to be learned is context, whoever wrote it.
#[test]
fn line_02_a_weight_of_0_is_kept() {
    let weighed = |weights: [Option<u8>; 2]| {
        let said = |text: &str, weight: Option<u8>| {
            let mut message = Message::assistant(text);
            message.0.extend(weight.map(|weight| ("weight".to_string(), weight.into())));
            message
        };
        let prompt = vec![Message::user("One?"), said("the first", weights[0]), Message::user("Two?")];
        let mut row = row(Prompt::Messages(prompt), "the second");
        row.expert[0].messages = vec![said("the second", weights[1])];
        row
    };
    for template in ["chatml", "chatml_marked_crlf"] {
        let encoder = encoder("plain", template, all_turns());
        let runs = |weights| {
            let encoded = encoder.row(&weighed(weights)).unwrap().kept().unwrap();
            learned(&encoder, &encoded.expert[0].ids, &encoded.expert[0].supervised)
        };
        assert_eq!(runs([Some(0), None]), ["the second<|im_end|>"], "{template}");
        assert_eq!(runs([None, Some(0)]), ["the first<|im_end|>"], "{template}");
        assert_eq!(runs([Some(1), Some(1)]).len(), 2, "{template}");
        assert!(error(encoder.row(&weighed([Some(0), Some(0)]))).contains("no token"), "{template}");
    }
}

// 3: two BOS tokens.
#[test]
fn line_03_one_bos() {
    let bos = tokenizer("bos").bos_id().unwrap();
    let count = |ids: &[u32]| ids.iter().filter(|&&id| id == bos).count();
    // From the template, which the tokenizer must not repeat.
    let options = EncodeOptions {
        render: gft_data::RenderOptions { date: gft_data::Date::new(2025, 1, 2), ..Default::default() },
        ..Default::default()
    };
    let llama = encoder("bos", "llama3", options);
    assert_eq!(count(&llama.row(&question("q", "a")).unwrap().kept().unwrap().prompt.ids), 1);
    // For a text that no template touches, from the tokenizer's rule, unless the text brings its own.
    let plain = encoder("bos", "marked_lines", EncodeOptions::default());
    for text in ["one two", "<|begin_of_text|>one two"] {
        let ids = plain.row(&row(Prompt::Text(text.into()), " three")).unwrap().kept().unwrap().prompt.ids;
        assert_eq!((ids[0], count(&ids)), (bos, 1), "{text}");
    }
    // A tokenizer that adds none gets none.
    let none = encoder("plain", "chatml", EncodeOptions::default());
    let ids = none.row(&row(Prompt::Text("one".into()), " two")).unwrap().kept().unwrap().prompt.ids;
    assert_eq!(none.tokenizer().decode(&ids, false).unwrap(), "one");
    // Twice in the text itself.
    let twice = "{{ bos_token ~ bos_token }}{% for m in messages %}{{ m.content ~ eos_token }}{% endfor %}";
    let error = error(encoder("bos", twice, EncodeOptions::default()).prompt(&question("q", "a")));
    assert!(error.contains("<|begin_of_text|> twice"), "{error}");
}

// 4: EOS never learned because it is also the padding token, or because the template leaves it out.
#[test]
fn line_04_the_end_of_the_turn_is_learned() {
    let pad_is_eos = tokenizer_with(|config| config["pad_token"] = json!("<|im_end|>"));
    assert_eq!(pad_is_eos.pad_id(), pad_is_eos.eos_id());
    let source = std::fs::read_to_string(golden("templates/chatml.jinja")).unwrap();
    let template = ChatTemplate::new(&source, "test", pad_is_eos.specials().clone()).unwrap();
    let encoder = Encoder::with_template(Arc::new(pad_is_eos), template, EncodeOptions::default()).unwrap();
    let expert = encoder.row(&question("q", "a")).unwrap().kept().unwrap().expert.remove(0);
    assert_eq!(
        (expert.ids.last().copied(), expert.supervised.last()),
        (encoder.tokenizer().eos_id(), Some(&true))
    );

    let without_end = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}### assistant:\n{% endif %}";
    let encoder = self::encoder("plain", without_end, EncodeOptions::default());
    assert!(encoder.turn_end().appended && encoder.description().contains("ends no turn"));
    let expert = encoder.row(&question("q", "a")).unwrap().kept().unwrap().expert.remove(0);
    assert_eq!(encoder.tokenizer().decode(&expert.ids, false).unwrap(), "a<|im_end|>");

    let end_outside = "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}";
    let encoder = self::encoder("plain", end_outside, all_turns());
    assert!(error(encoder.row(&turns())).contains("no end of a turn is learned"));
}

// 8: of several groups in one pass each completion follows its own prompt, and no prompt stands twice.
#[test]
fn line_08_packed_groups_are_trees_of_their_own() {
    let groups: Vec<GroupShape> = (1..40)
        .map(|i| GroupShape { prompt: 3 + i % 7, responses: (0..i % 5).map(|k| 2 + k * i % 11).collect() })
        .collect();
    let plan = pack(&groups, 64).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for tree in plan.batches.iter().flat_map(|batch| &batch.trees) {
        for &response in &tree.responses {
            assert!(response < groups[tree.group].responses.len(), "a response of another group");
            assert!(seen.insert((tree.group, response)), "packed twice");
        }
    }
    assert_eq!(seen.len(), groups.iter().map(|group| group.responses.len()).sum::<usize>());
    assert!(plan.batches.iter().any(|batch| batch.trees.len() > 1), "nothing was packed together");
}

fn tokenizer_with(change: impl Fn(&mut Value)) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        std::fs::copy(golden("tokenizers/plain").join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    Tokenizer::load(folder.path()).unwrap()
}

// 5: the wrong EOS saved after a base model has learned a chat format.
#[test]
fn line_05_the_learned_end_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden("tokenizers/plain").join(name), folder.path().join(name)).unwrap();
    }
    let write =
        |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    let base = tokenizer("plain");
    let (old, new) = (base.token_to_id("<|endoftext|>").unwrap(), base.token_to_id("<|im_end|>").unwrap());
    write("tokenizer_config.json", json!({"eos_token": "<|endoftext|>", "model_max_length": 99}));
    write("generation_config.json", json!({"eos_token_id": old, "temperature": 0.5}));
    std::fs::copy(golden("templates/chatml.jinja"), folder.path().join("chat_template.jinja")).unwrap();

    let encoder =
        Encoder::new(Arc::new(Tokenizer::load(folder.path()).unwrap()), EncodeOptions::default()).unwrap();
    assert_eq!(encoder.tokenizer().stop_ids(), [old]);
    assert_eq!((encoder.turn_end().id, encoder.turn_end().known_stop), (new, false));
    assert!(encoder.description().contains("has to be added to eos_token_id"));
    encoder.write_stop_config(folder.path()).unwrap();

    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.path().join(name)).unwrap()).unwrap()
    };
    assert_eq!(read("generation_config.json"), json!({"eos_token_id": [new, old], "temperature": 0.5}));
    assert_eq!(read("tokenizer_config.json"), json!({"eos_token": "<|im_end|>", "model_max_length": 99}));
    let saved = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(saved.eos_id(), Some(new));
    assert!(Encoder::new(Arc::new(saved), EncodeOptions::default()).unwrap().turn_end().known_stop);
}

// 6: a wrong boundary between prompt and completion.
#[test]
fn line_06_a_template_that_does_not_continue_its_prompt_is_refused() {
    let row = question("q", "<think>\nhm\n</think>\n\nanswer");
    let error = error(encoder("bos", "deepseek_r1", EncodeOptions::default()).row(&row));
    assert!(error.contains("boundary") && error.contains("verbatim"), "{error}");
    let verbatim = EncodeOptions { rendering: Rendering::Verbatim, ..EncodeOptions::default() };
    let encoder = encoder("bos", "deepseek_r1", verbatim);
    let encoded = encoder.row(&question("q", "hm\n</think>\n\nanswer")).unwrap().kept().unwrap();
    let text = |ids: &[u32]| encoder.tokenizer().decode(ids, false).unwrap();
    assert_eq!(text(&encoded.prompt.ids), "<|begin_of_text|><|User|>q<|Assistant|><think>\n");
    assert_eq!(text(&encoded.expert[0].ids), "hm\n</think>\n\nanswer<|eot_id|>");
}

/// Turns that the template rewrites once later ones follow have no mask that is true for all of them.
#[test]
fn line_06_rewritten_turns_are_refused() {
    let messages =
        [Message::user("One?"), Message::assistant("<think>\nhm\n</think>\n\n1"), Message::user("Two?")];
    let row = row(Prompt::Messages(messages.to_vec()), "2");
    assert!(error(encoder("plain", "qwen3", all_turns()).row(&row)).contains("rewrites earlier turns"));
    assert!(encoder("plain", "qwen3", EncodeOptions::default()).row(&row).is_ok());
}

// 6: the prompt's ids are those of generation, whatever follows, and nothing is lost at the seam.
#[test]
fn line_06_merges_across_the_boundary_are_kept_apart_and_said() {
    let encoder = encoder("plain", "chatml", EncodeOptions::default());
    for (prompt, completion, merged) in
        [("one cl", "ips in May", true), ("Natalia", " sold", false), ("she ", "sold", true)]
    {
        let row = row(Prompt::Text(prompt.into()), completion);
        let Encode::Kept(alone) = encoder.prompt(&row).unwrap() else { panic!("dropped") };
        let encoded = encoder.row(&row).unwrap().kept().unwrap();
        assert_eq!(encoded.prompt, alone);
        assert_eq!(encoded.prompt.ids, encoder.tokenizer().encode(prompt).unwrap());
        let whole = [alone.ids.as_slice(), &encoded.expert[0].ids].concat();
        let text = encoder.tokenizer().decode(&whole, false).unwrap();
        assert_eq!(text, format!("{prompt}{completion}<|im_end|>"));
        assert_eq!(encoded.expert[0].boundary_merged, merged, "{prompt:?} {completion:?}");
    }
}

#[test]
fn line_04_limits_are_counted_and_never_silent() {
    let options = |max_prompt_tokens, max_completion_tokens, max_length| EncodeOptions {
        max_prompt_tokens,
        max_completion_tokens,
        max_length,
        ..EncodeOptions::default()
    };
    let row = question("How many clips did Natalia sell?", "Natalia sold 48 clips in May.");
    let whole = encoder("plain", "chatml", EncodeOptions::default()).row(&row).unwrap().kept().unwrap();
    let (p, r) = (whole.prompt.ids.len(), whole.expert[0].ids.len());

    let dropped = encoder("plain", "chatml", options(Some(p - 1), None, None)).row(&row).unwrap();
    assert_eq!(dropped, Encode::PromptTooLong { tokens: p, limit: p - 1 });
    assert!(encoder("plain", "chatml", options(Some(p), None, None)).row(&row).unwrap().kept().is_some());
    let dropped = encoder("plain", "chatml", options(None, None, Some(p))).row(&row).unwrap();
    assert_eq!(dropped, Encode::PromptTooLong { tokens: p, limit: p - 1 });

    for (options, length) in
        [(options(None, Some(r - 1), None), r - 1), (options(None, None, Some(p + 2)), 2)]
    {
        let cut = encoder("plain", "chatml", options).row(&row).unwrap().kept().unwrap().expert.remove(0);
        assert!(cut.truncated);
        assert_eq!(cut.ids, whole.expert[0].ids[..length]);
    }
    for options in [options(None, Some(r), None), options(None, None, Some(p + r))] {
        assert_eq!(encoder("plain", "chatml", options).row(&row).unwrap().kept().unwrap(), whole);
    }
}

#[test]
fn system_prompt_and_suffix() {
    let options = EncodeOptions {
        system_prompt: Some("Be brief.".into()),
        instruction_suffix: Some("\nThink.".into()),
        ..EncodeOptions::default()
    };
    let encoder = encoder("plain", "chatml", options);
    assert_eq!(
        encoder.prompt_string(&question("Why?", "a")).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?\nThink.<|im_end|>\n<|im_start|>assistant\n"
    );
    let own = row(Prompt::Messages(vec![Message::system("Mine."), Message::user("Why?")]), "a");
    assert!(encoder.prompt_string(&own).unwrap().starts_with("<|im_start|>system\nMine.<|im_end|>\n"));
    for part in ["Be brief.", "Think."] {
        assert!(encoder.description().contains(part));
    }
}

/// A base model without a template gets the plain one and is told so.
#[test]
fn plain_template_is_said() {
    let encoder = Encoder::new(tokenizer("pieces"), EncodeOptions::default()).unwrap();
    assert!(encoder.description().starts_with("no chat template in the model folder"));
    let encoded = encoder.row(&question("Why?", "Because.")).unwrap().kept().unwrap();
    let text = |ids: &[u32]| encoder.tokenizer().decode(ids, false).unwrap();
    assert_eq!(text(&encoded.prompt.ids), "<s> Why?\n");
    assert_eq!(text(&[encoded.prompt.ids, encoded.expert[0].ids.clone()].concat()), "<s> Why?\nBecause.</s>");
}

#[test]
fn texts_are_continued_as_they_stand() {
    let chat = EncodeOptions { presentation: Presentation::Chat, ..EncodeOptions::default() };
    let verbatim = EncodeOptions { presentation: Presentation::Verbatim, ..EncodeOptions::default() };
    let text = row(Prompt::Text("Q: 1+1\nA:".into()), " 2");
    assert_eq!(
        encoder("plain", "chatml", EncodeOptions::default()).prompt_string(&text).unwrap(),
        "Q: 1+1\nA:"
    );
    assert!(
        encoder("plain", "chatml", chat)
            .prompt_string(&text)
            .unwrap()
            .starts_with("<|im_start|>user\nQ: 1+1")
    );
    assert_eq!(encoder("plain", "chatml", verbatim.clone()).prompt_string(&question("q", "a")).unwrap(), "q");
    assert!(error(encoder("plain", "chatml", verbatim).prompt(&turns())).contains("verbatim"));
}

/// Without anything before it the first token cannot be learned.
#[test]
fn a_text_without_prompt() {
    let row = row(Prompt::Text(String::new()), "one two three");
    let encoded = encoder("plain", "chatml", EncodeOptions::default()).row(&row).unwrap().kept().unwrap();
    assert!(encoded.prompt.ids.is_empty() && !encoded.expert[0].supervised[0]);
    assert!(encoded.expert[0].supervised[1..].iter().all(|&s| s));
    let with_bos =
        encoder("bos", "marked_lines", EncodeOptions::default()).row(&row).unwrap().kept().unwrap();
    assert!(with_bos.prompt.ids.len() == 1 && with_bos.expert[0].supervised[0]);
}

/// Tools of a row reach the template, as JSON or as text with JSON in it; what is neither is an error.
#[test]
fn tools_of_a_row() {
    let with = |column: &str, value: Value| {
        let mut row = question("q", "a");
        row.columns.insert(column.into(), value);
        encoder("plain", "qwen2_5", EncodeOptions::default()).prompt_string(&row)
    };
    let expected = "<tools>\n{\"name\": \"add\"}\n</tools>";
    assert!(with("tools", json!([{"name": "add"}])).unwrap().contains(expected));
    assert!(with("tools", json!("[{\"name\":\"add\"}]")).unwrap().contains(expected));
    assert!(!with("tools", Value::Null).unwrap().contains("<tools>"));
    assert!(error(with("tools", json!("add"))).contains("\"tools\" is text but no JSON"));
    assert!(error(with("chat_template_kwargs", json!([]))).contains("must be an object"));
}

/// Without the template a tool call or a thought has no text: it must not vanish.
#[test]
fn responses_with_more_than_text_are_never_cut_down_to_it() {
    let mut row = question("q", "a");
    let turn = Message(
        serde_json::from_value(json!({"role": "assistant", "content": "a", "reasoning_content": "r"}))
            .unwrap(),
    );
    row.expert[0].messages = vec![turn];
    let verbatim = EncodeOptions { rendering: Rendering::Verbatim, ..EncodeOptions::default() };
    assert!(error(encoder("plain", "qwen3", verbatim).row(&row)).contains("needs the template"));
    let encoder = encoder("plain", "qwen3", EncodeOptions::default());
    let ids = encoder.row(&row).unwrap().kept().unwrap().expert.remove(0).ids;
    assert_eq!(encoder.tokenizer().decode(&ids, false).unwrap(), "<think>\nr\n</think>\n\na<|im_end|>");
}
