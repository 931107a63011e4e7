//! Layers become one value per setting and stage, with the place that each comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gft_objective::Method;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::file::{ConfigFile, Section, Values};
use super::presets::preset;
use super::settings::{RUN_KEYS, Settings};
use crate::error::{ConfigError, Error};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default.
    Default,
    /// The method's preset.
    Method(String),
    /// The configuration file.
    File,
    /// The stage of the configuration file.
    Stage,
    /// The command line.
    Flag,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Method(name) => write!(f, "method {name}"),
            Origin::File => f.write_str("file"),
            Origin::Stage => f.write_str("stage"),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// One stage with all its settings.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The settings.
    pub settings: Settings,
    /// Where each value comes from.
    pub origins: BTreeMap<&'static str, Origin>,
    /// The line of the file that each value from it stands in.
    pub lines: BTreeMap<&'static str, usize>,
}

/// A run with all its settings.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// The stages; at least one.
    pub stages: Vec<Stage>,
}

/// Lays defaults, the method's preset, the file and the flags over one another.
///
/// # Errors
/// Values of the wrong type, an unknown method, a stage that sets what belongs to the run.
pub fn resolve(file: Option<&ConfigFile>, flags: &Values) -> Result<Resolved, ConfigError> {
    let nothing = Section::default();
    let run = file.map_or(&nothing, |file| &file.run);
    let stages = match file {
        Some(file) if !file.stages.is_empty() => file.stages.iter().collect(),
        _ => vec![&nothing],
    };
    for stage in &stages {
        if let Some(&key) = stage.values.keys().find(|key| RUN_KEYS.contains(key)) {
            return Err(ConfigError::BelongsToTheRun { key });
        }
    }
    let several = stages.len() > 1;
    if several && flags.contains_key("method") {
        return Err(ConfigError::Contradiction(
            "`--method` is given, but the file has several stages, each with its own".into(),
        ));
    }
    let path = file.map(|file| file.path.as_path());
    let stages: Result<Vec<Stage>, ConfigError> =
        stages.into_iter().map(|stage| resolve_stage(path, run, stage, flags)).collect();
    Ok(Resolved { path: path.map(Path::to_path_buf), stages: stages? })
}

fn resolve_stage(
    path: Option<&Path>,
    run: &Section,
    stage: &Section,
    flags: &Values,
) -> Result<Stage, ConfigError> {
    let mut lines = run.lines.clone();
    lines.extend(&stage.lines);
    lines.retain(|key, _| !flags.contains_key(key));
    let lines = &lines;
    settle(run, stage, flags, lines).map_err(|error| in_file(path, lines, error))
}

/// The error with the file and line of the setting that it is about: the first that its message names among those
/// that the file sets.
fn in_file(path: Option<&Path>, lines: &BTreeMap<&'static str, usize>, error: ConfigError) -> ConfigError {
    let (Some(path), ConfigError::Contradiction(message)) = (path, &error) else { return error };
    let mut words = message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    match words.find_map(|word| lines.get(word)) {
        Some(&line) => ConfigError::InFile { path: path.to_path_buf(), line, error: Box::new(error) },
        None => error,
    }
}

fn settle(
    run: &Section,
    stage: &Section,
    flags: &Values,
    lines: &BTreeMap<&'static str, usize>,
) -> Result<Stage, ConfigError> {
    let layers = [(&run.values, Origin::File), (&stage.values, Origin::Stage), (flags, Origin::Flag)];
    let named = layers.iter().rev().find_map(|(values, _)| values.get("method"));
    let name = match named {
        Some(Value::String(name)) => name.clone(),
        Some(other) => {
            let value = other.to_string();
            return Err(ConfigError::Value { key: "method", value, expected: "the name of a method" });
        }
        None => Settings::default().method,
    };
    let name = Method::named(&name).map_err(|error| ConfigError::Contradiction(error.to_string()))?.name;
    let mut values: BTreeMap<&'static str, (Value, Origin)> = BTreeMap::new();
    let preset = preset(name);
    for (key, value) in preset {
        values.insert(key, (value, Origin::Method(name.into())));
    }
    for (layer, origin) in layers {
        for (key, value) in layer {
            values.insert(key, (value.clone(), origin.clone()));
        }
    }
    let origin = values.get("method").map_or(Origin::Default, |(_, origin)| origin.clone());
    values.insert("method", (Value::from(name), origin));
    let settings = Settings::from_values(|key| values.get(key).map(|(value, _)| value.clone()))?;
    let origin = |key: &str| values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
    let origins = super::settings::KEYS.iter().map(|key| (key.name, origin(key.name))).collect();
    let mut stage = Stage { settings, origins, lines: lines.clone() };
    stage.batch()?;
    Ok(stage)
}

impl Stage {
    /// Whether the user, not a default or a preset, set `key`.
    pub fn is_explicit(&self, key: &str) -> bool {
        matches!(self.origins.get(key), Some(Origin::File | Origin::Stage | Origin::Flag))
    }

