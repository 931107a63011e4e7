//! Model folders whose weights a test damages, and what must come of it.
#![allow(dead_code)] // each test file uses a part

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use gft_model::{Cpu, ModelError, ModelFolder, Policy};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::golden;

pub const FILE: &str = "model.safetensors";
pub const NORM: &str = "model.norm.weight";
pub const EMBED: &str = "model.embed_tokens.weight";

/// A folder with the configuration of a fixture and a weights file in parts that a test may change.
pub struct Folder {
    pub dir: TempDir,
    pub header: Map<String, Value>,
    pub data: Vec<u8>,
}

impl Folder {
    pub fn of(case: &str) -> Self {
        let source = golden::root().join(case).join("model");
        let dir = tempfile::tempdir().unwrap();
        fs::copy(source.join("config.json"), dir.path().join("config.json")).unwrap();
        let (header, data) = parse(&fs::read(source.join(FILE)).unwrap());
        Folder { dir, header, data }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn bytes(&self) -> Vec<u8> {
        encode(&Value::Object(self.header.clone()).to_string(), &self.data)
    }

    pub fn info(&mut self, tensor: &str) -> &mut Value {
        self.header.get_mut(tensor).unwrap()
    }

    pub fn offsets(&self, tensor: &str) -> [usize; 2] {
        [0, 1].map(|i| self.header[tensor]["data_offsets"][i].as_u64().unwrap() as usize)
    }

    /// The tensor whose bytes come last.
    pub fn last(&self) -> String {
        let tensors = self.header.keys().filter(|name| *name != "__metadata__");
        tensors.max_by_key(|name| self.offsets(name)[1]).unwrap().clone()
    }

    pub fn append(&mut self, tensor: &str, dtype: &str, shape: Value, bytes: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(bytes);
        let offsets = [start, self.data.len()];
        self.header.insert(tensor.into(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
    }

    /// Removes the last tensor and its bytes.
    pub fn remove_last(&mut self) -> String {
        let last = self.last();
        self.data.truncate(self.offsets(&last)[0]);
        self.header.remove(&last);
        last
    }

    pub fn write(&self) {
        self.write_bytes(&self.bytes());
    }

    pub fn write_bytes(&self, bytes: &[u8]) {
        // A new file, not the old one cut: some file systems wait for the disk when a cut file is closed.
        let _ = fs::remove_file(self.path(FILE));
        fs::write(self.path(FILE), bytes).unwrap();
    }

    pub fn load(&self) -> Result<Policy<Cpu>, ModelError> {
        ModelFolder::open(self.dir.path())?.load(Cpu::new())
    }

    pub fn error(&self) -> ModelError {
        self.load().err().unwrap()
    }
}

pub fn parse(bytes: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    (header, bytes[8 + header_len..].to_vec())
}

pub fn encode(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// What an error must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Io,
    Config,
    Safetensors,
    Missing,
    Extra,
    Shape,
    Dtype,
}

pub fn kind(error: &ModelError) -> Option<Kind> {
    match error {
        ModelError::Io { .. } => Some(Kind::Io),
        ModelError::Config { .. } => Some(Kind::Config),
        ModelError::Safetensors { .. } => Some(Kind::Safetensors),
        ModelError::MissingTensor { .. } => Some(Kind::Missing),
        ModelError::ExtraTensor { .. } => Some(Kind::Extra),
        ModelError::Shape { .. } => Some(Kind::Shape),
        ModelError::Dtype { .. } => Some(Kind::Dtype),
        _ => None,
    }
}

/// Checks the error's variant, and that its message names the folder and everything in `names`.
pub fn refused(what: &str, folder: &Folder, expected: Kind, names: &[&str]) {
    let error = match catch_unwind(AssertUnwindSafe(|| folder.load().map(|_| ()))) {
        Ok(Err(error)) => error,
        Ok(Ok(())) => panic!("{what}: loaded"),
        Err(_) => panic!("{what}: panicked"),
    };
    let message = error.to_string();
    assert_eq!(kind(&error), Some(expected), "{what}: {message}");
    let dir = folder.dir.path().to_string_lossy();
    for name in [dir.as_ref()].iter().chain(names) {
        assert!(message.contains(name), "{what}: {name} is not in: {message}");
    }
}

/// Largest size that this process's address space has had, bytes; 0 where the system does not say.
pub fn address_space() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
