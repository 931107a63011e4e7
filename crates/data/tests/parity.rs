//! Tokens, templates and masks against transformers: the fixtures are written by `tests/golden/data/make.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

use gft_data::{
    ChatTemplate, Completion, Date, EncodeOptions, Encoder, Message, Prompt, RenderOptions, Row, Tokenizer,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data").join(name)
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = golden(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::load(&golden("tokenizers").join(name)).unwrap()
}

fn template(name: &str, tokenizer: &Tokenizer) -> ChatTemplate {
    let path = golden("templates").join(format!("{name}.jinja"));
    let source = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    ChatTemplate::new(&source, name, tokenizer.specials().clone()).unwrap()
}

/// The date at which the fixtures were rendered.
fn date() -> Option<Date> {
    Some(Date { hour: 14, minute: 5, second: 7, ..Date::new(2025, 3, 9).unwrap() })
}

#[derive(Deserialize)]
struct TokenCase {
    tokenizer: String,
    text: String,
    ids: Vec<u32>,
    bytes: Vec<(usize, usize)>,
    decoded: String,
    without_specials: String,
}

#[test]
fn ids_offsets_and_texts() {
    let cases: Vec<TokenCase> = read("tokens.json");
    assert!(cases.len() >= 50);
    for case in cases {
        let tokenizer = tokenizer(&case.tokenizer);
        let what = format!("{} {:?}", case.tokenizer, case.text);
        let encoded = tokenizer.encode_with_offsets(&case.text).unwrap();
        assert_eq!(encoded.ids, case.ids, "{what}");
        assert_eq!(tokenizer.encode(&case.text).unwrap(), case.ids, "{what}");
        let decoded = tokenizer.decode(&case.ids, false).unwrap();
        assert_eq!(decoded, case.decoded, "{what}");
        assert_eq!(tokenizer.decode(&case.ids, true).unwrap(), case.without_specials, "{what}");
        // Python widens the range of a split character to the whole character, so do we.
        let bytes: Vec<(usize, usize)> =
            encoded.bytes.iter().map(|b| whole_characters(&case.text, b.start, b.end)).collect();
        assert_eq!(bytes, case.bytes, "{what}");

        let mut stream = tokenizer.stream(false);
        let mut streamed = String::new();
        for &id in &case.ids {
            let piece = stream.push(id).unwrap();
            assert!(!piece.contains('\u{FFFD}'), "{what}: half a character in {piece:?}");
            streamed.push_str(&piece);
        }
        streamed.push_str(&stream.finish().unwrap());
        assert_eq!(streamed, decoded, "{what}");
    }
}

fn whole_characters(text: &str, mut start: usize, mut end: usize) -> (usize, usize) {
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    (start, end)
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    kwargs: Map<String, Value>,
}

#[derive(Deserialize)]
struct TemplateCase {
    template: String,
    chat: String,
    generate: bool,
    text: Option<String>,
    generated: Option<Vec<(usize, usize)>>,
}

fn render_options(kwargs: &Map<String, Value>) -> RenderOptions {
    let mut kwargs = kwargs.clone();
    RenderOptions { tools: kwargs.shift_remove("tools"), kwargs, date: date(), documents: None }
}

#[test]
fn renderings_and_marks() {
    let tokenizer = tokenizer("bos");
    let chats: BTreeMap<String, Conversation> = read("conversations.json");
    let cases: Vec<TemplateCase> = read("templates.json");
    assert!(cases.len() >= 300);
    let mut failures = Vec::new();
    for case in cases {
        let template = template(&case.template, &tokenizer);
        let chat = &chats[&case.chat];
        let options = render_options(&chat.kwargs);
        let what = format!("{} {} generate={}", case.template, case.chat, case.generate);
        match (template.render(&chat.messages, case.generate, &options), case.text) {
            (Ok(text), Some(expected)) if text == expected => {}
            (Err(_), None) => continue,
            (got, expected) => {
                failures.push(format!("{what}\n  got      {got:?}\n  expected {expected:?}"));
                continue;
            }
        }
        if let Some(expected) = case.generated {
            let marked = template.render_marked(&chat.messages, &options).unwrap();
            let got: Vec<(usize, usize)> = marked.generated.iter().map(|r| (r.start, r.end)).collect();
            if got != expected {
                failures.push(format!("{what}\n  marks {got:?}\n  expected {expected:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

#[derive(Deserialize)]
struct ChatCase {
    tokenizer: String,
    template: String,
    chat: String,
    prompt: Vec<u32>,
    whole: Vec<u32>,
    mask: Option<Vec<u8>>,
}

fn row(messages: &[Message]) -> Row {
    let (last, prompt) = messages.split_last().unwrap();
    Row {
        id: "case".into(),
        prompt: Prompt::Messages(prompt.to_vec()),
        solution: None,
        gold: None,
        expert: vec![Completion::text(last.content().unwrap())],
        teachers: Vec::new(),
        columns: Map::new(),
        named: Map::new(),
    }
}

/// Prompt ids are transformers' ids of the generation prompt; prompt and completion together are transformers' ids of the
/// whole conversation up to the end of the turn.
#[test]
fn boundaries() {
    let chats: BTreeMap<String, Conversation> = read("conversations.json");
    let cases: Vec<ChatCase> = read("chats.json");
    assert!(cases.len() >= 30);
    for case in cases {
        let tokenizer = Arc::new(tokenizer(&case.tokenizer));
        let template = template(&case.template, &tokenizer);
        let options = EncodeOptions { render: render_options(&Map::new()), ..EncodeOptions::default() };
        let encoder = Encoder::with_template(tokenizer.clone(), template, options).unwrap();
        let what = format!("{} {} {}", case.tokenizer, case.template, case.chat);
        let row = row(&chats[&case.chat].messages);
        if (case.template.as_str(), case.chat.as_str()) == ("mistral", "system") {
            // This family moves the system text to the last question, so an answered conversation is no continuation of
            // its prompt: the boundary must be refused, not guessed.
            assert!(encoder.row(&row).unwrap_err().to_string().contains("verbatim"));
            continue;
        }
        let encoded = encoder.row(&row).unwrap().kept().unwrap();
        assert_eq!(encoded.prompt.ids, case.prompt, "{what}");
        let completion = &encoded.expert[0];
        assert_eq!(
            completion.ids.last(),
            Some(&encoder.turn_end().id),
            "{what}: the end of the turn is not learned"
        );
        let whole = [encoded.prompt.ids, completion.ids.clone()].concat();
        let text = |ids: &[u32]| tokenizer.decode(ids, false).unwrap();
        if completion.boundary_merged {
            assert!(text(&case.whole).starts_with(&text(&whole)), "{what}");
        } else if encoder.turn_end().appended {
            assert!(case.whole.starts_with(&whole[..whole.len() - 1]), "{what}");
        } else {
            assert!(case.whole.starts_with(&whole), "{what}\n{}\n{}", text(&case.whole), text(&whole));
        }
    }
}

/// Learning all turns: the mask is transformers' assistant mask.
#[test]
fn assistant_masks() {
    let chats: BTreeMap<String, Conversation> = read("conversations.json");
    let cases: Vec<ChatCase> = read("chats.json");
    let mut compared = 0;
    for case in cases.into_iter().filter(|c| c.mask.is_some() && chats[&c.chat].messages.len() > 3) {
        let tokenizer = Arc::new(tokenizer(&case.tokenizer));
        let template = template(&case.template, &tokenizer);
        let options = EncodeOptions { all_turns: true, ..EncodeOptions::default() };
        let encoder = Encoder::with_template(tokenizer, template, options).unwrap();
        let encoded = encoder.row(&row(&chats[&case.chat].messages)).unwrap().kept().unwrap();
        let completion = &encoded.expert[0];
        let ids = [encoded.prompt.ids.as_slice(), &completion.ids].concat();
        assert_eq!(ids, case.whole[..ids.len()], "{} {}", case.template, case.chat);
        let mut mask = vec![0; encoded.prompt.ids.len()];
        mask.extend(completion.supervised.iter().map(|&s| u8::from(s)));
        // What follows the last learned token is left out.
        mask.resize(case.whole.len(), 0);
        assert_eq!(Some(mask), case.mask, "{} {}", case.template, case.chat);
        compared += 1;
    }
    assert!(compared >= 2);
}