    /// Settles the batch: TRL's two sizes and verl's mini-batch become prompts of a step and updates.
    fn batch(&mut self) -> Result<(), ConfigError> {
        let trl = ["per_device_train_batch_size", "gradient_accumulation_steps"];
        let given: Vec<&str> = trl.into_iter().filter(|key| self.is_explicit(key)).collect();
        let settings = &self.settings;
        if let Some(first) = given.first() {
            let rows = settings.per_device_train_batch_size.unwrap_or(8)
                * settings.gradient_accumulation_steps.unwrap_or(1);
            let own = settings.num_generations.unwrap_or(0).max(1);
            if rows == 0 || !rows.is_multiple_of(own) {
                return Err(ConfigError::Contradiction(format!(
                    "per_device_train_batch_size x gradient_accumulation_steps = {rows} completions is not a multiple \
                     of num_generations = {own}; the next legal value is {}",
                    rows.next_multiple_of(own).max(own)
                )));
            }
            let prompts = rows / own;
            if self.is_explicit("train_batch_size") && settings.train_batch_size != Some(prompts) {
                return Err(ConfigError::Contradiction(format!(
                    "train_batch_size = {} prompts contradicts per_device_train_batch_size x \
                     gradient_accumulation_steps = {rows} rows = {prompts} prompts; give one of them",
                    settings.train_batch_size.unwrap_or(0)
                )));
            }
            let origin = self.origins.get(first).cloned().unwrap_or(Origin::Default);
            self.settings.train_batch_size = Some(prompts);
            self.origins.insert("train_batch_size", origin);
        }
        if let Some(mini) = self.settings.mini_batch_size {
            let prompts = self.settings.train_batch_size.unwrap_or(1);
            if mini == 0 || mini > prompts {
                return Err(ConfigError::Contradiction(format!(
                    "mini_batch_size = {mini} must be between 1 and train_batch_size = {prompts} prompts"
                )));
            }
            let updates = prompts.div_ceil(mini);
            if self.is_explicit("updates_per_batch") && self.settings.updates_per_batch != Some(updates) {
                return Err(ConfigError::Contradiction(format!(
                    "mini_batch_size = {mini} makes {updates} updates of {prompts} prompts, updates_per_batch = {} is \
                     given; give one of them",
                    self.settings.updates_per_batch.unwrap_or(1)
                )));
            }
            self.settings.updates_per_batch = Some(updates);
        }
        Ok(())
    }
}

/// Whether a setting decides the result of a run, rather than what is logged and saved of it.
pub(crate) fn decides(key: &str) -> bool {
    const FREE: &[&str] = &[
        "output_dir",
        "run_name",
        "logging_steps",
        "report_to",
        "log_completions",
        "num_completions_to_print",
        "completions_steps",
        "completions_tokens",
        "save_steps",
        "stop_after_steps",
        "save_total_limit",
        "model_name_or_path",
    ];
    !FREE.contains(&key)
}

impl Resolved {
    /// An error of the stage at `index` with the file and line of the setting that it is about, where the file sets it.
    pub(crate) fn locate(&self, index: usize, error: Error) -> Error {
        match (error, self.stages.get(index)) {
            (Error::Config(error), Some(stage)) => in_file(self.path.as_deref(), &stage.lines, error).into(),
            (error, _) => error,
        }
    }

    /// The settings of all stages as JSON, for the run's state.
    pub fn to_json(&self) -> Value {
        let stage = |stage: &Stage| {
            Value::Object(Map::from_iter(stage.settings.values().into_iter().map(|(k, v)| (k.to_owned(), v))))
        };
        Value::Array(self.stages.iter().map(stage).collect())
    }

    /// SHA-256 of what decides the result of the run: every setting but those of logging and saving.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for stage in &self.stages {
            for (key, value) in stage.settings.values() {
                if decides(key) {
                    hasher.update(format!("{key}={value}\n"));
                }
            }
            hasher.update("--\n");
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The resolved configuration as a file that gives the same run.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let Some(first) = self.stages.first() else { return text };
        let line = |(key, value): (&str, Value)| -> Option<String> {
            let value = toml::Value::try_from(value).ok()?;
            Some(format!("{key} = {value}\n"))
        };
        let several = self.stages.len() > 1;
        let run = |key: &str| !several || RUN_KEYS.contains(&key);
        let values = first.settings.values().into_iter().filter(|(key, value)| run(key) && !value.is_null());
        text.extend(values.filter_map(line));
        if several {
            for stage in &self.stages {
                text.push_str("\n[[stages]]\n");
                let values = stage.settings.values().into_iter();
                text.extend(values.filter(|(key, value)| !run(key) && !value.is_null()).filter_map(line));
            }
        }
        text
    }
}

/// Reads flags given as text.
///
/// # Errors
/// Unknown names and values of the wrong type.
pub fn flag_values<'a>(flags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    for (name, text) in flags {
        let key = super::find_key(name)?;
        let value = (key.parse)(text).ok_or_else(|| ConfigError::Value {
            key: key.name,
            value: text.into(),
            expected: key.kind,
        })?;
        values.insert(key.name, value);
    }
    Ok(values)
}

/// Reads a file, if given, and flags.
///
/// # Errors
/// As [`ConfigFile::read`], [`flag_values`] and [`resolve`].
pub fn load<'a>(
    path: Option<&Path>,
    flags: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Resolved, ConfigError> {
    let file = path.map(ConfigFile::read).transpose()?;
    resolve(file.as_ref(), &flag_values(flags)?)
}
