//! What a checkpoint knows of a run beside weights and optimizer: with it a resumed run goes on bit for bit.

use std::path::Path;

use gft_checkpoint::{Checkpoints, RetentionPolicy};
use gft_objective::GuardHistory;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::report::StepReport;

/// Name of the file in a checkpoint.
pub const FILE: &str = "run_state.json";
/// Version of its layout.
pub const VERSION: u32 = 1;

/// Where a run is. Random streams are keyed by seed, step and place, so none has a state to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Version of this layout.
    pub version: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Steps completed over all stages.
    pub step: u64,
    /// The stage under way, from 0.
    pub stage: usize,
    /// Steps completed in that stage.
    pub stage_step: u64,
    /// Updates that the optimizer of that stage has made.
    pub updates: u64,
    /// Tokens computed over all stages.
    pub tokens: u64,
    /// Sums over all stages.
    #[serde(default)]
    pub totals: Totals,
    /// Place in the order of rows.
    pub order: OrderState,
    /// What the guard remembers.
    pub guard: GuardState,
    /// Every setting of every stage.
    pub config: Value,
    /// Their hash.
    pub config_hash: String,
    /// Hash of the encoded rows of the stage.
    pub data_fingerprint: String,
    /// Folder that configuration and tokenizer come from.
    pub model: String,
    /// Whether the stage learns from prompts that are continued as they stand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued_prompts: bool,
}

/// Whether the run in a folder, or the one whose checkpoint it is, learned from prompts that are continued as they stand.
/// No where nothing says so.
pub fn continued_prompts(folder: &Path) -> bool {
    let checkpoints = Checkpoints::new(folder, RetentionPolicy::default());
    let last = checkpoints.list().ok().and_then(|steps| steps.last().map(|step| checkpoints.path_of(*step)));
    let said = |path: &Path| RunState::read(path).is_ok_and(|state| state.continued_prompts);
    said(folder) || last.is_some_and(|path| said(&path))
}

/// Sums over a whole run, for its last line of metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Tokens of training passes, prompts included.
    pub trained_tokens: u64,
    /// Rollouts trained on.
    pub samples: u64,
    /// Sum of the finite losses of steps.
    pub loss: f64,
    /// How many these are.
    pub losses: u64,
    /// Seconds of steps and evaluations.
    pub seconds: f64,
}

impl Totals {
    /// Adds a step.
    pub fn add(&mut self, metrics: &Metrics, report: &StepReport) {
        self.trained_tokens += report.trained_tokens();
        self.samples += report.groups.iter().map(|group| group.rollouts.len() as u64).sum::<u64>();
        self.seconds += metrics.step_time;
        if metrics.loss.is_finite() {
            self.loss += metrics.loss;
            self.losses += 1;
        }
    }
}

/// A place in the order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// Seed of the order; `None` is the order of the files.
    pub seed: Option<u64>,
    /// Epoch of the next row.
    pub epoch: u64,
    /// Its place in that epoch.
    pub index: u64,
}

/// [`GuardHistory`] as it is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardState {
    /// Refused updates in a row.
    pub skipped: u32,
    /// Losses of the last accepted updates.
    pub losses: Vec<f64>,
    /// Gradient norms of the last accepted updates.
    pub grad_norms: Vec<f64>,
}

impl From<&GuardHistory> for GuardState {
    fn from(history: &GuardHistory) -> Self {
        GuardState {
            skipped: history.skipped,
            losses: history.losses.iter().copied().collect(),
            grad_norms: history.grad_norms.iter().copied().collect(),
        }
    }
}

impl From<GuardState> for GuardHistory {
    fn from(state: GuardState) -> Self {
        GuardHistory {
            skipped: state.skipped,
            losses: state.losses.into(),
            grad_norms: state.grad_norms.into(),
        }
    }
}

impl RunState {
    /// Reads the state of a checkpoint.
    ///
    /// # Errors
    /// A file that is missing, is not valid, or was written by a newer program.
    pub fn read(checkpoint: &Path) -> Result<Self> {
        let path = checkpoint.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        let refuse = |reason: String| Error::Resume { path: path.clone(), reason };
        let state: RunState = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if state.version != VERSION {
            return Err(refuse(format!(
                "it has layout version {}, this program reads {VERSION}",
                state.version
            )));
        }
        Ok(state)
    }

    /// Writes the state into a checkpoint.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, checkpoint: &Path) -> Result<()> {
        write_json(&checkpoint.join(FILE), self)
    }
}

/// Writes a value as indented JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Io {
        path: path.into(),
        action: "write",
        source: error.into(),
    })?;
    std::fs::write(path, text + "\n").map_err(Error::io(path, "write"))
}
