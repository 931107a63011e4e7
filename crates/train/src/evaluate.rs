//! Evaluation during a run: the loss on held-out demonstrations, and the reward of held-out completions.

use gft_model::device::Device;
use gft_model::generate::Sampling;
use gft_model::policy::{Policy, Want};
use gft_objective::Source;
use gft_reward::{Candidate, Reward, Score, Verifier};
use gft_rollout::{Ended, Group, OwnOptions, sample};

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::passes::passes;
use crate::rows::Rows;

/// What an evaluation found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evaluated {
    /// Rows.
    pub rows: u64,
    /// Mean loss per token of expert completions.
    pub loss: Option<f64>,
    /// Own completions graded.
    pub samples: u64,
    /// Share of them that the verifier accepts.
    pub accuracy: Option<f64>,
    /// Their mean length in tokens.
    pub mean_length: Option<f64>,
    /// Share of them that were cut.
    pub clipped: Option<f64>,
}

/// Evaluates on the first rows of `rows`. The same random streams at every call, so that two evaluations differ by
/// their weights only.
///
/// # Errors
/// [`Error::Interrupted`] by `stop`; whatever rows and engine refuse.
pub fn evaluate<D: Device>(
    policy: &Policy<D>,
    rows: &Rows,
    settings: &Settings,
    stop: &dyn Fn() -> bool,
) -> Result<Evaluated> {
    let count = rows.len().min(settings.eval_rows as u64);
    let mut groups = (0..count).map(|at| rows.group(at)).collect::<Result<Vec<Group>>>()?;
    let mut found = Evaluated { rows: count, ..Evaluated::default() };
    let (mut loss, mut tokens) = (0.0, 0u64);
    for pass in passes(&groups, 0..groups.len(), settings.tokens_per_pass, |_, _| true)? {
        if stop() {
            return Err(Error::Interrupted);
        }
        let stats = policy.token_stats(&pass.batch, &Want::default())?;
        loss -= stats.logprobs.iter().map(|x| f64::from(*x)).sum::<f64>();
        tokens += stats.logprobs.len() as u64;
    }
    found.loss = (tokens > 0).then(|| loss / tokens as f64);
    groups.retain(|group| {
        !group.prompt.is_empty() && group.row.gold.as_deref().is_some_and(|gold| !gold.trim().is_empty())
    });
    if settings.num_generations_eval == 0 || groups.is_empty() {
        return Ok(found);
    }
    let options = OwnOptions {
        samples: settings.num_generations_eval,
        sampling: Sampling { temperature: settings.eval_temperature as f32, ..Sampling::default() },
        max_new_tokens: settings.max_completion_length.unwrap_or(512),
        max_batch: settings.generation_batch_size.max(1),
        seed: !settings.seed,
        step: 0,
        policy_version: 0,
    };
    sample(policy, rows.encoder(), &options, &mut groups, stop)?;
    let mut verifier = Verifier::default();
    verifier.extract.last_number = settings.last_number;
    let (mut right, mut graded, mut length, mut cut, mut own) = (0.0, 0u64, 0.0, 0.0, 0u64);
    for group in &groups {
        let rollouts = group.rollouts.iter().filter(|rollout| rollout.source == Source::Policy);
        let candidates: Vec<Candidate<'_>> = rollouts
            .map(|rollout| Candidate {
                row: &group.row,
                text: &rollout.text,
                tokens: rollout.tokens.len(),
                truncated: rollout.ended == Ended::Truncated,
                demonstration: false,
            })
            .collect();
        for (candidate, score) in candidates.iter().zip(verifier.score(&candidates)) {
            own += 1;
            length += candidate.tokens as f64;
            cut += f64::from(u8::from(candidate.truncated));
            if let Score::Value(value) = score {
                graded += 1;
                right += value;
            }
        }
    }
    let mean = |sum: f64, count: u64| (count > 0).then(|| sum / count as f64);
    found.samples = graded;
    found.accuracy = mean(right, graded);
    found.mean_length = mean(length, own);
    found.clipped = mean(cut, own);
    Ok(found)
}
