//! Statistics of the target tokens of a batch, and the seeds of a backward pass: one number per token and statistic.

use crate::device::{ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, Device, KlDirection};
use crate::error::{ModelError, Result};
use crate::policy::Policy;

/// Which statistics of the target tokens are wanted.
#[derive(Clone, Copy)]
pub struct Want<'a, D: Device> {
    /// Logits are divided by this before anything else.
    pub temperature: f32,
    /// Entropy of the distribution that predicts each target.
    pub entropy: bool,
    /// KL divergence over the whole vocabulary between the policy and a reference.
    pub kl: Option<(KlDirection, &'a Policy<D>)>,
}

impl<D: Device> Default for Want<'_, D> {
    fn default() -> Self {
        Want { temperature: 1.0, entropy: false, kl: None }
    }
}

/// Statistics of each target of a batch, in the batch's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenStats {
    /// Natural logarithm of the target's probability.
    pub logprobs: Vec<f32>,
    /// Entropy in nats; empty unless asked for.
    pub entropy: Vec<f32>,
    /// KL divergence in nats; empty unless asked for.
    pub kl: Vec<f32>,
}

/// Gradient of the loss with respect to each statistic, in the same order; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seeds {
    /// With respect to the log-probability.
    pub logprobs: Vec<f32>,
    /// With respect to the entropy.
    pub entropy: Vec<f32>,
    /// With respect to the KL divergence.
    pub kl: Vec<f32>,
}

impl<D: Device> Want<'_, D> {
    pub(crate) fn chunk(&self) -> ChunkWant {
        ChunkWant {
            temperature: self.temperature,
            entropy: self.entropy,
            kl: self.kl.map(|(direction, _)| direction),
        }
    }
}

impl TokenStats {
    pub(crate) fn for_targets<D: Device>(targets: usize, want: &Want<'_, D>) -> Self {
        let room = |wanted: bool| vec![0.0; if wanted { targets } else { 0 }];
        TokenStats { logprobs: room(true), entropy: room(want.entropy), kl: room(want.kl.is_some()) }
    }

    /// Puts a chunk's statistics at its targets' places.
    pub(crate) fn scatter(&mut self, found: &ChunkStats, targets: ChunkTargets<'_>, order: &[usize]) {
        for row in 0..targets.rows() {
            let of_row = targets.offsets[row]..targets.offsets[row + 1];
            for (&target, logprob) in order[of_row.clone()].iter().zip(&found.logprobs[of_row]) {
                self.logprobs[target] = *logprob;
                if let Some(entropy) = found.entropy.get(row) {
                    self.entropy[target] = *entropy;
                }
                if let Some(kl) = found.kl.get(row) {
                    self.kl[target] = *kl;
                }
            }
        }
    }

    pub(crate) fn pick(&self, order: &[usize]) -> Self {
        let pick = |x: &[f32]| -> Vec<f32> { order.iter().filter_map(|&i| x.get(i).copied()).collect() };
        TokenStats { logprobs: pick(&self.logprobs), entropy: pick(&self.entropy), kl: pick(&self.kl) }
    }
}

impl Seeds {
    pub(crate) fn pick(&self, order: &[usize]) -> Self {
        let pick = |x: &[f32]| -> Vec<f32> { order.iter().filter_map(|&i| x.get(i).copied()).collect() };
        Seeds { logprobs: pick(&self.logprobs), entropy: pick(&self.entropy), kl: pick(&self.kl) }
    }

    pub(crate) fn check<D: Device>(&self, targets: usize, want: &Want<'_, D>) -> Result<()> {
        let given = [
            ("log-probability", self.logprobs.len(), true),
            ("entropy", self.entropy.len(), want.entropy),
            ("KL", self.kl.len(), want.kl.is_some()),
        ];
        for (name, len, wanted) in given {
            if len > 0 && !wanted {
                return Err(ModelError::Option(format!("seeds for the {name}, which was not asked for")));
            }
            if len != targets && (len > 0 || name == "log-probability") {
                return Err(ModelError::Option(format!("{len} {name} seeds for {targets} targets")));
            }
        }
        Ok(())
    }

    /// Entropy and KL belong to rows: seeds of targets that share a row add.
    pub(crate) fn by_row(self, targets: ChunkTargets<'_>) -> ChunkSeeds {
        let sum = |x: &[f32]| -> Vec<f32> {
            if x.is_empty() {
                return Vec::new();
            }
            (0..targets.rows())
                .map(|row| x[targets.offsets[row]..targets.offsets[row + 1]].iter().sum())
                .collect()
        };
        ChunkSeeds { entropy: sum(&self.entropy), kl: sum(&self.kl), logprobs: self.logprobs }
    }
}
