//! One training run of an experiment, watched from outside.

use std::path::PathBuf;
use std::time::Instant;

use gft_model::Cpu;
use gft_train::config::Resolved;
use gft_train::{Begin, StepEnd, Watch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// What the run's own evaluations found, in their order.
    pub curve: Vec<Point>,
}

/// An evaluation on the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps made.
    pub step: u64,
    /// Share of right completions.
    pub accuracy: f64,
}

/// Hears of steps and evaluations.
struct Steps<'a> {
    heard: &'a mut dyn FnMut(Heard),
    curve: Vec<Point>,
}

impl Watch<Cpu> for Steps<'_> {
    fn step(&mut self, step: &StepEnd<'_>) {
        let metrics = step.metrics;
        (self.heard)(Heard { step: metrics.step, last: step.last_step, tokens: metrics.num_tokens });
    }

    fn evaluated(&mut self, step: u64, line: &Map<String, Value>) {
        let accuracy = line.get("eval_accuracy").and_then(Value::as_f64);
        self.curve.extend(accuracy.map(|accuracy| Point { step, accuracy }));
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

/// Trains as the configuration says. `step` hears of each step.
///
/// # Errors
/// Whatever settings, data and disk refuse; [`Error::Interrupted`].
pub fn train(resolved: &Resolved, step: &mut dyn FnMut(Heard), stop: &dyn Fn() -> bool) -> Result<Trained> {
    let began = Instant::now();
    let mut watch = Steps { heard: step, curve: Vec::new() };
    let finished = match gft_train::train(&Cpu::new(), resolved, &Begin::Fresh, &mut watch, stop) {
        Err(gft_train::Error::Interrupted) => return Err(Error::Interrupted),
        other => other?,
    };
    Ok(Trained {
        folder: finished.model,
        steps: finished.steps,
        tokens: finished.tokens,
        seconds: began.elapsed().as_secs_f64(),
        curve: watch.curve,
    })
}
