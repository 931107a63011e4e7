//! Model folders as transformers writes them: read, checked, and written back so that every other tool loads them.

mod adapter;
mod read;
mod safetensors_file;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::adapter::{Adapter, LoraConfig};
use crate::architecture::{Architecture, Dtype};
use crate::device::{Device, HalfFormat};
use crate::error::{ModelError, Result};
use crate::layout::Layout;
use crate::policy::Policy;
use crate::weights::Weights;
pub use adapter::ADAPTER_CONFIG;
pub use write::{SHARD_BYTES, SaveOptions};

/// A model folder whose configuration has been read and understood: a whole model, or an adapter as PEFT writes it, whose
/// configuration names the folder of its base model.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    dir: PathBuf,
    adapter: Option<adapter::Source>,
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
        let adapter = adapter::Source::find(&dir)?;
        let base = adapter.as_ref().map_or(dir.as_path(), |adapter| adapter.base.as_path());
        let path = base.join("config.json");
        let config_text = fs::read_to_string(&path).map_err(ModelError::io(&path))?;
        let base = Self::from_config(base, config_text)?;
        Ok(Self { dir, adapter, ..base })
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
        Ok(Self { dir, adapter: None, config, config_text, architecture })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the weights are: the folder itself, or that of the adapter's base model.
    pub fn base_dir(&self) -> &Path {
        self.adapter.as_ref().map_or(&self.dir, |adapter| &adapter.base)
    }

    /// Where the tokenizer is: the folder itself, or the base model's where an adapter came without one.
    pub fn tokenizer_dir(&self) -> &Path {
        self.dir_of("tokenizer.json")
    }

    /// Where a file of the model is: in the folder itself, or in the base model's.
    pub fn dir_of(&self, name: &str) -> &Path {
        if self.dir.join(name).exists() { &self.dir } else { self.base_dir() }
    }

    /// The adapter's configuration, if the folder is one.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.adapter.as_ref().map(|adapter| &adapter.config)
    }

    /// `config.json`, parsed.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// What the configuration says.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The dtype of the weights on disk, an adapter's base model's.
    ///
    /// # Errors
    /// When the weights cannot be opened.
    pub fn weights_dtype(&self) -> Result<Dtype> {
        read::Weights::open(self.base_dir())?.dtype(&Layout::new(&self.architecture))
    }

    /// The dtype in which [`ModelFolder::save`] writes this policy.
    ///
    /// # Errors
    /// As [`ModelFolder::weights_dtype`].
    pub fn saved_dtype<D: Device>(&self, policy: &Policy<D>, options: &SaveOptions) -> Result<Dtype> {
        match options.dtype {
            Some(dtype) => Ok(dtype),
            None if policy.adapter().is_some() => Ok(Dtype::F32),
            None => self.weights_dtype(),
        }
    }

    /// Puts the model on a device: all weights widened to f32, to be trained; or, where the folder is an adapter, the base
    /// model as [`ModelFolder::load_frozen`] keeps it and the adapter.
    ///
    /// # Errors
    /// A missing, extra or misshapen tensor, and a file that is damaged, each with the file's and the tensor's name.
    pub fn load<D: Device>(&self, device: D) -> Result<Policy<D>> {
        match &self.adapter {
            None => self.load_base(device, false),
            Some(_) => self.with_adapter(self.load_base(device, true)?),
        }
    }

    /// [`ModelFolder::load`] with all weights widened to f32, an adapter's base model's too.
    ///
    /// # Errors
    /// As [`ModelFolder::load`].
    pub fn load_wide<D: Device>(&self, device: D) -> Result<Policy<D>> {
        let base = self.load_base(device, false)?;
        if self.adapter.is_some() { self.with_adapter(base) } else { Ok(base) }
    }

    /// The model without training it: matrices that are all of one 16-bit dtype stay so, half the memory of f32; an adapter
    /// is loaded with it.
    ///
    /// # Errors
    /// As [`ModelFolder::load`].
    pub fn load_frozen<D: Device>(&self, device: D) -> Result<Policy<D>> {
        let base = self.load_base(device, true)?;
        if self.adapter.is_some() { self.with_adapter(base) } else { Ok(base) }
    }

    fn with_adapter<D: Device>(&self, base: Policy<D>) -> Result<Policy<D>> {
        let Some(source) = &self.adapter else { return Ok(base) };
        let mut adapter: Adapter<D> = source.empty(base.device(), &self.architecture)?;
        source.read(&self.dir, base.device(), &mut adapter)?;
        base.with_adapter(adapter)
    }

    fn load_base<D: Device>(&self, device: D, frozen: bool) -> Result<Policy<D>> {
        let layout = Layout::new(&self.architecture);
        let mut files = read::Weights::open(self.base_dir())?;
        files.check(&layout, self.architecture.tied)?;
        let format: Option<HalfFormat> = if frozen { files.half_format(&layout)? } else { None };
        let mut weights: Weights<D> = match format {
            Some(format) => Weights::half(&device, &layout, format),
            None => Weights::Single(device.zeros(layout.len)),
        };
        for parameter in &layout.parameters {
            let mut at = parameter.range.start;
            match &mut weights {
                Weights::Half { matrices, .. } if parameter.is_matrix => {
                    files.read_bits(&parameter.name, |bits| {
                        device.write_half(bits, at, matrices);
                        at += bits.len();
                    })?;
                }
                weights => files.read(&parameter.name, |chunk| {
                    weights.write(&device, chunk, at..at + chunk.len());
                    at += chunk.len();
                })?,
            }
        }
        device.status()?;
        Ok(Policy::of(device, self.architecture.clone(), layout, weights))
    }

    /// Writes a policy: a folder with this configuration and its weights, or, where only adapters are trained, an adapter
    /// folder that PEFT, vLLM and SGLang read and that names the base model's folder. See [`SaveOptions`].
    ///
    /// # Errors
    /// When a file cannot be read or written, with its name; when the device fails, and then the folder is worth nothing.
    pub fn save<D: Device>(&self, policy: &Policy<D>, target: &Path, options: &SaveOptions) -> Result<()> {
        let dtype = self.saved_dtype(policy, options)?;
        fs::create_dir_all(target).map_err(ModelError::io(target))?;
        write::copy_other_files(self.base_dir(), target)?;
        if self.adapter.is_some() {
            write::copy_other_files(&self.dir, target)?;
        }
        match policy.adapter() {
            Some(adapter) => adapter::write(adapter, policy.device(), self.base_dir(), dtype, target)?,
            None => {
                write::write_config(&self.config, &self.config_text, dtype, target)?;
                write::write_weights(policy, dtype, options.shard_bytes, target)?;
            }
        }
        // What was written was read from the device; had that failed, the files would hold NaN.
        Ok(policy.device().status()?)
    }
}
