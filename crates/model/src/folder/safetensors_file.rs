//! One safetensors file: its header checked against the file's length, its tensors read piece by piece.
//!
//! A file is never mapped: one that another process truncates while we read gives an error, not a signal.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};

use crate::architecture::Dtype;
use crate::error::{ModelError, Result};

/// Headers above this are refused, as other readers do.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes read at a time.
const PIECE: usize = 1 << 22;

/// An open file and its header.
pub(super) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    header: Metadata,
    data_start: u64,
}

impl SafetensorsFile {
    /// Opens a file and checks its header: valid JSON, offsets that neither overlap nor leave gaps, and as many bytes
    /// as it says.
    pub fn open(path: &Path) -> Result<Self> {
        let invalid = |reason: String| ModelError::Safetensors { path: path.into(), reason };
        let mut file = File::open(path).map_err(ModelError::io(path))?;
        let bytes = file.metadata().map_err(ModelError::io(path))?.len();
        let mut word = [0u8; 8];
        if bytes < 8 {
            return Err(invalid(format!("{bytes} bytes, too short for a header")));
        }
        file.read_exact(&mut word).map_err(ModelError::io(path))?;
        let header_len = u64::from_le_bytes(word);
        if header_len > MAX_HEADER || header_len > bytes - 8 {
            return Err(invalid(format!("its header claims {header_len} bytes, the file has {bytes}")));
        }
        let mut text = vec![0u8; header_len as usize];
        file.read_exact(&mut text).map_err(ModelError::io(path))?;
        let header: Metadata =
            serde_json::from_slice(&text).map_err(|error| invalid(format!("header: {error}")))?;
        let expected = header_len.saturating_add(8).saturating_add(header.data_len() as u64);
        if expected != bytes {
            return Err(invalid(format!("the header describes {expected} bytes, the file has {bytes}")));
        }
        Ok(Self { path: path.into(), file, header, data_start: header_len + 8 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// Element type of a tensor, if it is one of a model's.
    pub fn dtype(&self, name: &str) -> Result<Dtype> {
        match self.info(name).map(|info| info.dtype) {
            Some(safetensors::Dtype::F32) => Ok(Dtype::F32),
            Some(safetensors::Dtype::F16) => Ok(Dtype::F16),
            Some(safetensors::Dtype::BF16) => Ok(Dtype::Bf16),
            other => Err(ModelError::Dtype {
                path: self.path.clone(),
                tensor: name.into(),
                found: other.map_or_else(|| "none".into(), |dtype| format!("{dtype:?}")),
            }),
        }
    }

    /// Reads a tensor as f32, in order, piece by piece.
    pub fn read(&mut self, name: &str, mut sink: impl FnMut(&[f32])) -> Result<()> {
        let dtype = self.dtype(name)?;
        let mut values = Vec::new();
        self.read_bytes(name, |piece| {
            values.clear();
            decode(dtype, piece, &mut values);
            sink(&values);
        })
    }

    /// Reads the bits of a tensor of 16-bit numbers, in order, piece by piece.
    pub fn read_bits(&mut self, name: &str, mut sink: impl FnMut(&[u16])) -> Result<()> {
        let mut bits: Vec<u16> = Vec::new();
        self.read_bytes(name, |piece| {
            bits.clear();
            bits.extend(piece.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])));
            sink(&bits);
        })
    }

    fn read_bytes(&mut self, name: &str, mut sink: impl FnMut(&[u8])) -> Result<()> {
        let Some(info) = self.header.info(name) else { return Ok(()) };
        let (start, end) = info.data_offsets;
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .map_err(ModelError::io(&self.path))?;
        let mut left = end - start;
        let mut bytes = vec![0u8; PIECE.min(left)];
        while left > 0 {
            let piece = &mut bytes[..PIECE.min(left)];
            self.file.read_exact(piece).map_err(ModelError::io(&self.path))?;
            sink(piece);
            left -= piece.len();
        }
        Ok(())
    }
}

fn decode(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    match dtype {
        Dtype::F32 => {
            values.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        }
        Dtype::F16 => {
            values.extend(bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()))
        }
        Dtype::Bf16 => {
            values.extend(bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()))
        }
    }
}
