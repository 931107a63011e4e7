//! Everything that a step works with: weights, optimizer, objective, rows, rewards, and the numbers it goes by.

use std::ops::Range;

use gft_model::device::{Device, KlDirection};
use gft_model::generate::Sampling;
use gft_model::optimizer::AdamW;
use gft_model::policy::{Gradients, Keep, Policy, Seeds, TokenStats, Want};
use gft_model::random::Stream;
use gft_objective::{GuardConfig, GuardHistory, Method, Schedule, Source};
use gft_reward::Combination;
use gft_rollout::{OwnOptions, Rollout};

use crate::collect::Collected;
use crate::error::{Error, Result};
use crate::passes::passes;
use crate::rows::Rows;

/// What distinguishes dropout from everything else that the seed decides.
const DROPOUT: u64 = 0x6472_6f70;

/// What becomes of a group whose expert the verifier rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RejectedExpert {
    /// It stays, with its reward.
    #[default]
    Keep,
    /// The expert row is left out.
    DropRow,
    /// The group is left out.
    DropGroup,
}

/// One stage of a run, ready to step.
pub struct Trainer<D: Device> {
    /// The weights under training.
    pub policy: Policy<D>,
    /// AdamW's state.
    pub optimizer: AdamW<D>,
    /// Room for gradients.
    pub gradients: Gradients<D>,
    /// The weights that KL terms refer to.
    pub reference: Option<Policy<D>>,
    /// The objective.
    pub method: Method,
    /// The rows.
    pub rows: Rows,
    /// The rewards.
    pub combination: Combination,
    /// What the guard remembers.
    pub guard: GuardHistory,
    /// When the guard refuses.
    pub guard_config: GuardConfig,
    /// Rows visited so far in this stage.
    pub position: u64,
    /// Rows of the whole stage; `None` without bound.
    pub total_rows: Option<u64>,
    /// Prompts of a step.
    pub prompts_per_step: usize,
    /// Updates that a step's prompts are split into.
    pub updates_per_batch: usize,
    /// Passes over the same rollouts.
    pub num_iterations: usize,
    /// Learning-rate schedule.
    pub schedule: Schedule,
    /// Peak learning rate.
    pub peak_learning_rate: f64,
    /// Norm that gradients are scaled down to; 0 for none.
    pub max_grad_norm: f64,
    /// Tokens of one pass.
    pub tokens_per_pass: usize,
    /// What a forward pass keeps.
    pub keep_activations: Keep,
    /// Maximum completion length, for normalisers that divide by it.
    pub max_completion_length: Option<usize>,
    /// Own rollouts of a group.
    pub own_samples: usize,
    /// How own rollouts are drawn.
    pub sampling: Sampling,
    /// Sequences sampled together.
    pub generation_batch: usize,
    /// Tokens of an own rollout at most.
    pub max_new_tokens: usize,
    /// Replace groups without contrast.
    pub dynamic_sampling: bool,
    /// Rounds of that at most.
    pub max_sampling_rounds: usize,
    /// Leave truncated own rollouts out of the loss.
    pub mask_truncated: bool,
    /// Measure entropy.
    pub entropy: bool,
    /// Experts have reward 1 whatever the verifier says.
    pub expert_reward_is_one: bool,
    /// What becomes of experts that the verifier rejects.
    pub rejected_expert: RejectedExpert,
    /// Seed of own rollouts.
    pub seed: u64,
}

