//! From settings to the weights that a run starts from: all of them to be trained, or frozen ones with adapters.

use gft_model::adapter::{LINEAR, Targets};
use gft_model::device::Device;
use gft_model::random::Stream;
use gft_model::{Adapter, LoraConfig, ModelFolder, Policy};

use crate::config::Settings;
use crate::error::{ConfigError, Result};

/// What distinguishes the adapters' first values from everything else that the seed decides.
const INIT: u64 = 0x4c6f_5241;
/// Signs that a module's name does not have: one target with any of them is a pattern.
const SIGNS_OF_A_PATTERN: &[char] = &['*', '\\', '|', '(', '[', '^', '$', '+', '?'];

/// The adapters that the settings ask for.
pub(crate) fn asked(settings: &Settings) -> Result<Option<LoraConfig>, ConfigError> {
    if !settings.use_peft {
        return Ok(None);
    }
    let targets = match settings.lora_target_modules.as_slice() {
        [all] if all == "all-linear" => Targets::Names(LINEAR.map(String::from).to_vec()),
        [pattern] if pattern.contains(SIGNS_OF_A_PATTERN) => Targets::Pattern(pattern.clone()),
        names => Targets::Names(names.to_vec()),
    };
    let config = LoraConfig {
        r: settings.lora_r,
        alpha: settings.lora_alpha,
        dropout: settings.lora_dropout,
        rslora: settings.use_rslora,
        targets,
        ..LoraConfig::default()
    };
    config.check().map_err(|error| ConfigError::Contradiction(error.to_string()))?;
    Ok(Some(config))
}

/// The adapters of a run: those that its model folder has, else those that the settings ask for.
///
/// # Errors
/// Settings that ask for other adapters than the folder has.
pub(crate) fn of_run(settings: &Settings, folder: &ModelFolder) -> Result<Option<LoraConfig>, ConfigError> {
    let asked = asked(settings)?;
    let Some(found) = folder.lora() else {
        if asked.is_none() {
            refuse_without_adapters(settings)?;
        }
        return Ok(asked);
    };
    match asked {
        Some(asked) if asked != *found => Err(ConfigError::Contradiction(format!(
            "{} is an adapter already, of rank {} and alpha {} on {}, and is continued as it is; use_peft asks for rank {} \
             and alpha {} on {}: leave use_peft and the lora settings out, or merge the adapter first",
            folder.dir().display(),
            found.r,
            found.alpha,
            found.targets,
            asked.r,
            asked.alpha,
            asked.targets
        ))),
        _ => Ok(Some(found.clone())),
    }
}

/// Settings of adapters where all weights would be trained: their user means something else.
fn refuse_without_adapters(settings: &Settings) -> Result<(), ConfigError> {
    let default = Settings::default();
    let changed = [
        ("lora_r", settings.lora_r != default.lora_r),
        ("lora_alpha", settings.lora_alpha != default.lora_alpha),
        ("lora_dropout", settings.lora_dropout != default.lora_dropout),
        ("lora_target_modules", settings.lora_target_modules != default.lora_target_modules),
        ("use_rslora", settings.use_rslora != default.use_rslora),
    ];
    match changed.iter().find(|(_, changed)| *changed) {
        None => Ok(()),
        Some((key, _)) => Err(ConfigError::Contradiction(format!(
            "`{key}` has no effect without adapters, and all weights would be trained: set use_peft = true, or leave it out"
        ))),
    }
}

/// The weights that a run starts from.
///
/// # Errors
/// What model folder and settings refuse.
pub(crate) fn start<D: Device>(device: D, settings: &Settings, folder: &ModelFolder) -> Result<Policy<D>> {
    let config = of_run(settings, folder)?;
    match config.filter(|_| folder.lora().is_none()) {
        None => Ok(folder.load(device)?),
        Some(config) => {
            let base = folder.load_frozen(device)?;
            let seed = Stream::new(settings.seed).child(INIT).bits(0);
            let adapter = Adapter::init(base.device(), folder.architecture(), config, seed)?;
            Ok(base.with_adapter(adapter)?)
        }
    }
}
