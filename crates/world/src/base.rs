//! The base model: its shape, its start from random weights, and the trained weights that come with the tool.

use std::fs;
use std::path::Path;

use gft_data::write_tokenizer_folder;
use gft_model::architecture::{Architecture, Dtype, Family};
use gft_model::device::cpu::CpuBuffer;
use gft_model::folder::SaveOptions;
use gft_model::init::{NewModel, SpecialIds, random_weights};
use gft_model::{Cpu, ModelFolder, Policy};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::words::tokenizer;

/// Longest sequence: the longest problem and solution have 90 tokens.
const POSITIONS: usize = 128;

/// 3 layers of width 128: 0.57 million parameters. A rotary base of 100 suits sequences of less than a hundred tokens.
fn shape(vocab: usize, special: SpecialIds) -> NewModel {
    NewModel {
        family: Family::Llama,
        hidden: 128,
        layers: 3,
        heads: 4,
        kv_heads: 4,
        head_dim: None,
        ffn: 320,
        vocab,
        max_positions: POSITIONS,
        rope_theta: 100.0,
        tied: true,
        dtype: Dtype::F32,
        special,
    }
}

/// The trained weights: what `recipes/demo/pretrain.toml` leaves, f32.
const WEIGHTS: &[u8] = include_bytes!("../base/model.safetensors");

/// Writes the base model: the trained weights, the tokenizer, the configuration.
///
/// # Errors
/// A folder that cannot be written.
pub fn write_base(folder: &Path) -> Result<()> {
    start(folder, 0)?;
    let path = folder.join("model.safetensors");
    fs::write(&path, WEIGHTS).map_err(Error::write(&path))
}

/// SHA-256 of the trained weights' file.
pub fn base_sha256() -> String {
    Sha256::digest(WEIGHTS).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the model folder that pretraining starts from: random weights of `seed`, and the tokenizer.
///
/// # Errors
/// A folder that cannot be written.
pub fn start(folder: &Path, seed: u64) -> Result<()> {
    let tokenizer = tokenizer()?;
    write_tokenizer_folder(folder, &tokenizer, None, POSITIONS)?;
    let special = SpecialIds { bos: None, eos: tokenizer.eos_id(), pad: tokenizer.pad_id() };
    let new = shape(tokenizer.vocab_size(), special);
    let config = new.config();
    let architecture = Architecture::from_config(&config, &folder.join("config.json"))?;
    let weights = CpuBuffer::owned(&random_weights(&architecture, seed));
    let policy = Policy::new(Cpu::new(), architecture, weights)?;
    let options = SaveOptions { dtype: Some(new.dtype), ..SaveOptions::default() };
    ModelFolder::from_config(folder, format!("{config:#}\n"))?.save(&policy, folder, &options)?;
    let path = folder.join("generation_config.json");
    fs::write(&path, format!("{:#}\n", new.generation_config())).map_err(Error::write(&path))
}
