//! optimizer.safetensors: AdamW's moments, and the master weights where the model folder rounds them, all f32.
//!
//! Written and read piece by piece: a copy of the moments would double what a run needs just while it saves.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use gft_model::Policy;
use gft_model::device::{Buffer, Device};
use gft_model::optimizer::{AdamW, AdamWConfig};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::{Error, Result};

/// Name of the file in a checkpoint.
pub const FILE: &str = "optimizer.safetensors";
/// Numbers converted at a time.
const PIECE: usize = 1 << 20;
/// Headers above this are no headers.
const MAX_HEADER: u64 = 1 << 20;

/// Writes the optimizer's state; `masters` adds the weights in f32.
///
/// # Errors
/// A file that cannot be written; a device that fails.
pub fn write<D: Device>(
    checkpoint: &Path,
    policy: &Policy<D>,
    optimizer: &AdamW<D>,
    masters: bool,
) -> Result<()> {
    let path = checkpoint.join(FILE);
    let (m, v, updates) = optimizer.state();
    let mut buffers = vec![("exp_avg", m), ("exp_avg_sq", v)];
    if masters {
        buffers.push(("master", policy.params()));
    }
    let mut end = 0;
    let infos = buffers.iter().map(|(name, buffer)| {
        let start = end;
        end += 4 * buffer.len();
        let info = TensorInfo { dtype: Dtype::F32, shape: vec![buffer.len()], data_offsets: (start, end) };
        ((*name).to_owned(), info)
    });
    let meta = HashMap::from([("updates".to_owned(), updates.to_string())]);
    let failed = |error: std::io::Error| Error::Io { path: path.clone(), action: "write", source: error };
    let header = Metadata::new(Some(meta), infos.collect()).map_err(|e| failed(std::io::Error::other(e)))?;
    let mut header = serde_json::to_vec(&header).map_err(|error| failed(error.into()))?;
    // Data begins at a multiple of 8, as the format asks.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(failed);
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    let mut values = vec![0.0f32; PIECE];
    let mut bytes = Vec::with_capacity(4 * PIECE);
    for (_, buffer) in buffers {
        for start in (0..buffer.len()).step_by(PIECE) {
            let values = &mut values[..PIECE.min(buffer.len() - start)];
            policy.device().read(buffer.part(start..start + values.len()), values);
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            put(&bytes)?;
        }
    }
    // What was written was read from the device; had that failed, the file would hold NaN.
    policy.device().status().map_err(gft_model::ModelError::from)?;
    file.flush().map_err(failed)
}

/// Reads the state back: the optimizer, and the weights in f32 where the file has them.
///
/// # Errors
/// A file that is missing, damaged, or of another model; a device that fails.
pub fn read<D: Device>(
    checkpoint: &Path,
    policy: &Policy<D>,
    config: AdamWConfig,
) -> Result<(AdamW<D>, Option<D::Buf>)> {
    let path = checkpoint.join(FILE);
    let refuse = |reason: String| Error::Resume { path: path.clone(), reason };
    let mut file = BufReader::new(File::open(&path).map_err(Error::io(&path, "read"))?);
    let mut word = [0u8; 8];
    file.read_exact(&mut word).map_err(Error::io(&path, "read"))?;
    let length = u64::from_le_bytes(word);
    if length > MAX_HEADER {
        return Err(refuse(format!("its header claims {length} bytes")));
    }
    let mut header = vec![0u8; length as usize];
    file.read_exact(&mut header).map_err(Error::io(&path, "read"))?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| refuse(error.to_string()))?;
    let updates = header.metadata().as_ref().and_then(|meta| meta.get("updates")?.parse().ok());
    let updates: u64 = updates.ok_or_else(|| refuse("its header has no number of updates".into()))?;
    let len = policy.params().len();
    let mut buffers: HashMap<String, D::Buf> = HashMap::new();
    // In the order in which they stand in the file.
    for name in header.offset_keys() {
        let info = header.info(&name);
        if info.is_none_or(|info| info.dtype != Dtype::F32 || info.shape != [len]) {
            return Err(refuse(format!("`{name}` is {info:?}, the model has {len} weights in F32")));
        }
        let mut buffer = policy.device().zeros(len);
        let mut bytes = vec![0u8; 4 * PIECE.min(len)];
        for start in (0..len).step_by(PIECE) {
            let piece = &mut bytes[..4 * PIECE.min(len - start)];
            file.read_exact(piece).map_err(Error::io(&path, "read"))?;
            let values: Vec<f32> =
                piece.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            policy.device().write(&values, buffer.part_mut(start..start + values.len()));
        }
        buffers.insert(name, buffer);
    }
    let mut take = |name: &str| buffers.remove(name);
    let moment = |found: Option<D::Buf>, name| found.ok_or_else(|| refuse(format!("it has no `{name}`")));
    let (m, v) = (moment(take("exp_avg"), "exp_avg")?, moment(take("exp_avg_sq"), "exp_avg_sq")?);
    let masters = take("master");
    policy.device().status().map_err(gft_model::ModelError::from)?;
    Ok((AdamW::restore(policy, config, m, v, updates)?, masters))
}
