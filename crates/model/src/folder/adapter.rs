//! Adapter folders as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.

use std::fs;
use std::path::{Path, PathBuf, absolute};

use serde_json::Value;

use super::read::Weights;
use super::write::{write_file, write_tensors};
use crate::adapter::{Adapter, LoraConfig};
use crate::architecture::{Architecture, Dtype};
use crate::device::{Buffer, Device};
use crate::error::{ModelError, Result};
use crate::layout::Parameter;

/// The file that makes a folder an adapter's.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Its tensors.
const WEIGHTS: &str = "adapter_model.safetensors";

/// An adapter folder's configuration, and where its base model is.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub config: LoraConfig,
    pub base: PathBuf,
}

impl Source {
    /// What the folder says, if it is an adapter's.
    pub fn find(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(ADAPTER_CONFIG);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(ModelError::io(&path))?;
        let wrong = |reason: String| ModelError::Config { path: path.clone(), reason };
        let json: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("not JSON: {error}")))?;
        let (config, base) = LoraConfig::from_json(&json, &path)?;
        let named = base.ok_or_else(|| wrong("`base_model_name_or_path` is missing".into()))?;
        // As it stands, which a working directory may matter for, or beside the adapter.
        let places = [PathBuf::from(&named), dir.join(&named)];
        let base = places.into_iter().find(|place| place.join("config.json").is_file()).ok_or_else(|| {
            wrong(format!(
                "`base_model_name_or_path` is {named:?}, and there is no model folder of that name here or beside the \
                 adapter; nothing is downloaded: fetch the base model and put the path of its folder there"
            ))
        })?;
        if base.join(ADAPTER_CONFIG).is_file() && !base.join("model.safetensors").is_file() {
            return Err(wrong(format!(
                "the base model {named:?} is itself an adapter: merge that one first"
            )));
        }
        Ok(Some(Self { config, base }))
    }

    /// Adapters of zeros, to be read into.
    pub fn empty<D: Device>(&self, device: &D, arch: &Architecture) -> Result<Adapter<D>> {
        let len = crate::adapter::AdapterLayout::new(arch, &self.config)?.len;
        Adapter::new(arch, self.config.clone(), device.zeros(len))
    }

    /// Reads the folder's tensors, which must be those of the configuration, none missing and none left over.
    pub fn read<D: Device>(&self, dir: &Path, device: &D, adapter: &mut Adapter<D>) -> Result<()> {
        if !dir.join(WEIGHTS).exists() && dir.join("adapter_model.bin").exists() {
            return Err(ModelError::Config {
                path: dir.join("adapter_model.bin"),
                reason: "pickled weights are not read, because unpickling runs code; in Python, \
                         PeftModel.save_pretrained(folder) writes adapter_model.safetensors"
                    .into(),
            });
        }
        let mut files = Weights::open_file(dir, WEIGHTS)?;
        let parameters: Vec<Parameter> = adapter.parameters().to_vec();
        files.check_tensors(&parameters, |_| false)?;
        for parameter in &parameters {
            let mut at = parameter.range.start;
            files.read(&parameter.name, |chunk| {
                device.write(chunk, adapter.part_mut(at..at + chunk.len()));
                at += chunk.len();
            })?;
        }
        Ok(())
    }
}

/// Writes both files. The base model is named by its absolute path, so that the folder works from anywhere.
pub(super) fn write<D: Device>(
    adapter: &Adapter<D>,
    device: &D,
    base: &Path,
    dtype: Dtype,
    target: &Path,
) -> Result<()> {
    let base = absolute(base).map_err(ModelError::io(base))?;
    let config = adapter.config().to_json(&base.to_string_lossy());
    write_file(&target.join(ADAPTER_CONFIG), format!("{config:#}\n").as_bytes())?;
    let tensors: Vec<&Parameter> = adapter.parameters().iter().collect();
    write_tensors(&tensors, dtype, &target.join(WEIGHTS), |_, part, piece| {
        device.read(adapter.flat.part(part), piece);
    })
}
