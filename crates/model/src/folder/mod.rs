//! Model folders as transformers writes them: read, checked, and written back so that every other tool loads them.

mod read;
mod safetensors_file;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::architecture::{Architecture, Dtype};
use crate::device::{Buffer, Device};
use crate::error::{ModelError, Result};
use crate::layout::Layout;
use crate::policy::Policy;
pub use write::{SHARD_BYTES, SaveOptions};

/// A model folder whose configuration has been read and understood.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    dir: PathBuf,
    config: Value,
    config_text: String,
    architecture: Architecture,
}

impl ModelFolder {
    /// Reads `config.json`; weights are read by [`ModelFolder::load`].
    ///
    /// # Errors
    /// When there is no such folder, its configuration is not valid, or asks for another kind of model.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let path = dir.join("config.json");
        let config_text = fs::read_to_string(&path).map_err(ModelError::io(&path))?;
        Self::from_config(dir, config_text)
    }

    /// A folder with this `config.json`, which need not exist yet.
    ///
    /// # Errors
    /// As [`ModelFolder::open`].
    pub fn from_config(dir: impl Into<PathBuf>, config_text: String) -> Result<Self> {
        let dir = dir.into();
        let path = dir.join("config.json");
        let config: Value = serde_json::from_str(&config_text).map_err(|error| ModelError::Config {
            path: path.clone(),
            reason: format!("not JSON: {error}"),
        })?;
        let architecture = Architecture::from_config(&config, &path)?;
        Ok(Self { dir, config, config_text, architecture })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json`, parsed.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// What the configuration says.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The dtype of the weights on disk.
    ///
    /// # Errors
    /// When the weights cannot be opened.
    pub fn weights_dtype(&self) -> Result<Dtype> {
        read::Weights::open(&self.dir)?.dtype(&Layout::new(&self.architecture))
    }

    /// Reads all weights to f32 and puts them on a device.
    ///
    /// # Errors
    /// A missing, extra or misshapen tensor, and a file that is damaged, each with the file's and the tensor's name.
    pub fn load<D: Device>(&self, device: D) -> Result<Policy<D>> {
        let layout = Layout::new(&self.architecture);
        let mut weights = read::Weights::open(&self.dir)?;
        weights.check(&layout, self.architecture.tied)?;
        let mut params = device.zeros(layout.len);
        for parameter in &layout.parameters {
            let mut at = parameter.range.start;
            weights.read(&parameter.name, |chunk| {
                device.write(chunk, params.part_mut(at..at + chunk.len()));
                at += chunk.len();
            })?;
        }
        Policy::new(device, self.architecture.clone(), params)
    }

    /// Writes a folder with this configuration and a policy's weights; see [`SaveOptions`].
    ///
    /// # Errors
    /// When a file cannot be read or written, with its name.
    pub fn save<D: Device>(&self, policy: &Policy<D>, target: &Path, options: &SaveOptions) -> Result<()> {
        let dtype = match options.dtype {
            Some(dtype) => dtype,
            None => self.weights_dtype()?,
        };
        fs::create_dir_all(target).map_err(ModelError::io(target))?;
        write::copy_other_files(&self.dir, target)?;
        write::write_config(&self.config, &self.config_text, dtype, target)?;
        write::write_weights(policy, dtype, options.shard_bytes, target)
    }
}
