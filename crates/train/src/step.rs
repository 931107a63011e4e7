//! One step, top to bottom: rows, groups, rewards, advantages, packed trees, denominator, statistics, coefficients,
//! backward, guard, update.
//!
//! A step is a function of (weights, optimizer state, guard, seed, step, position): no clock, no global generator.

use gft_model::device::Device;
use gft_model::optimizer::{clip_scale, gradient_norm};
use gft_model::policy::{Seeds, TokenStats};
use gft_objective::{Counts, Decision, decide};

use crate::collect::Collected;
use crate::error::{Error, Result};
use crate::passes::{Seeding, passes, pieces};
use crate::report::{Phase, StepReport, UpdateReport};
use crate::trainer::{Trainer, no_seeds, want};

impl<D: Device> Trainer<D> {
    /// Runs one step and says what happened. `phase` is told where the step is; `stop` may end it before its first
    /// update, after which nothing has changed.
    ///
    /// # Errors
    /// [`Error::Interrupted`] by `stop`; whatever rows, engine and objective refuse.
    pub fn step(
        &mut self,
        step: u64,
        phase: &mut dyn FnMut(Phase),
        stop: &dyn Fn() -> bool,
    ) -> Result<StepReport> {
        // 1 to 5: rows -> prompts -> groups -> rewards -> advantages.
        phase(Phase::Rollout);
        let mut found: Collected = self.collect(step, self.prompts_at(self.position), stop)?;
        let parts = self.parts(found.groups.len());
        phase(Phase::Statistics);
        self.fixed_logprobs(&mut found, self.updates_per_step() > 1, stop)?;
        let mut report = StepReport::new(step, &found);
        for (update, part) in (0..self.num_iterations).flat_map(|_| parts.clone()).enumerate() {
            phase(Phase::Update);
            // 7: the denominators of the whole update, before the first backward pass.
            let mut counts = Counts::default();
            for g in part.clone() {
                for (rollout, row) in found.groups[g].rollouts.iter().zip(&found.rows[g]) {
                    let tokens = if row.filtered { 0 } else { rollout.targets() };
                    self.method.count_row(&mut counts, rollout.source, tokens, row.advantage);
                }
            }
            let denominators = self.method.denominators(&counts, self.max_completion_length);
            let denominators = denominators.map_err(|error| Error::Objective { step, error })?;
            // 6: trees of prompts and rollouts. Rows without a signal are not run where nothing else needs them.
            let skip = self.method.may_skip_silent_rows();
            let run = |g: usize, k: usize| {
                let row = &found.rows[g][k];
                !row.filtered && self.used(&found.groups[g].rollouts[k]) && !(skip && row.advantage == 0.0)
            };
            let passes = passes(&found.groups, part.clone(), self.tokens_per_pass, run)?;
            let (mut loss, mut refused) = (0.0, None);
            self.gradients.reset();
            for (index, pass) in passes.iter().enumerate() {
                if update == 0 && stop() {
                    return Err(Error::Interrupted);
                }
                // 8 to 11: statistics, coefficients and loss, backward, in one sweep over the head.
                let dropout = self.dropout(step, update, index);
                let forward = self.policy.forward_dropping(&pass.batch, self.keep_activations, dropout)?;
                let want = want(&self.method, self.reference.as_ref(), self.temperature(), self.entropy);
                let seeding = Seeding {
                    method: &self.method,
                    denominators: &denominators,
                    groups: &found.groups,
                    rows: &found.rows,
                };
                let mut losses = Vec::new();
                let seed = |stats: &TokenStats, order: &[usize]| -> Seeds {
                    let mut seeds = no_seeds(&self.method, order.len());
                    for piece in pieces(&pass.rows, order) {
                        match seeding.seed(&piece, stats, &mut seeds) {
                            Ok(row) => losses.push((piece.row, row)),
                            Err(error) => refused = refused.take().or(Some(error)),
                        }
                    }
                    seeds
                };
                let stats =
                    self.policy.backward_with(&pass.batch, forward, &want, &mut self.gradients, seed)?;
                loss += report.add(&self.method, update == 0, pass, &stats, losses, &mut found);
            }
            // 12: clip by the global norm -> guard, a branch -> AdamW.
            let loss = if self.numbers_refused(step, refused)? { f64::NAN } else { loss };
            let learning_rate = self.learning_rate(step, update);
            report.updates.push(self.guarded_update(loss, learning_rate, counts)?);
        }
        // 13 and 14, metrics and checkpoint, are the loop's.
        self.position += found.visited;
        report.finish(self.method.kl.map(|kl| kl.beta), found);
        Ok(report)
    }

    /// Stage 12: decides on the gradients that were gathered, and updates the weights or leaves everything as it is.
    /// Without any signal there is nothing to update from: weights and moments stay.
    ///
    /// # Errors
    /// What the optimizer refuses; a device that fails.
    pub fn guarded_update(&mut self, loss: f64, learning_rate: f64, counts: Counts) -> Result<UpdateReport> {
        let grad_norm = gradient_norm(&self.policy, &self.gradients)?;
        let decision = decide(&self.guard_config, &self.guard, loss, grad_norm);
        let signal = !self.gradients.is_empty();
        if decision == Decision::Accept && signal {
            let scale =
                if self.max_grad_norm > 0.0 { clip_scale(grad_norm, self.max_grad_norm) } else { 1.0 };
            self.optimizer.update(&mut self.policy, &self.gradients, learning_rate, scale)?;
        }
        self.guard.record(&self.guard_config, decision, loss, grad_norm);
        Ok(UpdateReport { loss, grad_norm, learning_rate, decision, signal, counts })
    }
}
