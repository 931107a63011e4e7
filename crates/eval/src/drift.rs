//! How far a model has moved from its base: KL divergence and entropy on the model's own completions.

use gft_model::device::{Device, KlDirection};
use gft_model::generate::{Completion, Generator, Observer, Options, Request, Sampling};
use gft_model::policy::Want;
use gft_model::random::Stream;
use gft_model::{Batch, Policy};
use serde::Serialize;

use crate::error::Result;
use crate::stats::{Bootstrap, Estimate};

/// How drift is measured.
#[derive(Clone, Debug)]
pub struct DriftOptions {
    /// Completions of each prompt, drawn from the model at temperature 1.
    pub samples: usize,
    /// Tokens of a completion at most.
    pub max_new_tokens: usize,
    /// Ids at which a completion ends.
    pub stop_tokens: Vec<u32>,
    /// Sequences that are computed together.
    pub max_batch: usize,
    /// Seed of the completions.
    pub seed: u64,
    /// Intervals over prompts.
    pub bootstrap: Bootstrap,
}

/// KL divergences in nats, of the same completions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergences {
    /// Estimated by `log p - log q` of the sampled tokens (k1): unbiased, noisy.
    pub k1: Option<Estimate>,
    /// Estimated by `q/p - 1 - log(q/p)` of the sampled tokens (k3): unbiased, never negative.
    pub k3: Option<Estimate>,
    /// Over the whole vocabulary at each position, `KL(model || base)`.
    pub exact: Option<Estimate>,
    /// Over the whole vocabulary at the same positions, `KL(base || model)`.
    pub exact_forward: Option<Estimate>,
    /// Entropy of the model.
    pub entropy: Option<Estimate>,
    /// Entropy of the base at the same positions.
    pub base_entropy: Option<Estimate>,
}

/// How far a model has moved from its base.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// Prompts.
    pub prompts: usize,
    /// Completions.
    pub completions: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Per token: all tokens weigh the same.
    pub per_token: Divergences,
    /// Per completion: sums over its tokens, which estimate the divergence of whole sequences.
    pub per_sequence: Divergences,
}

const STATISTICS: usize = 6;

/// Sums over the completions of one prompt.
#[derive(Clone, Copy, Default)]
struct Sums {
    values: [f64; STATISTICS],
    tokens: f64,
    completions: f64,
}

/// Tokens of one pass over both models.
const TOKENS: usize = 4096;

/// Measures how far `policy` has moved from `base` on completions of `prompts` that `policy` draws. `stop` is asked at
/// every token and pass; `None` if it said so.
///
/// # Errors
/// What the engine refuses: prompts that are too long, bases with another vocabulary.
pub fn drift<D: Device>(
    policy: &Policy<D>,
    base: &Policy<D>,
    prompts: &[Vec<u32>],
    options: &DriftOptions,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Option<Drift>> {
    let seed = Stream::new(options.seed).child(u64::MAX);
    let requests: Vec<Request> = prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| Request {
            prompt: prompt.clone(),
            samples: options.samples,
            stream: seed.child(i as u64),
        })
        .collect();
    let generate = Options {
        sampling: Sampling::default(),
        max_new_tokens: options.max_new_tokens,
        stop_tokens: options.stop_tokens.clone(),
        max_batch: options.max_batch,
    };
    let mut listener = Stop { asked: false, stop };
    let completions = Generator::new(policy).run(&requests, &generate, &mut listener)?;
    if listener.asked {
        return Ok(None);
    }
    let mut sums = vec![Sums::default(); prompts.len()];
    let mut at = 0;
    while at < completions.len() {
        if (listener.stop)() {
            return Ok(None);
        }
        let pass = Pass::fill(prompts, &completions, &mut at)?;
        pass.measure(policy, base, &mut sums)?;
    }
    let estimates = |weight: fn(&Sums) -> f64| {
        let of = |i: usize| {
            let pairs: Vec<(f64, f64)> = sums.iter().map(|s| (s.values[i], weight(s))).collect();
            options.bootstrap.ratio(&pairs)
        };
        Divergences {
            k1: of(0),
            k3: of(1),
            exact: of(2),
            exact_forward: of(3),
            entropy: of(4),
            base_entropy: of(5),
        }
    };
    Ok(Some(Drift {
        prompts: prompts.len(),
        completions: completions.len(),
        tokens: completions.iter().map(|completion| completion.tokens.len()).sum(),
        per_token: estimates(|sums| sums.tokens),
        per_sequence: estimates(|sums| sums.completions),
    }))
}

struct Stop<'a> {
    asked: bool,
    stop: &'a mut dyn FnMut() -> bool,
}

impl Observer for Stop<'_> {
    fn token(&mut self, _: usize, _: usize, _: &[u32]) -> bool {
        self.asked |= (self.stop)();
        self.asked
    }
}

/// Completions in one batch, each prompt once.
struct Pass {
    batch: Batch,
    /// Prompt and targets of each completion.
    rows: Vec<(usize, std::ops::Range<usize>)>,
}

impl Pass {
    /// Takes completions from `at` on: at least one, and no more than fit.
    fn fill(prompts: &[Vec<u32>], completions: &[Completion], at: &mut usize) -> Result<Pass> {
        let mut pass = Pass { batch: Batch::new(), rows: Vec::new() };
        let mut open: Option<(usize, usize)> = None;
        while let Some(completion) = completions.get(*at) {
            let prompt = &prompts[completion.request];
            if !pass.batch.is_empty() && pass.batch.len() + prompt.len() + completion.tokens.len() > TOKENS {
                break;
            }
            let parent = match open {
                Some((request, segment)) if request == completion.request => segment,
                _ => pass.batch.push(None, prompt, |_| false)?.0,
            };
            open = Some((completion.request, parent));
            let (_, range) = pass.batch.push(Some(parent), &completion.tokens, |_| true)?;
            pass.rows.push((completion.request, range));
            *at += 1;
        }
        Ok(pass)
    }

    fn measure<D: Device>(&self, policy: &Policy<D>, base: &Policy<D>, sums: &mut [Sums]) -> Result<()> {
        let want = |other| Want {
            entropy: true,
            kl: Some((KlDirection::PolicyToReference, other)),
            temperature: 1.0,
        };
        let model = policy.token_stats(&self.batch, &want(base))?;
        let origin = base.token_stats(&self.batch, &want(policy))?;
        for (prompt, range) in &self.rows {
            let sums = &mut sums[*prompt];
            sums.completions += 1.0;
            for i in range.clone() {
                let log_ratio = f64::from(origin.logprobs[i]) - f64::from(model.logprobs[i]);
                let found = [
                    -log_ratio,
                    log_ratio.exp_m1() - log_ratio,
                    f64::from(model.kl[i]),
                    f64::from(origin.kl[i]),
                    f64::from(model.entropy[i]),
                    f64::from(origin.entropy[i]),
                ];
                for (sum, value) in sums.values.iter_mut().zip(found) {
                    *sum += value;
                }
                sums.tokens += 1.0;
            }
        }
        Ok(())
    }
}
