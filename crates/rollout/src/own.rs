//! Rollouts that the policy under training samples itself.

use gft_data::Encoder;
use gft_model::device::Device;
use gft_model::generate::{Finish, Generator, Observer, Options, Request, Sampling};
use gft_model::random::Stream;
use gft_model::{ModelError, Policy};
use gft_objective::Source;

use crate::{Ended, Error, Group, Rollout};

/// How own rollouts are drawn.
#[derive(Debug, Clone)]
pub struct OwnOptions {
    /// Rollouts of each group.
    pub samples: usize,
    /// The distribution that tokens are drawn from.
    pub sampling: Sampling,
    /// Tokens of a rollout at most.
    pub max_new_tokens: usize,
    /// Sequences that are computed together.
    pub max_batch: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: u64,
    /// Optimizer updates that the policy has seen.
    pub policy_version: u64,
}

/// Ends every completion once the caller wants to stop.
struct StopWhen<'a>(&'a dyn Fn() -> bool);

impl Observer for StopWhen<'_> {
    fn token(&mut self, _: usize, _: usize, _: &[u32]) -> bool {
        (self.0)()
    }
}

/// Appends the policy's own rollouts to each group. Sample `k` of the group at place `position` is drawn from the
/// stream of (seed, step, position, k) alone. `stop` is asked at every token.
///
/// # Errors
/// As [`Generator::run`]; [`Error::Interrupted`] when `stop` said so, with the groups as they were.
pub fn sample<D: Device>(
    policy: &Policy<D>,
    encoder: &Encoder,
    options: &OwnOptions,
    groups: &mut [Group],
    stop: &dyn Fn() -> bool,
) -> Result<(), Error> {
    if options.samples == 0 || groups.is_empty() {
        return Ok(());
    }
    if let Some(group) = groups.iter().find(|group| group.prompt.is_empty()) {
        return Err(Error::Model(ModelError::Batch(format!(
            "row {} has no prompt to complete; rows of plain text can be learned from, not sampled",
            group.row.id
        ))));
    }
    let step = Stream::new(options.seed).child(options.step);
    let requests: Vec<Request> = groups
        .iter()
        .map(|group| Request {
            prompt: group.prompt.clone(),
            samples: options.samples,
            stream: step.child(group.position),
        })
        .collect();
    let stop_tokens = encoder.stop_ids();
    let generate = Options {
        sampling: options.sampling.clone(),
        max_new_tokens: options.max_new_tokens,
        stop_tokens: stop_tokens.clone(),
        max_batch: options.max_batch,
    };
    let completions = Generator::new(policy).run(&requests, &generate, &mut StopWhen(stop))?;
    if stop() || completions.iter().any(|completion| completion.finish == Finish::Observer) {
        return Err(Error::Interrupted);
    }
    for completion in completions {
        let ended = if completion.finish == Finish::Stop { Ended::Stop } else { Ended::Truncated };
        let mut body = completion.tokens.as_slice();
        if let (Ended::Stop, [before @ .., _]) = (ended, body) {
            body = before;
        }
        let text = encoder.tokenizer().decode(&known(encoder, body), true)?;
        groups[completion.request].rollouts.push(Rollout {
            source: Source::Policy,
            supervised: vec![true; completion.tokens.len()],
            tokens: completion.tokens,
            text,
            ended,
            logprobs: Some(completion.logprobs),
            given_reward: None,
            author: None,
            policy_version: options.policy_version,
        });
    }
    Ok(())
}

/// Ids that the tokenizer knows: a model's embedding may have more rows than its tokenizer has tokens, and an untrained
/// one draws them.
fn known(encoder: &Encoder, ids: &[u32]) -> Vec<u32> {
    ids.iter().copied().filter(|&id| encoder.tokenizer().id_to_token(id).is_some()).collect()
}
