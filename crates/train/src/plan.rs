//! What a run would do: every setting with its origin, the batch equation, steps, predicted memory and disk.

use std::fmt;
use std::path::Path;

use gft_model::device::DeviceMemory;
use gft_model::folder::ModelFolder;
use gft_model::layout::Layout;
use gft_model::{Adapter, Cpu};
use gft_objective::Method;
use gft_report::{bytes, counted, grouped};
use serde::Serialize;
use serde_json::Value;

use crate::adapters;
use crate::checks::note_on_groups;
use crate::config::{KEYS, Key, Resolved, Settings, Stage, decided};
use crate::device_memory::{DevicePlan, device_plan};
use crate::disk::{Disk, Way};
use crate::error::{ConfigError, Error, Result};
use crate::memory::{host_bytes, memory_of};
use crate::setup::{self, StagePlan};

/// A run before it runs.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Its stages.
    pub stages: Vec<PlannedStage>,
    /// Parameters of the model.
    pub parameters: u64,
    /// Those that are trained: all, or the adapters'.
    pub trained: u64,
    /// Bytes of the host's memory at the peak, by part.
    pub memory: Vec<(String, u64)>,
    /// The same of the device, where the run computes on one with memory of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DevicePlan>,
    /// Bytes of disk: one checkpoint, and all that is kept at once.
    pub disk: (u64, u64),
    /// Seconds of the whole run, where an earlier run in the output folder tells.
    pub seconds: Option<f64>,
}

/// A stage before it runs.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedStage {
    /// Every setting: heading, name, value, origin.
    pub settings: Vec<(&'static str, &'static str, Value, String)>,
    /// The objective in words.
    pub method: String,
    /// The batch in one line.
    pub batch: String,
    /// Rows, tokens and what was dropped, in words.
    pub data: Vec<String>,
    /// Steps and updates.
    pub steps: (u64, u64),
}

