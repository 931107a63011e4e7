//! Writes a folder that transformers, vLLM and every other reader of the format load unchanged.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::architecture::Dtype;
use crate::device::Device;
use crate::error::{ModelError, Result};
use crate::layout::Parameter;
use crate::policy::Policy;

/// Largest weights file that other tools are known to expect.
pub const SHARD_BYTES: u64 = 5_000_000_000;
/// Elements converted at a time.
const PIECE: usize = 1 << 20;

/// Endings of files that hold weights or training state of the source: copying them would ship a stale model.
const WEIGHTS: [&str; 10] = [
    ".safetensors",
    ".safetensors.index.json",
    ".bin",
    ".bin.index.json",
    ".pt",
    ".pth",
    ".gguf",
    ".h5",
    ".msgpack",
    ".onnx",
];

/// Files of a training run, ours or another tool's: they describe how the source came to be, not the model.
const RUN: [&str; 14] = [
    "adapter_config.json",
    "all_results.json",
    "config.toml",
    "eval_results.json",
    "manifest.json",
    "metrics.jsonl",
    "rng_state.json",
    "run.lock",
    "run_state.json",
    "scheduler.json",
    "train_results.json",
    "trainer_log.jsonl",
    "trainer_state.json",
    "training_args.json",
];

/// How a folder is written.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// Dtype on disk; `None` keeps the source's.
    pub dtype: Option<Dtype>,
    /// Weights above this are split into several files.
    pub shard_bytes: u64,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { dtype: None, shard_bytes: SHARD_BYTES }
    }
}

/// Copies every file of a folder but its configuration, weights and the traces of a run: tokenizer, templates,
/// licences, custom code.
pub(super) fn copy_other_files(source: &Path, target: &Path) -> Result<()> {
    if !source.exists() || source == target {
        return Ok(());
    }
    for entry in fs::read_dir(source).map_err(ModelError::io(source))? {
        let path = entry.map_err(ModelError::io(source))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_weights = WEIGHTS.iter().any(|ending| name.ends_with(ending));
        let is_run = RUN.contains(&name.as_str()) || name.starts_with("events.out.tfevents");
        if path.is_file() && !is_weights && !is_run && name != "config.json" {
            fs::copy(&path, target.join(&name)).map_err(ModelError::io(&path))?;
        }
    }
    Ok(())
}

/// `config.json`, verbatim unless the dtype changes.
pub(super) fn write_config(config: &Value, text: &str, dtype: Dtype, target: &Path) -> Result<()> {
    let path = target.join("config.json");
    let key = if config.get("dtype").is_none() && config.get("torch_dtype").is_some() {
        "torch_dtype"
    } else {
        "dtype"
    };
    if config.get(key).and_then(Value::as_str) == Some(dtype.config_name()) {
        return write_file(&path, text.as_bytes());
    }
    let mut changed = config.clone();
    if let Some(object) = changed.as_object_mut() {
        object.insert(key.into(), json!(dtype.config_name()));
    }
    write_file(&path, format!("{changed:#}\n").as_bytes())
}

pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(ModelError::io(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(ModelError::io(path))
}

/// Weights in one file or several, as they are in the policy, converted to `dtype`.
pub(super) fn write_weights<D: Device>(
    policy: &Policy<D>,
    dtype: Dtype,
    shard_bytes: u64,
    target: &Path,
) -> Result<()> {
    let shards = split(&policy.layout().parameters, dtype, shard_bytes);
    let count = shards.len();
    let mut map = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = if count == 1 {
            "model.safetensors".to_owned()
        } else {
            format!("model-{:05}-of-{count:05}.safetensors", index + 1)
        };
        for parameter in shard {
            map.insert(parameter.name.clone(), json!(name));
        }
        let read =
            |parameter: &Parameter, part, piece: &mut [f32]| policy.read_weight(parameter, part, piece);
        write_tensors(shard, dtype, &target.join(&name), read)?;
    }
    if count > 1 {
        let total = policy.layout().len;
        let metadata = json!({"total_parameters": total, "total_size": total * dtype.bytes()});
        map.sort_keys();
        let index = json!({"metadata": metadata, "weight_map": map});
        write_file(&target.join("model.safetensors.index.json"), format!("{index:#}\n").as_bytes())?;
    }
    Ok(())
}

/// Parameters in the layout's order, as many to a shard as fit.
fn split(parameters: &[Parameter], dtype: Dtype, shard_bytes: u64) -> Vec<Vec<&Parameter>> {
    let mut shards: Vec<Vec<&Parameter>> = vec![Vec::new()];
    let mut filled = 0u64;
    for parameter in parameters {
        let bytes = (parameter.range.len() * dtype.bytes()) as u64;
        if filled > 0 && filled + bytes > shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(last) = shards.last_mut() {
            last.push(parameter);
        }
    }
    shards
}

/// One file of tensors; `read` gives a part of one in f32.
pub(super) fn write_tensors(
    tensors: &[&Parameter],
    dtype: Dtype,
    path: &Path,
    read: impl Fn(&Parameter, Range<usize>, &mut [f32]),
) -> Result<()> {
    let name = match dtype {
        Dtype::F32 => "F32",
        Dtype::F16 => "F16",
        Dtype::Bf16 => "BF16",
    };
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut offset = 0;
    for parameter in tensors {
        let end = offset + parameter.range.len() * dtype.bytes();
        let info = json!({"dtype": name, "shape": parameter.shape, "data_offsets": [offset, end]});
        header.insert(parameter.name.clone(), info);
        offset = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');

    let io = || ModelError::io(path);
    let mut out = BufWriter::new(File::create(path).map_err(io())?);
    out.write_all(&(text.len() as u64).to_le_bytes()).map_err(io())?;
    out.write_all(&text).map_err(io())?;
    let mut values = vec![0.0f32; PIECE];
    let mut bytes = Vec::with_capacity(PIECE * dtype.bytes());
    for parameter in tensors {
        for start in parameter.range.clone().step_by(PIECE) {
            let piece = &mut values[..PIECE.min(parameter.range.end - start)];
            read(parameter, start..start + piece.len(), piece);
            bytes.clear();
            encode(dtype, piece, &mut bytes);
            out.write_all(&bytes).map_err(io())?;
        }
    }
    let file = out.into_inner().map_err(|error| error.into_error()).map_err(io())?;
    file.sync_all().map_err(io())
}

/// Rounds to nearest, ties to even.
fn encode(dtype: Dtype, values: &[f32], bytes: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        Dtype::F16 => bytes.extend(values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes())),
        Dtype::Bf16 => bytes.extend(values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes())),
    }
}
