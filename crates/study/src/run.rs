//! One training run of an experiment, watched from outside.

use std::path::{Path, PathBuf};
use std::time::Instant;

use gft_model::Cpu;
use gft_train::config::load;
use gft_train::{Begin, Metrics, StepReport, Watch};

use crate::error::{Error, Result};

/// What a run cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Its folder.
    pub folder: PathBuf,
    /// Steps.
    pub steps: u64,
    /// Tokens computed, rollouts included.
    pub tokens: u64,
    /// Seconds of the wall clock.
    pub seconds: f64,
}

/// Hears of steps, and of nothing else.
struct Steps<'a> {
    heard: &'a mut dyn FnMut(u64, u64),
}

impl Watch<Cpu> for Steps<'_> {
    fn step(&mut self, metrics: &Metrics, _: &StepReport, total: u64) {
        (self.heard)(metrics.step, total);
    }
}

/// Trains as `config` and the settings say. `step` hears of each step and how many there are.
///
/// # Errors
/// Whatever settings, data and disk refuse; [`Error::Interrupted`].
pub fn train(
    config: Option<&Path>,
    settings: &[(String, String)],
    step: &mut dyn FnMut(u64, u64),
    stop: &dyn Fn() -> bool,
) -> Result<Trained> {
    let flags = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let resolved = load(config, flags)?;
    let began = Instant::now();
    let mut watch = Steps { heard: step };
    let finished = match gft_train::train(&Cpu::new(), &resolved, &Begin::Fresh, &mut watch, stop) {
        Err(gft_train::Error::Interrupted) => return Err(Error::Interrupted),
        other => other?,
    };
    Ok(Trained {
        folder: finished.model,
        steps: finished.steps,
        tokens: finished.tokens,
        seconds: began.elapsed().as_secs_f64(),
    })
}
