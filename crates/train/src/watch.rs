//! What a run tells those who watch it.

use std::path::{Path, PathBuf};

use gft_model::device::Device;
use serde_json::{Map, Value};

use crate::config::Settings;
use crate::metrics::Metrics;
use crate::report::{Phase, StepReport};
use crate::trainer::Trainer;

/// Hears of a run as it goes on. Every method may be left as it is.
pub trait Watch<D: Device> {
    /// `done` of `total` rows of a stage's data have been read.
    fn reading(&mut self, _done: u64, _total: u64) {}
    /// A stage is ready to step.
    fn stage(&mut self, _run: &StageInfo<'_, D>) {}
    /// A step enters a phase.
    fn phase(&mut self, _phase: Phase) {}
    /// Work goes on: called many times a second.
    fn tick(&mut self) {}
    /// A step has ended.
    fn step(&mut self, _step: &StepEnd<'_>) {}
    /// An evaluation has ended; its line of metrics.
    fn evaluated(&mut self, _step: u64, _line: &Map<String, Value>) {}
    /// Something worth knowing, in words.
    fn note(&mut self, _text: &str) {}
    /// A checkpoint was saved.
    fn saved(&mut self, _path: &Path) {}
}

/// A stage that is ready to step, for the banner.
pub struct StageInfo<'a, D: Device> {
    /// Its settings.
    pub settings: &'a Settings,
    /// The stage, from 1, and how many there are.
    pub stage: (usize, usize),
    /// What steps.
    pub trainer: &'a Trainer<D>,
    /// Steps of the stage, and those already made.
    pub steps: (u64, u64),
    /// The output folder.
    pub output_dir: &'a Path,
    /// The model's folder.
    pub model_dir: &'a Path,
    /// Predicted peak of memory in bytes.
    pub memory: u64,
}

/// A step that has ended.
pub struct StepEnd<'a> {
    /// Its metrics.
    pub metrics: &'a Metrics,
    /// The same as the line of metrics.jsonl.
    pub line: &'a Map<String, Value>,
    /// What happened in it.
    pub report: &'a StepReport,
    /// The run's step at which the stage ends.
    pub last_step: u64,
    /// Whether its completions are to be shown.
    pub show_completions: bool,
}

/// What a finished run leaves.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The folder with the final model.
    pub model: PathBuf,
    /// Steps in all.
    pub steps: u64,
    /// Tokens computed.
    pub tokens: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// First and last evaluation: lines of metrics.jsonl.
    pub evaluations: Option<(Map<String, Value>, Map<String, Value>)>,
    /// Whether TensorBoard can show the run.
    pub tensorboard: bool,
    /// Whether the last stage learned from prompts that are continued as they stand.
    pub continued_prompts: bool,
    /// True when the run stopped at `stop_after_steps`, before its end.
    pub stopped_early: bool,
}
