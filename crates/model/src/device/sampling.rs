//! What crosses the seam when tokens are drawn.

use crate::error::{ModelError, Result};

/// The distribution that tokens are drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the `top_k` likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability (arXiv 1904.09751); 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest (arXiv 2407.01082); 0 for all.
    pub min_p: f32,
    /// Logits of tokens seen before are divided by this where positive, multiplied where negative (arXiv 1909.05858).
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

/// One of the rows of logits that tokens are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct DrawRow<'a> {
    /// The random number that decides, uniform in `[0, 1)`: a multiple of `2^-53`, as [`crate::random::Stream::uniform`] gives.
    pub uniform: f64,
    /// Tokens that the penalty is for, each below the size of the vocabulary, in any order and number: prompt and completion.
    pub seen: [&'a [u32]; 2],
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Its id.
    pub token: u32,
    /// Log-probability under the model at the sampling temperature (at 1 when greedy), before penalty and filters.
    pub logprob: f32,
    /// Log-probability under the distribution that it was drawn from; 0 when greedy.
    pub sampling_logprob: f32,
}

impl Sampling {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(ModelError::Option(format!("{what} ({self:?})")));
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return wrong("temperature must be finite and at least 0");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p must be above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min_p must be between 0 and 1");
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return wrong("repetition_penalty must be finite and above 0");
        }
        Ok(())
    }
}
