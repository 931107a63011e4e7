//! What a run would do: every setting with its origin, the batch equation, steps, predicted memory and disk.

use std::fmt;
use std::path::Path;

use gft_model::architecture::Architecture;
use gft_model::folder::ModelFolder;
use gft_model::layout::Layout;
use serde::Serialize;
use serde_json::Value;

use crate::config::{KEYS, Resolved, Settings};
use crate::error::{Error, Result};
use crate::setup::{self, StagePlan};

/// A run before it runs.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Its stages.
    pub stages: Vec<PlannedStage>,
    /// Parameters of the model.
    pub parameters: u64,
    /// Bytes of memory at the peak, by part.
    pub memory: Vec<(String, u64)>,
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

/// Plans a run: reads configuration, tokenizer and data, but no weights.
///
/// # Errors
/// What [`crate::train`] would refuse before its first step.
pub fn plan(resolved: &Resolved) -> Result<Plan> {
    let first = &resolved.stages.first().ok_or_else(|| Error::Rows("a run needs a stage".into()))?.settings;
    let folder = ModelFolder::open(setup::model_dir(first)?)?;
    let arch = folder.architecture();
    let parameters = Layout::new(arch).len as u64;
    let mut stages = Vec::new();
    let mut memory: Vec<(String, u64)> = Vec::new();
    for stage in &resolved.stages {
        let settings = &stage.settings;
        let encoder = setup::encoder(folder.dir(), settings, arch)?;
        let planned = StagePlan::new(settings, encoder)?;
        planned.rewards()?;
        let parts = memory_of(&planned, arch, parameters);
        if parts.iter().map(|(_, bytes)| bytes).sum::<u64>() > memory.iter().map(|(_, bytes)| bytes).sum() {
            memory = parts;
        }
        let value = |(name, value): (&'static str, Value)| {
            let key = KEYS.iter().find(|key| key.name == name);
            let origin = stage.origins.get(name).map(ToString::to_string).unwrap_or_default();
            (key.map_or("", |key| key.group), name, value, origin)
        };
        let survey = planned.rows.survey();
        let mut data: Vec<String> = planned.rows.dataset().description().lines().map(str::to_owned).collect();
        data.push(planned.rows.encoder().description());
        data.push(format!(
            "{} usable rows, {} demonstrations with {} supervised tokens, longest prompt {}, longest demonstration {}",
            thousands(survey.usable),
            thousands(survey.demonstrations),
            thousands(survey.supervised_tokens),
            survey.longest_prompt,
            survey.longest_demonstration
        ));
        if !survey.dropped.is_empty() {
            data.push(format!("dropped: {}", survey.drops()));
        }
        let updates = planned.steps * (planned.updates_per_batch * settings.num_iterations) as u64;
        stages.push(PlannedStage {
            settings: settings.values().into_iter().map(value).collect(),
            method: planned.method.to_string(),
            batch: batch(&planned),
            data,
            steps: (planned.steps, updates),
        });
    }
    let steps = stages.iter().map(|stage| stage.steps.0).sum();
    Ok(Plan {
        disk: disk_bytes(first, &folder)?,
        seconds: first.output_dir.as_ref().and_then(|dir| seconds(Path::new(dir), steps)),
        stages,
        parameters,
        memory,
    })
}

/// As in `8 prompts x (1 expert + 3 teacher + 4 own) = 64 rows a step, 4 updates of 2 prompts x 1 pass`.
fn batch(planned: &StagePlan) -> String {
    let StagePlan { composition, prompts_per_step, updates_per_batch, settings, .. } = planned;
    format!(
        "{prompts_per_step} prompts x ({composition}) = {} rows a step; {updates_per_batch} update(s) of {} prompts x {} pass(es)",
        prompts_per_step * composition.size(),
        prompts_per_step.div_ceil(*updates_per_batch),
        settings.num_iterations
    )
}

