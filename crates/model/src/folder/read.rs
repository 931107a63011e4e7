//! The weights of a folder, in one file or in shards, held against the architecture.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::safetensors_file::SafetensorsFile;
use crate::architecture::Dtype;
use crate::device::HalfFormat;
use crate::error::{ModelError, Result};
use crate::layout::{Layout, Parameter};

/// Buffers that old checkpoints carry and that follow from `config.json`.
const DERIVED: &str = "rotary_emb.inv_freq";

/// All weight files of a folder, open.
pub(super) struct Weights {
    dir: PathBuf,
    files: Vec<SafetensorsFile>,
    /// File that holds each tensor.
    tensors: BTreeMap<String, usize>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    pub fn open(dir: &Path) -> Result<Self> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        if single.exists() || !index.exists() {
            return Self::from_files(dir, vec![SafetensorsFile::open(&single)?]);
        }
        let map = weight_map(&index)?;
        let mut names: Vec<&String> = map.values().collect();
        names.sort();
        names.dedup();
        let files =
            names.iter().map(|name| SafetensorsFile::open(&dir.join(name))).collect::<Result<Vec<_>>>()?;
        let weights = Self::from_files(dir, files)?;
        for (tensor, file) in &map {
            let found = weights.tensors.get(tensor).map(|&at| weights.files[at].path());
            if found != Some(dir.join(file).as_path()) {
                return Err(ModelError::Config {
                    path: index,
                    reason: format!("it says that tensor `{tensor}` is in {file}, where it is not"),
                });
            }
        }
        Ok(weights)
    }

    /// Opens one file of another name.
    pub fn open_file(dir: &Path, name: &str) -> Result<Self> {
        Self::from_files(dir, vec![SafetensorsFile::open(&dir.join(name))?])
    }

    fn from_files(dir: &Path, files: Vec<SafetensorsFile>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(other) = tensors.insert(name.clone(), at) {
                    let reason = format!("tensor `{name}` is also in {}", files[other].path().display());
                    return Err(ModelError::Safetensors { path: file.path().into(), reason });
                }
            }
        }
        Ok(Self { dir: dir.into(), files, tensors })
    }

    fn file(&self, name: &str, expected: &[usize]) -> Result<&SafetensorsFile> {
        match self.tensors.get(name) {
            Some(&at) => Ok(&self.files[at]),
            None => Err(ModelError::MissingTensor {
                path: self.dir.clone(),
                tensor: name.into(),
                expected: expected.to_vec(),
            }),
        }
    }

    /// The dtype of the largest tensor: that of the model.
    pub fn dtype(&self, layout: &Layout) -> Result<Dtype> {
        let largest = layout.parameters.iter().max_by_key(|parameter| parameter.range.len());
        match largest {
            Some(parameter) => self.file(&parameter.name, &parameter.shape)?.dtype(&parameter.name),
            None => Ok(Dtype::F32),
        }
    }

    /// The 16-bit format that all matrices have, if they have one.
    pub fn half_format(&self, layout: &Layout) -> Result<Option<HalfFormat>> {
        let mut found = None;
        for parameter in layout.parameters.iter().filter(|parameter| parameter.is_matrix) {
            let format = match self.file(&parameter.name, &parameter.shape)?.dtype(&parameter.name)? {
                Dtype::F32 => return Ok(None),
                Dtype::F16 => HalfFormat::F16,
                Dtype::Bf16 => HalfFormat::Bf16,
            };
            if found.is_some_and(|found| found != format) {
                return Ok(None);
            }
            found = Some(format);
        }
        Ok(found)
    }

    /// Checks that the tensors are those of the architecture: none missing, none extra, shapes and dtypes right.
    pub fn check(&mut self, layout: &Layout, tied: bool) -> Result<()> {
        self.check_tensors(&layout.parameters, |name| {
            (tied && name == "lm_head.weight") || name.ends_with(DERIVED)
        })?;
        if tied && self.tensors.contains_key("lm_head.weight") {
            self.check_tied_head()?;
        }
        Ok(())
    }

    /// Checks that the tensors are `parameters` and nothing else but what `allowed` names.
    pub fn check_tensors(&self, parameters: &[Parameter], allowed: impl Fn(&str) -> bool) -> Result<()> {
        for parameter in parameters {
            let file = self.file(&parameter.name, &parameter.shape)?;
            file.dtype(&parameter.name)?;
            let found = file.info(&parameter.name).map(|info| info.shape.clone()).unwrap_or_default();
            if found != parameter.shape {
                return Err(ModelError::Shape {
                    path: file.path().into(),
                    tensor: parameter.name.clone(),
                    expected: parameter.shape.clone(),
                    found,
                });
            }
        }
        let known: HashSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let extra: Vec<&String> =
            self.tensors.keys().filter(|name| !known.contains(name.as_str()) && !allowed(name)).collect();
        if let Some(first) = extra.first() {
            let (tensor, count) = ((*first).clone(), extra.len());
            return Err(ModelError::ExtraTensor { path: self.dir.clone(), tensor, count });
        }
        Ok(())
    }

    /// A folder may carry the head although it is tied; then it must be the embedding.
    fn check_tied_head(&mut self) -> Result<()> {
        let mut digest = |name: &str| -> Result<(usize, u64)> {
            let (mut len, mut hash) = (0, 0xcbf2_9ce4_8422_2325_u64);
            self.read(name, |piece| {
                len += piece.len();
                for value in piece {
                    hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
                }
            })?;
            Ok((len, hash))
        };
        if digest("lm_head.weight")? == digest("model.embed_tokens.weight")? {
            return Ok(());
        }
        Err(ModelError::Config {
            path: self.dir.join("config.json"),
            reason:
                "`tie_word_embeddings` is true, but the folder has an `lm_head.weight` that differs from \
                     `model.embed_tokens.weight`: set it to false to keep both, or remove the tensor"
                    .into(),
        })
    }

    /// Reads a tensor as f32, in order, piece by piece.
    pub fn read(&mut self, name: &str, sink: impl FnMut(&[f32])) -> Result<()> {
        self.file_mut(name)?.read(name, sink)
    }

    /// Reads the bits of a tensor of 16-bit numbers, in order, piece by piece.
    pub fn read_bits(&mut self, name: &str, sink: impl FnMut(&[u16])) -> Result<()> {
        self.file_mut(name)?.read_bits(name, sink)
    }

    fn file_mut(&mut self, name: &str) -> Result<&mut SafetensorsFile> {
        match self.tensors.get(name) {
            Some(&at) => Ok(&mut self.files[at]),
            None => Err(ModelError::MissingTensor {
                path: self.dir.clone(),
                tensor: name.into(),
                expected: Vec::new(),
            }),
        }
    }
}

/// `weight_map` of an index; file names must be plain, so that an index cannot point outside of its folder.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>> {
    let invalid = |reason: String| ModelError::Config { path: index.into(), reason };
    let text = fs::read_to_string(index).map_err(ModelError::io(index))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| invalid(format!("not JSON: {error}")))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| invalid("`weight_map` is missing or not an object".into()))?;
    map.iter()
        .map(|(tensor, file)| match file.as_str() {
            Some(name) if Path::new(name).file_name().is_some_and(|plain| plain == name) => {
                Ok((tensor.clone(), name.to_owned()))
            }
            _ => Err(invalid(format!("tensor `{tensor}` is in {file}, which is not a plain file name"))),
        })
        .collect()
}
