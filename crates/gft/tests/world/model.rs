//! A model folder made from nothing, and rows to train on.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses what it needs; a test may panic"
)]

use std::path::{Path, PathBuf};

use gft_data::{SpecialTokens, train_bpe, write_tokenizer_folder};
use gft_model::architecture::{Dtype, Family};
use gft_model::device::{Buffer, Device};
use gft_model::folder::{ModelFolder, SaveOptions};
use gft_model::init::{NewModel, SpecialIds, random_weights};
use gft_model::{Cpu, Policy};

/// Sizes of a model.
#[derive(Clone, Copy)]
pub struct Size {
    pub hidden: usize,
    pub layers: usize,
    pub vocab: usize,
    pub positions: usize,
    pub dtype: Dtype,
    pub tied: bool,
}

/// 2 layers, d = 64, 4 heads, 2 of keys and values.
pub const TINY: Size =
    Size { hidden: 64, layers: 2, vocab: 512, positions: 1024, dtype: Dtype::F32, tied: true };

/// Makes a model folder with a tokenizer trained on `texts`.
pub fn make_model(dir: &Path, texts: &[String], size: Size, seed: u64) {
    let specials = SpecialTokens {
        eos: Some("<|im_end|>".into()),
        pad: Some("<|endoftext|>".into()),
        additional: vec!["<|im_start|>".into()],
        ..SpecialTokens::default()
    };
    let tokenizer = train_bpe(texts.iter(), size.vocab, specials).unwrap();
    let new = NewModel {
        family: Family::Qwen2,
        hidden: size.hidden,
        layers: size.layers,
        heads: 4,
        kv_heads: 2,
        head_dim: None,
        ffn: size.hidden * 5 / 2,
        vocab: size.vocab,
        max_positions: size.positions,
        rope_theta: 10_000.0,
        tied: size.tied,
        dtype: size.dtype,
        special: SpecialIds { bos: None, eos: tokenizer.eos_id(), pad: tokenizer.pad_id() },
    };
    std::fs::create_dir_all(dir).unwrap();
    write_tokenizer_folder(dir, &tokenizer, None, size.positions).unwrap();
    std::fs::write(dir.join("generation_config.json"), new.generation_config().to_string()).unwrap();
    let folder = ModelFolder::from_config(dir, new.config().to_string()).unwrap();
    let device = Cpu::new();
    let weights = random_weights(folder.architecture(), seed);
    let mut params = device.zeros(weights.len());
    device.write(&weights, params.all_mut());
    let policy = Policy::new(device, folder.architecture().clone(), params).unwrap();
    let options = SaveOptions { dtype: Some(size.dtype), ..SaveOptions::default() };
    folder.save(&policy, dir, &options).unwrap();
}

/// GSM8K rows with an expert and four teacher solutions (an excerpt; MIT licence beside it).
pub fn gsm8k() -> PathBuf {
    golden("gsm8k-groups-10.jsonl")
}

/// GSM8K rows with solutions only.
pub fn gsm8k_train() -> PathBuf {
    golden("gsm8k-train-20.jsonl")
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/rows").join(name)
}

/// The texts of those rows, for a tokenizer.
pub fn texts() -> Vec<String> {
    let mut texts = Vec::new();
    for path in [gsm8k(), gsm8k_train()] {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            texts.push(line.to_owned());
        }
    }
    texts
}

/// A model folder over the GSM8K excerpts.
pub fn gsm8k_model(root: &Path) -> PathBuf {
    let dir = root.join("model");
    make_model(&dir, &texts(), TINY, 1);
    dir
}
