//! What users get wrong, word for word: each message names what, where, why and what to do, and the exit code is stable.

use std::fs;
use std::path::Path;

use crate::process::{fixture, gft, golden, small, with_model};

/// A command line, what is piped in, and what comes of it.
struct Mistake<'a> {
    args: &'a [&'a str],
    input: &'a str,
    code: i32,
    /// All of standard error, `error: ` and the last line end left out.
    message: &'a str,
}

const fn data<'a>(args: &'a [&'a str], input: &'a str, message: &'a str) -> Mistake<'a> {
    Mistake { args, input, code: 3, message }
}

const fn usage<'a>(args: &'a [&'a str], message: &'a str) -> Mistake<'a> {
    Mistake { args, input: "", code: 2, message }
}

fn check(dir: &Path, mistakes: &[Mistake]) {
    for Mistake { args, input, code, message } in mistakes {
        let run = gft(dir, args, input);
        assert_eq!(run.stderr, format!("error: {message}\n"), "{args:?}");
        assert_eq!(run.code, Some(*code), "{args:?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
}

#[test]
fn folders_that_are_no_models() {
    let dir = with_model(&[]);
    let path = |name: &str| dir.path().join(name);
    for folder in ["empty", "lora", "pickled", "cache/snapshots/abc", "ggufs"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    fs::write(path("lora/adapter_config.json"), r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "org/base"}"#).unwrap();
    fs::write(path("ggufs/m.gguf"), "GGUF").unwrap();
    for folder in ["pickled", "cache/snapshots/abc"] {
        fs::copy(path("m/config.json"), path(folder).join("config.json")).unwrap();
    }
    fs::write(path("pickled/pytorch_model.bin"), "").unwrap();
    let model = |path| ["logprobs", "--model", path];
    check(
        dir.path(),
        &[
            data(
                &model("Qwen/Qwen2.5-0.5B"),
                "",
                "Qwen/Qwen2.5-0.5B: no such folder. It looks like a name on the Hugging Face Hub; --model takes a local \
                 folder and nothing is downloaded: fetch it first (hf download Qwen/Qwen2.5-0.5B --local-dir \
                 Qwen2.5-0.5B) and give --model Qwen2.5-0.5B",
            ),
            data(&model("mm"), "", "mm: no such folder; did you mean m?"),
            data(
                &model("elsewhere"),
                "",
                "elsewhere: no such folder; --model takes a folder with config.json and model.safetensors",
            ),
            data(
                &model("m/model.safetensors"),
                "",
                "m/model.safetensors: a file; --model takes the folder that it lies in: --model m",
            ),
            data(
                &model("ggufs/m.gguf"),
                "",
                "ggufs/m.gguf: a GGUF file; gft reads and writes Hugging Face folders (config.json, model.safetensors): \
                 give the folder that it was converted from",
            ),
            data(&model("empty"), "", "empty: not a model folder: it is empty"),
            data(
                &model("lora"),
                "",
                "lora/adapter_config.json: `base_model_name_or_path` is \"org/base\", and there is no model folder of that \
                 name here or beside the adapter; nothing is downloaded: fetch the base model and put the path of its \
                 folder there",
            ),
            data(
                &model("cache"),
                "",
                "cache: not a model folder: it has no config.json, but cache/snapshots/abc has: give that one",
            ),
            data(
                &model("pickled"),
                "",
                "pickled: no weights: it has PyTorch's pickled weights, which are not read because unpickling runs \
                 code; in Python, AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder) writes \
                 model.safetensors",
            ),
        ],
    );
}

#[test]
fn rows_that_are_not_what_they_must_be() {
    let dir = with_model(&[]);
    let logprobs = ["logprobs", "--model", "m"];
    let generate = ["generate", "--model", "m"];
    let ids = "stdin:1: `input_ids` must be a list of token ids (whole numbers from 0 to 299)";
    let good = r#"{"input_ids": [1, 2]}"#;
    check(
        dir.path(),
        &[
            data(&logprobs, r#"{"input_ids": [1, 300]}"#, &format!("{ids}; index 1 is 300")),
            data(&logprobs, r#"{"input_ids": [1.5]}"#, &format!("{ids}; index 0 is 1.5")),
            data(&logprobs, r#"{"input_ids": []}"#, &format!("{ids}, not an empty list")),
            data(&logprobs, r#"{"input_ids": "1 2"}"#, &format!("{ids}, not text")),
            // The line is counted with the blank ones, and nothing is written for the good rows before it.
            data(&logprobs, &format!("{good}\n\n[1]"), "stdin:3: a row must be a JSON object, not a list"),
            data(
                &logprobs,
                &format!("{good}\nnonsense"),
                "stdin:2: not JSON: expected ident at column 2; a row is a JSON object on one line",
            ),
            data(
                &logprobs,
                "{\"input_ids\":\n[1]}",
                "stdin:1: an incomplete JSON object; a row must stand on one line (jq -c . makes it so)",
            ),
            data(
                &logprobs,
                &format!("[{good}]"),
                "stdin:1: a JSON list; rows are one object a line: jq -c '.[]' makes them so",
            ),
            data(
                &logprobs,
                r#"{"prompt": "a"}"#,
                "stdin:1: a row with `prompt` needs `completion` too; this one has prompt (`input_ids` scores tokens as \
                 they are)",
            ),
            data(
                &logprobs,
                "",
                "stdin: no rows; expected one JSON object a line, such as {\"input_ids\": [1, 2, 3]} or {\"prompt\": \
                 \"1+1=\", \"completion\": \"2\"}",
            ),
            data(
                &generate,
                r#"{"question": "a"}"#,
                "stdin:1: a row needs `prompt` or `input_ids`; this one has question; --columns \
                 prompt=question makes the question the prompt",
            ),
            data(
                &generate,
                r#"{"prompt": [{"content": "x"}]}"#,
                "stdin:1: message 0 of `prompt` must be an object with `role` and `content`, found {\"content\":\"x\"}",
            ),
            data(
                &["generate", "--model", "m", "rows.jsonl"],
                "",
                "rows.jsonl: cannot read: No such file or directory (os error 2)",
            ),
        ],
    );
    let long: Vec<u32> = vec![5; 128];
    let row = serde_json::json!({"input_ids": long}).to_string();
    check(
        dir.path(),
        &[data(
            &generate,
            &row,
            "stdin:1: the prompt has 128 tokens; the model takes 128 with the answer (max_position_embeddings)",
        )],
    );
    gft(dir.path(), &logprobs, &row).ok();
    let longer = serde_json::json!({"input_ids": vec![5; 129]}).to_string();
    check(
        dir.path(),
        &[data(
            &logprobs,
            &longer,
            "stdin:1: 129 tokens; the model was made for 128 (max_position_embeddings)",
        )],
    );
}

#[test]
fn a_folder_without_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture("llama3");
    let message = format!(
        "{model}/tokenizer.json: no such file: the folder needs a fast tokenizer; in Python, \
         AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes it; token ids (`input_ids`) need none"
    );
    check(
        dir.path(),
        &[
            data(&["generate", "--model", &model, "--prompt", "a"], "", &message),
            data(&["chat", "--model", &model], "hello\n", &message),
            data(&["logprobs", "--model", &model], r#"{"prompt": "a", "completion": "b"}"#, &message),
        ],
    );
}

#[test]
fn wrong_calls() {
    let dir = with_model(&[]);
    let text = golden("data/rows/gsm8k-train-20.jsonl");
    let text = text.to_str().unwrap();
    let help = "\n\nFor more information, try '--help'.";
    check(
        dir.path(),
        &[
            usage(
                &["generate", "--model", "m", "--prompt", "a", "--top-p", "1.5"],
                &format!("invalid value '1.5' for '--top-p <P>': must be above 0 and at most 1{help}"),
            ),
            usage(
                &["generate", "--model", "m", "--temprature", "1"],
                &format!(
                    "unexpected argument '--temprature' found\n\n  tip: a similar argument exists: '--temperature'\n\n\
                     Usage: gft generate --model <DIR> --temperature <T> [ROWS]{help}"
                ),
            ),
            usage(
                &["chat", "--model", "m", "--threads", "0"],
                &format!("invalid value '0' for '--threads <N>': 0 is not in 1..=65535{help}"),
            ),
            usage(&["logprobs", "--model", "m", "--temperature", "0"], "--temperature 0 must be above 0"),
            usage(
                &small("m", text, &[]),
                "m: the folder has 6 files in it; give another one, or --force to replace the model in it",
            ),
            usage(
                &["init-model", "n", "--text", text, "--kv-heads", "3"],
                "--kv-heads 3 does not divide --heads 4; it can be 1, 2, 4",
            ),
            usage(
                &["init-model", "n", "--text", text, "--heads", "6"],
                "--hidden 256 is not a multiple of --heads 6; choose others, or give --head-dim",
            ),
            usage(
                &["init-model", "n", "--text", text, "--vocab-size", "100"],
                "--vocab-size 100 is too small: 256 bytes and 2 special tokens (<|endoftext|> <|pad|>) need 258",
            ),
        ],
    );
    check(
        dir.path(),
        &[
            data(
                &["init-model", "n", "--text", "none.txt"],
                "",
                "none.txt: cannot read: No such file or directory (os error 2)",
            ),
            data(&["init-model", "n", "--text", "m"], "", "m: a folder; --text takes files: m/*.txt"),
            data(
                &["init-model", "n", "--text", text, "--chat-template", "chatlm"],
                "",
                "--chat-template chatlm: cannot read: No such file or directory (os error 2); known names are plain \
                 and chatml",
            ),
        ],
    );
    assert!(!dir.path().join("n").exists());
}
