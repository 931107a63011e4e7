//! optimizer.safetensors: AdamW's moments, and the master weights where the model folder rounds them, all f32.

use std::collections::HashMap;
use std::path::Path;

use gft_model::Policy;
use gft_model::device::{Buffer, Device};
use gft_model::optimizer::{AdamW, AdamWConfig};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::error::{Error, Result};

/// Name of the file in a checkpoint.
pub const FILE: &str = "optimizer.safetensors";

/// Writes the optimizer's state; `masters` adds the weights in f32.
///
/// # Errors
/// A file that cannot be written.
pub fn write<D: Device>(
    checkpoint: &Path,
    policy: &Policy<D>,
    optimizer: &AdamW<D>,
    masters: bool,
) -> Result<()> {
    let path = checkpoint.join(FILE);
    let (m, v, updates) = optimizer.state();
    let mut tensors = vec![("exp_avg", bytes(policy, m)), ("exp_avg_sq", bytes(policy, v))];
    if masters {
        tensors.push(("master", bytes(policy, policy.params())));
    }
    let failed = |error: safetensors::SafeTensorError| Error::Io {
        path: path.clone(),
        action: "write",
        source: std::io::Error::other(error),
    };
    let views: Result<Vec<(&str, TensorView<'_>)>> = tensors
        .iter()
        .map(|(name, data)| {
            TensorView::new(Dtype::F32, vec![data.len() / 4], data).map(|view| (*name, view)).map_err(failed)
        })
        .collect();
    let meta = HashMap::from([("updates".to_owned(), updates.to_string())]);
    serialize_to_file(views?, Some(meta), &path).map_err(failed)
}

fn bytes<D: Device>(policy: &Policy<D>, buffer: &D::Buf) -> Vec<u8> {
    let mut values = vec![0.0f32; buffer.len()];
    policy.device().read(buffer.all(), &mut values);
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads the state back: the optimizer, and the weights in f32 where the file has them.
///
/// # Errors
/// A file that is missing, damaged, or of another model.
pub fn read<D: Device>(
    checkpoint: &Path,
    policy: &Policy<D>,
    config: AdamWConfig,
) -> Result<(AdamW<D>, Option<D::Buf>)> {
    let path = checkpoint.join(FILE);
    let refuse = |reason: String| Error::Resume { path: path.clone(), reason };
    let data = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
    let (_, header) = SafeTensors::read_metadata(&data).map_err(|error| refuse(error.to_string()))?;
    let updates = header.metadata().as_ref().and_then(|meta| meta.get("updates")?.parse().ok());
    let updates: u64 = updates.ok_or_else(|| refuse("its header has no number of updates".into()))?;
    let file = SafeTensors::deserialize(&data).map_err(|error| refuse(error.to_string()))?;
    let len = policy.layout().len;
    let load = |name: &str| -> Result<D::Buf> {
        let view = file.tensor(name).map_err(|error| refuse(error.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != [len] {
            return Err(refuse(format!(
                "`{name}` is {:?} {:?}, the model has {len} weights in F32",
                view.dtype(),
                view.shape()
            )));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let mut buffer = policy.device().zeros(len);
        policy.device().write(&values, buffer.all_mut());
        Ok(buffer)
    };
    let masters = if file.names().contains(&"master") { Some(load("master")?) } else { None };
    let optimizer = AdamW::restore(policy, config, load("exp_avg")?, load("exp_avg_sq")?, updates)?;
    Ok((optimizer, masters))
}
