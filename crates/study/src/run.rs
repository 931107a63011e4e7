//! One training run of an experiment, watched from outside.

use std::path::{Path, PathBuf};
use std::time::Instant;

use gft_model::Cpu;
use gft_train::config::load;
use gft_train::{Begin, StepEnd, Watch};

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
    heard: &'a mut dyn FnMut(Heard),
}

impl Watch<Cpu> for Steps<'_> {
    fn step(&mut self, step: &StepEnd<'_>) {
        let metrics = step.metrics;
        (self.heard)(Heard { step: metrics.step, last: step.last_step, tokens: metrics.num_tokens });
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Steps made.
    pub step: u64,
    /// Steps in all.
    pub last: u64,
    /// Tokens computed so far.
    pub tokens: u64,
}

/// Trains as `config` and the settings say. `step` hears of each step.
///
/// # Errors
/// Whatever settings, data and disk refuse; [`Error::Interrupted`].
pub fn train(
    config: Option<&Path>,
    settings: &[(String, String)],
    step: &mut dyn FnMut(Heard),
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
