//! A new model: the files that other tools load, reproducibly, and nothing lost of what was there.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::{gft, golden, small, with_model};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Set `GFT_WRITE_GOLDEN` to write the folder anew, then run `check_with_transformers.py` on it.
#[test]
fn files_are_the_committed_ones() {
    for (family, template) in
        [("llama", "chatml"), ("mistral", "plain"), ("qwen2", "chatml"), ("qwen3", "plain")]
    {
        let dir = with_model(&["--family", family, "--chat-template", template]);
        let committed = golden("cli/new_model").join(family);
        for name in ["config.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja"]
        {
            let written = read(&dir.path().join("m").join(name));
            if std::env::var_os("GFT_WRITE_GOLDEN").is_some() {
                fs::create_dir_all(&committed).unwrap();
                fs::write(committed.join(name), &written).unwrap();
            }
            assert!(
                written == read(&committed.join(name)),
                "{family}: {name} differs from the committed one"
            );
        }
        let files: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(files, ["m"], "a partial folder is left");
    }
}

#[test]
fn the_same_description_gives_the_same_bytes_and_another_seed_other_weights() {
    let (a, b, c) =
        (with_model(&["--seed", "7"]), with_model(&["--seed", "7"]), with_model(&["--seed", "8"]));
    let bytes = |dir: &tempfile::TempDir, name: &str| fs::read(dir.path().join("m").join(name)).unwrap();
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        assert!(bytes(&a, name) == bytes(&b, name), "{name}");
    }
    assert!(bytes(&a, "model.safetensors") != bytes(&c, "model.safetensors"));
}

#[test]
fn the_summary_says_what_was_reached() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t.txt"), "ab ab ab ab\n").unwrap();
    let run = gft(dir.path(), &small("m", "t.txt", &["--json", "--dtype", "bf16", "--untied"]), "").ok();
    let summary: Value = serde_json::from_str(&run.stdout).unwrap();
    let vocab = summary["vocab_size"].as_u64().unwrap();
    assert!((258..300).contains(&vocab), "{vocab}");
    assert_eq!(summary["vocab_size_asked"], 300);
    assert!(run.stderr.contains(&format!("{vocab} tokens instead of --vocab-size 300")), "{}", run.stderr);
    // Llama: q, o [32, 32], k, v [16, 32], gate, up, down [48, 32], two norms; embedding and head; last norm.
    let layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 32;
    assert_eq!(summary["parameters"].as_u64().unwrap(), 2 * layer + 2 * vocab * 32 + 32);
    assert_eq!(summary["weight_bytes"].as_u64().unwrap(), 2 * summary["parameters"].as_u64().unwrap());
    let config: Value = serde_json::from_str(&read(&dir.path().join("m/config.json"))).unwrap();
    assert_eq!((&config["vocab_size"], &config["dtype"]), (&summary["vocab_size"], &Value::from("bfloat16")));
    assert_eq!(config["tie_word_embeddings"], false);
    let header = fs::read(dir.path().join("m/model.safetensors")).unwrap();
    let length = u64::from_le_bytes(header[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&header[8..8 + length]).unwrap();
    assert_eq!(header["__metadata__"]["format"], "pt");
    assert_eq!(header["lm_head.weight"]["dtype"], "BF16");
}

#[test]
fn a_folder_with_files_is_kept_unless_forced() {
    let dir = with_model(&["--chat-template", "chatml"]);
    let text = golden("data/rows/gsm8k-train-20.jsonl");
    let text = text.to_str().unwrap();
    let weights = dir.path().join("m/model.safetensors");
    let before = fs::read(&weights).unwrap();
    let run = gft(dir.path(), &small("m", text, &["--seed", "5"]), "");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
    assert!(fs::read(&weights).unwrap() == before);
    fs::write(dir.path().join("m/notes.txt"), "mine").unwrap();
    gft(dir.path(), &small("m", text, &["--seed", "5", "--force"]), "").ok();
    assert!(fs::read(&weights).unwrap() != before);
    assert!(!dir.path().join("m/chat_template.jinja").exists(), "the template of the replaced model stayed");
    assert_eq!(read(&dir.path().join("m/notes.txt")), "mine");
}

#[test]
fn a_failed_run_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t.txt"), b"good\nbad \xff\n").unwrap();
    let run = gft(dir.path(), &small("m", "t.txt", &[]), "");
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("t.txt:2: not UTF-8"), "{}", run.stderr);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left beside t.txt");
}

#[test]
fn a_template_from_a_file_brings_its_special_tokens() {
    let template = golden("data/templates/llama3.jinja");
    let dir = with_model(&["--chat-template", template.to_str().unwrap()]);
    let config: Value = serde_json::from_str(&read(&dir.path().join("m/tokenizer_config.json"))).unwrap();
    assert_eq!(config["eos_token"], "<|eot_id|>");
    assert_eq!(config["pad_token"], "<|endoftext|>");
    let additional = config["additional_special_tokens"].to_string();
    assert!(
        additional.contains("<|start_header_id|>") && additional.contains("<|end_header_id|>"),
        "{additional}"
    );
}