impl<D: Device> Trainer<D> {
    /// Prompts that the step at `position` takes: the last one of a stage may take fewer.
    pub fn prompts_at(&self, position: u64) -> usize {
        let left = self.total_rows.map_or(u64::MAX, |total| total.saturating_sub(position));
        self.prompts_per_step.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Updates of a step.
    pub fn updates_per_step(&self) -> usize {
        self.updates_per_batch * self.num_iterations
    }

    /// The learning rate of update `update` of step `step` (from 0 within the stage).
    pub fn learning_rate(&self, step: u64, update: usize) -> f64 {
        let at = step * self.updates_per_step() as u64 + update as u64;
        self.schedule.learning_rate(self.peak_learning_rate, at)
    }

    /// Groups of each update: contiguous, of equal size but for the last.
    pub(crate) fn parts(&self, groups: usize) -> Vec<Range<usize>> {
        let size = groups.div_ceil(self.updates_per_batch.max(1)).max(1);
        (0..groups).step_by(size).map(|start| start..(start + size).min(groups)).collect()
    }

    pub(crate) fn own_options(&self, step: u64) -> OwnOptions {
        OwnOptions {
            samples: self.own_samples,
            sampling: self.sampling.clone(),
            max_new_tokens: self.max_new_tokens,
            max_batch: self.generation_batch,
            seed: self.seed,
            step,
            policy_version: self.optimizer.state().2,
        }
    }

    /// What the adapters' dropout draws from in a pass: a stream of its own for each.
    pub(crate) fn dropout(&self, step: u64, update: usize, pass: usize) -> Option<Stream> {
        let adapter = self.policy.adapter()?;
        let stream =
            Stream::new(self.seed).child(DROPOUT).child(step).child(update as u64).child(pass as u64);
        (adapter.config().dropout > 0.0).then_some(stream)
    }

    /// Whether the method has a treatment for this rollout.
    pub(crate) fn used(&self, rollout: &Rollout) -> bool {
        self.method.sources[rollout.source].is_some()
    }

    /// The temperature of training: that of sampling, where the policy samples.
    pub(crate) fn temperature(&self) -> f32 {
        if self.own_samples > 0 && self.sampling.temperature > 0.0 { self.sampling.temperature } else { 1.0 }
    }

    /// Log-probabilities that stay fixed during a step: those of the policy at its start, where more than one update
    /// needs them (`old`), and those of the reference.
    pub(crate) fn fixed_logprobs(
        &self,
        found: &mut Collected,
        old: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        if old && self.method.needs_old_logprobs() {
            let reads = |source: Source| {
                self.method.sources[source].is_some_and(|used| used.rule.needs_old_logprobs())
            };
            for (group, rollout, values) in self.logprobs(&self.policy, found, reads, stop)? {
                found.rows[group][rollout].old_logprobs = Some(values);
            }
        }
        if let (Some(_), Some(reference)) = (self.method.kl, &self.reference) {
            let own = |source: Source| source == Source::Policy;
            for (group, rollout, values) in self.logprobs(reference, found, own, stop)? {
                found.rows[group][rollout].ref_logprobs = Some(values);
            }
        }
        Ok(())
    }

    /// Log-probabilities of the targets of all rollouts of some sources.
    fn logprobs(
        &self,
        policy: &Policy<D>,
        found: &Collected,
        wanted: impl Fn(Source) -> bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<(usize, usize, Vec<f32>)>> {
        let skip = self.method.may_skip_silent_rows();
        let run = |g: usize, k: usize| {
            let (rollout, row) = (&found.groups[g].rollouts[k], &found.rows[g][k]);
            wanted(rollout.source) && !row.filtered && !(skip && row.advantage == 0.0)
        };
        let mut values = Vec::new();
        for pass in passes(&found.groups, 0..found.groups.len(), self.tokens_per_pass, run)? {
            if stop() {
                return Err(Error::Interrupted);
            }
            let want = Want { temperature: self.temperature(), ..Want::default() };
            let TokenStats { logprobs, .. } = policy.token_stats(&pass.batch, &want)?;
            for row in pass.rows {
                values.push((row.group, row.rollout, logprobs[row.range].to_vec()));
            }
        }
        Ok(values)
    }

    /// True when the objective refused numbers that the model produced (NaN, infinities), which the guard decides on;
    /// any other refusal is an error.
    pub(crate) fn numbers_refused(&self, step: u64, refused: Option<gft_objective::Error>) -> Result<bool> {
        use gft_objective::Error::{Logprob, Seed, Statistic};
        match refused {
            None => Ok(false),
            Some(Logprob { .. } | Seed { .. } | Statistic { .. }) => Ok(true),
            Some(error) => Err(Error::Objective { step, error }),
        }
    }
}

/// The statistics that a method needs.
pub(crate) fn want<'a, D: Device>(
    method: &Method,
    reference: Option<&'a Policy<D>>,
    temperature: f32,
    entropy: bool,
) -> Want<'a, D> {
    let full = method.reference_kl != 0.0;
    Want {
        temperature,
        entropy: entropy || method.needs_entropy(),
        kl: reference.filter(|_| full).map(|reference| (KlDirection::ReferenceToPolicy, reference)),
    }
}

/// Seeds of zero for `targets` targets, of the statistics that a method seeds.
pub(crate) fn no_seeds(method: &Method, targets: usize) -> Seeds {
    let room = |wanted: bool| vec![0.0; if wanted { targets } else { 0 }];
    Seeds {
        logprobs: room(true),
        entropy: room(method.entropy_bonus != 0.0),
        kl: room(method.reference_kl != 0.0),
    }
}
