//! A tokenizer trained and written here is one that transformers loads: `tests/golden/data/make.py` loads the committed
//! copy of this folder and writes the ids that `parity.rs` compares.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

use gft_data::{Dataset, ReadOptions, SpecialTokens, Tokenizer, train_bpe, write_tokenizer_folder};
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data").join(name)
}

fn trained() -> Tokenizer {
    let rows = Dataset::open(&[golden("rows/gsm8k-train-20.jsonl")], &ReadOptions::default()).unwrap();
    let texts = rows.iter().map(|row| {
        let row = row.unwrap();
        format!("{}\n{}", row.prompt.text(), row.solution.unwrap())
    });
    let specials = SpecialTokens {
        bos: None,
        eos: Some("<|im_end|>".into()),
        pad: Some("<|pad|>".into()),
        unk: None,
        additional: vec!["<|im_start|>".into()],
    };
    train_bpe(texts.collect::<Vec<_>>().iter(), 500, specials).unwrap()
}

/// Set `GFT_WRITE_GOLDEN` to write the folder anew, then run `make.py`.
#[test]
fn training_and_writing_are_reproducible() {
    let template = std::fs::read_to_string(golden("templates/chatml.jinja")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let committed = golden("tokenizers/written");
    let target = if std::env::var_os("GFT_WRITE_GOLDEN").is_some() { &committed } else { folder.path() };
    write_tokenizer_folder(target, &trained(), Some(&template), 2048).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]
    {
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        assert!(
            read(target.join(name)) == read(committed.join(name)),
            "{name} differs from the committed one"
        );
    }
}

#[test]
fn any_text_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let trained = trained();
    assert!(trained.vocab_size() <= 500);
    write_tokenizer_folder(folder.path(), &trained, None, 2048).unwrap();
    let loaded = Tokenizer::load(folder.path()).unwrap();
    let all: String = (0..0x11_0000).step_by(97).filter_map(char::from_u32).collect();
    for text in ["", " a", "日本語 🙂\r\n\t", "e\u{301}é", "\u{0}\u{7f}\u{feff}", "x<|im_end|>y", &all]
    {
        let ids = loaded.encode(text).unwrap();
        assert_eq!(loaded.decode(&ids, false).unwrap(), text);
        assert_eq!(ids, trained.encode(text).unwrap());
    }
    assert_eq!(loaded.specials(), trained.specials());
    assert_eq!(loaded.stop_ids(), [loaded.token_to_id("<|im_end|>").unwrap()]);
}

#[test]
fn too_small_a_vocabulary_is_refused() {
    let error =
        train_bpe(["a"].iter(), 256, SpecialTokens { eos: Some("<e>".into()), ..SpecialTokens::default() });
    assert!(error.unwrap_err().to_string().contains("257"));
}