/// Plans a run: reads configuration, tokenizer and data, but no weights. `device` is the memory of the device that is to
/// compute, where it has its own; `progress` is told of rows read and of all there are.
///
/// # Errors
/// What [`crate::train`] would refuse before its first step.
pub fn plan(
    resolved: &Resolved,
    device: Option<&DeviceMemory>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Plan> {
    let first = &resolved.stages.first().ok_or_else(|| Error::Rows("a run needs a stage".into()))?.settings;
    let folder = ModelFolder::open(setup::model_dir(first)?)?;
    let arch = folder.architecture();
    let parameters = Layout::new(arch).len as u64;
    let trained = trained(first, &folder).map_err(|error| resolved.locate(0, error))?;
    let mut stages = Vec::new();
    let mut memory: Vec<(String, u64)> = Vec::new();
    let mut on_device: Option<DevicePlan> = None;
    for (index, stage) in resolved.stages.iter().enumerate() {
        let settings = &stage.settings;
        let located = |error| resolved.locate(index, error);
        let encoder = setup::encoder(folder.tokenizer_dir(), settings, arch).map_err(located)?;
        let planned = StagePlan::new(settings, encoder, progress).map_err(located)?;
        planned.rewards().map_err(located)?;
        let parts = match device {
            None => memory_of(&planned, &folder)?,
            Some(device) => {
                let found = device_plan(&planned, &folder, device)?;
                if on_device.as_ref().is_none_or(|largest| found.peak() > largest.peak()) {
                    on_device = Some(found);
                }
                vec![host_bytes(&planned)]
            }
        };
        if parts.iter().map(|(_, bytes)| bytes).sum::<u64>() > memory.iter().map(|(_, bytes)| bytes).sum() {
            memory = parts;
        }
        let survey = planned.rows.survey();
        let mut data: Vec<String> = planned.rows.dataset().description().lines().map(str::to_owned).collect();
        data.push(planned.rows.encoder().description());
        data.push(format!(
            "{}, {} with {}, longest prompt {}, longest demonstration {}",
            counted(survey.usable, "usable row"),
            counted(survey.demonstrations, "demonstration"),
            counted(survey.supervised_tokens, "supervised token"),
            survey.longest_prompt,
            survey.longest_demonstration
        ));
        if !survey.dropped.is_empty() {
            data.push(format!("dropped: {}", survey.drops()));
        }
        data.extend(Some(survey.lost()).filter(|lost| !lost.is_empty()));
        data.extend(
            note_on_groups(&planned.method, planned.composition.own).map(|note| format!("note: {note}")),
        );
        data.extend(planned.rows.notes(planned.groups()).iter().map(|note| format!("note: {note}")));
        let updates = planned.steps * (planned.updates_per_batch * settings.num_iterations) as u64;
        stages.push(PlannedStage {
            settings: shown(stage, &planned.method, &folder)?,
            method: planned.method.to_string(),
            batch: survey.batch(
                planned.prompts_per_step,
                planned.composition.own,
                planned.updates_per_batch,
                settings.num_iterations,
            ),
            data,
            steps: (planned.steps, updates),
        });
    }
    let steps = stages.iter().map(|stage| stage.steps.0).sum();
    let disk = Disk::of(first, &folder).map_err(|error| resolved.locate(0, error))?;
    let way = Way { done: 0, steps, stages: stages.len() as u64 - 1, checkpoints: 0 };
    Ok(Plan {
        disk: (disk.checkpoint, disk.needed(first, way)),
        seconds: first.output_dir.as_ref().and_then(|dir| seconds(Path::new(dir), steps)),
        stages,
        parameters,
        trained,
        memory,
        device: on_device,
    })
}

/// Every setting as it is shown: absent ones with what the method or the model decides in their place.
fn shown(
    stage: &Stage,
    method: &Method,
    folder: &ModelFolder,
) -> Result<Vec<(&'static str, &'static str, Value, String)>> {
    let preset = Method::named(&stage.settings.method);
    let preset = preset.map_err(|error| ConfigError::Contradiction(error.to_string()))?;
    let (of_preset, of_method) = (decided(&preset), decided(method));
    let dtype = match adapters::of_run(&stage.settings, folder)? {
        Some(_) => gft_model::Dtype::F32,
        None => folder.weights_dtype()?,
    };
    let of_model = |key: &str| match key {
        "max_length" => Some(Value::from(folder.architecture().max_positions)),
        "save_dtype" => Some(Value::from(dtype.config_name())),
        _ => None,
    };
    let line = |(key, (name, value)): (&Key, (&'static str, Value))| {
        let origin = stage.origins.get(name).map(ToString::to_string).unwrap_or_default();
        let (value, origin) = match (value, of_method.get(name), of_model(name)) {
            (Value::Null, Some(value), _) if of_preset.get(name) == Some(value) => {
                (value.clone(), format!("method {}", method.name))
            }
            // Of a rule or penalty that other settings ask for.
            (Value::Null, Some(value), _) => (value.clone(), origin),
            (Value::Null, None, Some(value)) => (value, "model".to_owned()),
            (Value::Null, None, None) if name == "weight_decay" => (Value::from(0.0), origin),
            (Value::Null, None, None) if key.group == METHODS => {
                (Value::Null, format!("not used by {}", method.name))
            }
            (value, ..) => (value, origin),
        };
        (key.group, name, value, origin)
    };
    Ok(KEYS.iter().zip(stage.settings.values()).map(line).collect())
}

/// The heading of settings that a method decides where they are absent.
const METHODS: &str = "Objective (absent: the method's)";

/// Parameters that a run trains.
pub(crate) fn trained(settings: &Settings, folder: &ModelFolder) -> Result<u64> {
    Ok(match adapters::of_run(settings, folder)? {
        Some(config) => Adapter::<Cpu>::len_of(folder.architecture(), &config)?,
        None => Layout::new(folder.architecture()).len,
    } as u64)
}

/// Steps times the median step time of an earlier run in this folder.
fn seconds(dir: &Path, steps: u64) -> Option<f64> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).ok()?;
    let time = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("step_time")?.as_f64();
    let mut times: Vec<f64> = text.lines().filter_map(time).collect();
    times.sort_by(f64::total_cmp);
    Some(*times.get(times.len() / 2)? * steps as f64)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            if self.stages.len() > 1 {
                writeln!(f, "stage {} of {}", index + 1, self.stages.len())?;
            }
            let mut group = "";
            for (heading, name, value, origin) in &stage.settings {
                if *heading != group {
                    writeln!(f, "\n{heading}")?;
                    group = heading;
                }
                let value = if value.is_null() { "-".to_owned() } else { value.to_string() };
                writeln!(f, "  {name:<30} {value:<28} {origin}")?;
            }
            writeln!(f, "\nObjective\n  {}", stage.method.replace('\n', "\n  "))?;
            writeln!(f, "\nData")?;
            for line in &stage.data {
                writeln!(f, "  {line}")?;
            }
            writeln!(f, "\nBatch\n  {}", stage.batch)?;
            let (steps, updates) = stage.steps;
            writeln!(f, "  {}, {}\n", counted(steps, "step"), counted(updates, "update"))?;
        }
        if self.trained != self.parameters {
            let (trained, all) = (grouped(self.trained), grouped(self.parameters));
            writeln!(f, "Adapters  {trained} parameters are trained, beside {all} that are not\n")?;
        }
        let total: u64 = self.memory.iter().map(|(_, bytes)| bytes).sum();
        writeln!(f, "Memory (predicted peak)  {}", bytes(total))?;
        for (part, count) in &self.memory {
            writeln!(f, "  {part:<46} {}", bytes(*count))?;
        }
        if let Some(device) = &self.device {
            write!(f, "{device}")?;
        }
        let (checkpoint, all) = self.disk;
        writeln!(f, "Disk  {} a checkpoint, {} at most", bytes(checkpoint), bytes(all))?;
        match self.seconds {
            Some(seconds) => writeln!(f, "Time  about {:.0} s, from the earlier run in this folder", seconds),
            None => writeln!(f, "Time  not known before the first steps"),
        }
    }
}
