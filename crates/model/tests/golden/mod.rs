//! The fixtures of `tests/golden/model`, read; see the README there.
#![allow(dead_code)] // each test file uses a part

use std::path::PathBuf;

use gft_model::{Cpu, ModelFolder, Policy};
use safetensors::SafeTensors;
use serde_json::Value;

/// Every model case.
pub const CASES: [&str; 13] = [
    "llama2",
    "llama3",
    "llama_bias",
    "mistral",
    "qwen2",
    "qwen2_untied",
    "qwen3",
    "qwen3_sliding",
    "llama_bf16",
    "qwen2_f16",
    "llama_sharded",
    "rope_linear",
    "rope_yarn",
];

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/model")
}

pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn load(path: PathBuf) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    /// A tensor of any dtype as f64.
    pub fn doubles(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("fixture has no {name}"));
        let bytes = tensor.data();
        match tensor.dtype() {
            safetensors::Dtype::F32 => {
                bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
            }
            safetensors::Dtype::F64 => {
                bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
            }
            safetensors::Dtype::I64 => {
                bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.doubles(name).into_iter().map(|x| x as f32).collect()
    }

    /// `[T]` of token ids.
    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.doubles(name).into_iter().map(|x| x as u32).collect()
    }
}

pub struct Case {
    pub folder: ModelFolder,
    pub json: Value,
    pub input_ids: Vec<Vec<u32>>,
    pub logprobs: Vec<Vec<f32>>,
    pub loss: f64,
    pub adamw_losses: Vec<f32>,
    pub tensors: Tensors,
}

impl Case {
    pub fn load(name: &str) -> Self {
        let dir = root().join(name);
        let tensors = Tensors::load(dir.join("expected.safetensors"));
        let json = std::fs::read_to_string(dir.join("expected.json")).unwrap();
        Case {
            folder: ModelFolder::open(dir.join("model")).unwrap(),
            json: serde_json::from_str(&json).unwrap(),
            input_ids: (0..2).map(|i| tensors.ids(&format!("input_ids.{i}"))).collect(),
            logprobs: (0..2).map(|i| tensors.floats(&format!("logprobs.{i}"))).collect(),
            loss: tensors.doubles("loss")[0],
            adamw_losses: tensors.floats("adamw.losses"),
            tensors,
        }
    }

    pub fn policy(&self) -> Policy<Cpu> {
        self.folder.load(Cpu::new()).unwrap()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.tensors.floats(name)
    }
}

pub fn close(ours: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}: lengths");
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}[{i}]: {a}, expected {b}");
    }
}

pub fn relative_l2(ours: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let square = |x: f64| x * x;
    let error: f64 = ours.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = expected.iter().map(|b| square(f64::from(*b))).sum();
    (error / norm.max(1e-30)).sqrt()
}