/// Predicted memory. Activations are those of one pass of `tokens_per_pass` tokens.
fn memory_of(planned: &StagePlan, arch: &Architecture, parameters: u64) -> Vec<(String, u64)> {
    let settings = &planned.settings;
    let survey = planned.rows.survey();
    let longest_own = settings.max_completion_length.unwrap_or(512);
    let row = survey.longest_prompt
        + survey.longest_demonstration.max(if planned.composition.own > 0 { longest_own } else { 0 });
    let tokens = settings.tokens_per_pass.max(row) as u64;
    let floats = 4 * arch.hidden + arch.qkv_width() + arch.attention_width() + 3 * arch.ffn + arch.heads;
    let layers = if settings.gradient_checkpointing { 1 } else { arch.layers } as u64;
    let inputs = if settings.gradient_checkpointing { arch.layers * arch.hidden } else { 0 } as u64;
    let mut parts = vec![
        ("weights".to_owned(), 4 * parameters),
        ("gradients".to_owned(), 4 * parameters),
        ("optimizer moments".to_owned(), 8 * parameters),
    ];
    if planned.needs_reference() {
        parts.push(("reference weights".to_owned(), 4 * parameters));
    }
    let activations = 4 * tokens * (layers * floats as u64 + inputs);
    let sequences = settings.generation_batch_size.min(planned.prompts_per_step * planned.composition.own);
    let cache = 8
        * (arch.layers * arch.kv_heads * arch.head_dim * sequences) as u64
        * (survey.longest_prompt + longest_own) as u64;
    // Sampling and the update take turns: the larger of the two counts.
    let rollout = if planned.composition.own > 0 { 4 * parameters + cache } else { 0 };
    parts.push(("activations, or weights and cache of sampling".to_owned(), activations.max(rollout)));
    parts
}

/// Bytes on disk: of one checkpoint, and of all that a run keeps at once.
pub(crate) fn disk_bytes(settings: &Settings, folder: &ModelFolder) -> Result<(u64, u64)> {
    let parameters = Layout::new(folder.architecture()).len as u64;
    let dtype = match settings.save_dtype.as_deref().map(str::parse::<gft_model::Dtype>) {
        Some(Ok(dtype)) => dtype,
        Some(Err(error)) => {
            return Err(crate::error::ConfigError::Contradiction(format!("save_dtype: {error}")).into());
        }
        None => folder.weights_dtype()?,
    };
    let model = dtype.bytes() as u64 * parameters;
    let masters = if dtype == gft_model::Dtype::F32 { 0 } else { 4 * parameters };
    let checkpoint = model + 8 * parameters + masters;
    // One more than is kept: the oldest is removed after the newest is complete.
    let kept = settings.save_total_limit.max(1) as u64 + 1;
    Ok((checkpoint, kept * checkpoint + model))
}

/// Steps times the median step time of an earlier run in this folder.
fn seconds(dir: &Path, steps: u64) -> Option<f64> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).ok()?;
    let time = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("step_time")?.as_f64();
    let mut times: Vec<f64> = text.lines().filter_map(time).collect();
    times.sort_by(f64::total_cmp);
    Some(*times.get(times.len() / 2)? * steps as f64)
}

/// With thin separators, as in `1,319`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As in `1.2 GB`.
fn bytes(count: u64) -> String {
    let count = count as f64;
    let (value, unit) = match count {
        c if c >= 1e9 => (c / 1e9, "GB"),
        c if c >= 1e6 => (c / 1e6, "MB"),
        c => (c / 1e3, "kB"),
    };
    format!("{value:.1} {unit}")
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
            writeln!(f, "  {} steps, {} updates\n", thousands(stage.steps.0), thousands(stage.steps.1))?;
        }
        let total: u64 = self.memory.iter().map(|(_, bytes)| bytes).sum();
        writeln!(f, "Memory (predicted peak)  {}", bytes(total))?;
        for (part, count) in &self.memory {
            writeln!(f, "  {part:<46} {}", bytes(*count))?;
        }
        let (checkpoint, all) = self.disk;
        writeln!(f, "Disk  {} a checkpoint, {} at most", bytes(checkpoint), bytes(all))?;
        match self.seconds {
            Some(seconds) => writeln!(f, "Time  about {:.0} s, from the earlier run in this folder", seconds),
            None => writeln!(f, "Time  not known before the first steps"),
        }
    }
}
