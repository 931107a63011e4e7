//! Generation: many completions at once on the policy's own weights.
//!
//! A completion is a function of its prompt, its sampling options and its random stream, and of nothing that ran beside
//! it: products are computed row by row ([`crate::Device::linear`]), attention token by token over that completion's
//! own keys, and the random number of each token is its stream's at that position.

mod generator;
mod pages;
mod schedule;

pub use generator::Generator;

pub use crate::device::Sampling;
use crate::error::{ModelError, Result};
use crate::random::Stream;
pub(crate) use schedule::PREFILL_TOKENS;

/// A prompt, and how many completions of it are wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Completions.
    pub samples: usize,
    /// Sample `i` draws from child `i` of this stream.
    pub stream: Stream,
}

/// How completions are drawn and when they end.
#[derive(Clone, Debug)]
pub struct Options {
    /// The distribution that tokens are drawn from.
    pub sampling: Sampling,
    /// Tokens of a completion at most.
    pub max_new_tokens: usize,
    /// A completion ends with any of these, which belongs to it.
    pub stop_tokens: Vec<u32>,
    /// Sequences that are computed together.
    pub max_batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { sampling: Sampling::default(), max_new_tokens: 256, stop_tokens: Vec::new(), max_batch: 64 }
    }
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With a stop token.
    Stop,
    /// The observer said so (a stop string, say).
    Observer,
    /// At `max_new_tokens`.
    Length,
    /// At the model's `max_position_embeddings`.
    Context,
}

/// A finished completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Index of its request.
    pub request: usize,
    /// Which of the request's samples.
    pub sample: usize,
    /// Its tokens, a stop token included.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the model at the sampling temperature (at 1 when greedy), before penalties
    /// and filters: what [`crate::Policy::token_stats`] gives for the same temperature.
    pub logprobs: Vec<f32>,
    /// Log-probability of each token under the distribution that it was drawn from.
    pub sampling_logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Hears of every token as it is drawn.
pub trait Observer {
    /// A token was appended; `tokens` are all of this completion so far. Returns whether the completion ends here.
    fn token(&mut self, request: usize, sample: usize, tokens: &[u32]) -> bool;
    /// A completion has ended.
    fn finished(&mut self, _completion: &Completion) {}
}

/// Listens to nothing.
impl Observer for () {
    fn token(&mut self, _: usize, _: usize, _: &[u32]) -> bool {
        false
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        self.sampling.check()?;
        if self.max_batch == 0 || self.max_new_tokens == 0 {
            return Err(ModelError::Option(format!(
                "max_batch is {} and max_new_tokens {}; both must be at least 1",
                self.max_batch, self.max_new_tokens
            )));
        }
        Ok(())
    }
}
