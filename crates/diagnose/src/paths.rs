//! A short fine-tuning on the data, and what it does to the ways in which the model answers.

use std::path::Path;

use gft_model::ModelFolder;
use gft_model::device::Device;
use gft_train::config::{list_of_paths, load};
use gft_train::{Begin, StepEnd, train};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::probe::{Probe, Sparsity};

/// A short fine-tuning.
#[derive(Clone, Debug)]
pub struct ShortRun<'a> {
    /// The model's folder.
    pub model: &'a Path,
    /// The data files.
    pub data: &'a [std::path::PathBuf],
    /// Names of their columns where detection does not know them.
    pub columns: &'a gft_data::ColumnMap,
    /// Steps.
    pub steps: u64,
    /// Demonstrations of a step.
    pub batch: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Seed of the order of rows.
    pub seed: u64,
}

/// The same model before and after short fine-tunings on the same rows in the same order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paths {
    /// Steps of each.
    pub steps: u64,
    /// Demonstrations of a step.
    pub batch: usize,
    /// Learning rate of each.
    pub learning_rate: f64,
    /// Before.
    pub before: Sparsity,
    /// After SFT.
    pub sft: Sparsity,
    /// After SFT with the tokens' coefficients rectified (DCR).
    pub rectified: Sparsity,
}

/// Hears of the steps of a short run.
struct Steps<'a>(&'a mut dyn FnMut(u64, u64));

impl<D: Device> gft_train::Watch<D> for Steps<'_> {
    fn step(&mut self, end: &StepEnd<'_>) {
        (self.0)(end.metrics.step, end.last_step);
    }
}

/// Fine-tunes in a temporary folder, with DCR at `tau` where given, and probes what comes out. `step` hears of each
/// step and of how many there are; `stop` is asked throughout.
///
/// # Errors
/// What the training refuses; [`Error::Interrupted`].
pub fn short_run<D: Device + Clone>(
    device: &D,
    run: &ShortRun<'_>,
    tau: Option<f64>,
    probe: &Probe<'_>,
    step: &mut dyn FnMut(u64, u64),
    stop: &dyn Fn() -> bool,
) -> Result<Sparsity> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("run");
    let mut flags: Vec<(&str, String)> = vec![
        ("method", "sft".into()),
        ("model_name_or_path", run.model.display().to_string()),
        ("dataset_name", list_of_paths(run.data)),
        ("output_dir", output.display().to_string()),
        ("max_steps", run.steps.to_string()),
        ("train_batch_size", run.batch.to_string()),
        ("learning_rate", run.learning_rate.to_string()),
        ("lr_scheduler_type", "constant".into()),
        ("seed", run.seed.to_string()),
        ("save_steps", "0".into()),
        ("completions_steps", "0".into()),
        ("report_to", "none".into()),
        ("log_entropy", "false".into()),
    ];
    if !run.columns.is_empty() {
        flags.push(("columns", run.columns.to_string()));
    }
    if let Some(tau) = tau {
        flags.push(("demonstration_rule", "dcr".into()));
        flags.push(("tau", tau.to_string()));
    }
    let resolved = load(None, flags.iter().map(|(name, value)| (*name, value.as_str())))?;
    let finished = match train(device, &resolved, &Begin::Fresh, &mut Steps(step), stop) {
        Err(gft_train::Error::Interrupted) => return Err(Error::Interrupted),
        other => other?,
    };
    let policy = ModelFolder::open(&finished.model)?.load(device.clone())?;
    probe.of(&policy, &mut || stop())
}
