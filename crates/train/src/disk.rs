//! Disk: what a run writes, predicted before it begins.

use gft_model::Dtype;
use gft_model::folder::ModelFolder;

use crate::adapters;
use crate::config::Settings;
use crate::error::{ConfigError, Result};
use crate::plan::trained;

/// Bytes of the folders that a run writes. Files that grow (metrics, completions) are small beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// The model that the run leaves.
    pub model: u64,
    /// A checkpoint: model, moments, and f32 weights beside rounded ones.
    pub checkpoint: u64,
    /// The model that a stage before the last leaves, in f32.
    pub stage: u64,
}

/// How far a run is and how far it goes, as far as disk is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// Steps completed over all stages.
    pub done: u64,
    /// Steps of all stages.
    pub steps: u64,
    /// Stages that are not at their end, the last one left out.
    pub stages: u64,
    /// Checkpoints that are there.
    pub checkpoints: u64,
}

impl Disk {
    /// What a run of these settings writes.
    ///
    /// # Errors
    /// A `save_dtype` that is not known, adapters that do not fit the model.
    pub fn of(settings: &Settings, folder: &ModelFolder) -> Result<Self> {
        let parameters = trained(settings, folder)?;
        let dtype = match settings.save_dtype.as_deref().map(str::parse::<Dtype>) {
            Some(Ok(dtype)) => dtype,
            Some(Err(error)) => {
                return Err(ConfigError::Contradiction(format!("save_dtype: {error}")).into());
            }
            None if adapters::of_run(settings, folder)?.is_some() => Dtype::F32,
            None => folder.weights_dtype()?,
        };
        let model = dtype.bytes() as u64 * parameters;
        let masters = if dtype == Dtype::F32 { 0 } else { 4 * parameters };
        Ok(Disk { model, checkpoint: model + 8 * parameters + masters, stage: 4 * parameters })
    }

    /// Bytes that the rest of a run needs beside what it has on disk already, at the moment when it has most.
    pub fn needed(self, settings: &Settings, way: Way) -> u64 {
        let stops = settings.stop_after_steps > 0 && settings.stop_after_steps < way.steps;
        let last = if stops { settings.stop_after_steps } else { way.steps };
        let written = checkpoints(settings.save_steps, way.done, last);
        let kept = match settings.save_total_limit as u64 {
            0 => way.checkpoints + written,
            // One more than is kept: the oldest is removed after the newest is complete.
            limit => (way.checkpoints + written).min(limit + 1),
        };
        let model = if stops { 0 } else { self.model };
        kept.saturating_sub(way.checkpoints) * self.checkpoint + way.stages * self.stage + model
    }
}

/// Checkpoints that are written from step `done` to step `last`: every `every` steps, and at the end.
fn checkpoints(every: u64, done: u64, last: u64) -> u64 {
    if done >= last {
        return 0;
    }
    let before = |step: u64| step.checked_div(every).unwrap_or(0);
    before(last - 1) - before(done) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk { model: 1, checkpoint: 1000, stage: 1_000_000 };

    fn needed(steps: u64, settings: &[(&str, &str)], change: impl Fn(&mut Way)) -> u64 {
        let values = crate::config::flag_values(settings.iter().copied()).unwrap();
        let settings = Settings::from_values(|key| values.get(key).cloned()).unwrap();
        let mut way = Way { done: 0, steps, stages: 0, checkpoints: 0 };
        change(&mut way);
        DISK.needed(&settings, way)
    }

    #[test]
    fn only_checkpoints_that_are_written_are_counted() {
        let fresh = |steps, settings: &[(&str, &str)]| needed(steps, settings, |_| ());
        assert_eq!(fresh(20, &[]), 1001, "only the one at the end");
        assert_eq!(fresh(500, &[]), 1001, "the last one is the one of step 500");
        assert_eq!(fresh(501, &[]), 2001);
        assert_eq!(fresh(100_000, &[]), 4001, "three are kept, and one more for a moment");
        assert_eq!(fresh(10, &[("save_steps", "1"), ("save_total_limit", "0")]), 10_001, "all are kept");
        assert_eq!(fresh(10, &[("save_steps", "0")]), 1001);
        assert_eq!(fresh(1000, &[("stop_after_steps", "400")]), 1000, "no model before the end");
    }

    #[test]
    fn what_is_there_is_not_counted_again() {
        let rest = |done, checkpoints, steps| {
            needed(steps, &[("save_steps", "10")], |way| {
                (way.done, way.checkpoints) = (done, checkpoints);
            })
        };
        assert_eq!(rest(10, 1, 20), 1001);
        assert_eq!(rest(30, 3, 100), 1001, "the newest beside the three");
        assert_eq!(rest(100, 3, 100), 1, "nothing but the model");
        assert_eq!(needed(20, &[], |way| way.stages = 2), 2_001_001);
    }
}
