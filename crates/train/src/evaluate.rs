//! Evaluation during a run: the loss on held-out demonstrations, and the reward of held-out completions.

use gft_eval::stats::Bootstrap;
use gft_eval::{Finish, Grader, Record, Sample, Summary};
use gft_model::device::Device;
use gft_model::generate::Sampling;
use gft_model::policy::{Policy, Want};
use gft_objective::Source;
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
    /// Share of them that the verifier accepts: the mean over rows, with its standard error.
    pub accuracy: Option<f64>,
    /// Standard error of the accuracy, over rows.
    pub accuracy_stderr: Option<f64>,
    /// Share of them without an answer that can be read.
    pub unparsed: Option<f64>,
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
    let mut grader = Grader::default();
    grader.verifier.extract.last_number = settings.last_number;
    let records: Vec<Record> =
        groups.iter().enumerate().map(|(doc, group)| graded(&grader, doc, group)).collect();
    // The interval is for `gft eval`; here the standard error serves.
    let summary = Summary::of(&records, &Bootstrap { resamples: 0, ..Bootstrap::default() });
    found.samples = records.iter().map(|record| record.counted() as u64).sum();
    found.accuracy = summary.avg.map(|avg| avg.mean);
    found.accuracy_stderr = summary.avg.filter(|avg| avg.problems > 1).map(|avg| avg.standard_error);
    found.unparsed = summary.unparsed;
    found.mean_length = Some(summary.lengths.mean);
    found.clipped = summary.truncated;
    Ok(found)
}

/// A group's own rollouts as `gft eval` keeps them.
fn graded(grader: &Grader, doc: usize, group: &Group) -> Record {
    let gold = group.row.gold.clone().unwrap_or_default();
    let own = group.rollouts.iter().filter(|rollout| rollout.source == Source::Policy);
    let samples = own.map(|rollout| {
        let (verdict, answer) = grader.answer(&gold, &rollout.text);
        let logprobs = rollout.logprobs.iter().flatten();
        Sample {
            verdict,
            answer,
            finish: if rollout.ended == Ended::Truncated { Finish::Length } else { Finish::Stop },
            tokens: rollout.tokens.len(),
            logprob: logprobs.map(|x| f64::from(*x)).sum(),
            text: rollout.text.clone(),
        }
    });
    Record {
        doc,
        id: group.row.id.clone(),
        prompt: group.row.prompt.text(),
        samples: samples.collect(),
        gold,
    }
}
