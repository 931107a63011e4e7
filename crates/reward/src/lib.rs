//! Rewards of completions: the verifier first, then whatever else scores a text, and their weighted sum.
//!
//! A [`Reward`] says one of three things of a completion: a number, that it cannot be scored (no reference answer, a
//! reference that nobody can read), or that scoring it failed. The last two leave the row out of its group's
//! statistics; the last is also counted, because an error is never a zero.

mod combination;
mod format;
mod overlong;
mod verifier;

pub use combination::{Combination, Grades, Summary};
pub use format::AnswerFormat;
pub use overlong::Overlong;
pub use verifier::Verifier;

use gft_data::Row;

/// A completion to score.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The row with its reference answer and columns.
    pub row: &'a Row,
    /// The completion's text, before any truncation.
    pub text: &'a str,
    /// Its length in tokens.
    pub tokens: usize,
    /// Whether it ended at the limit on its length.
    pub truncated: bool,
    /// Whether it is a demonstration rather than the policy's own.
    pub demonstration: bool,
}

/// What a reward says of a completion.
#[derive(Debug, Clone, PartialEq)]
pub enum Score {
    /// A number.
    Value(f64),
    /// It cannot be scored, by nobody's fault.
    Unscorable,
    /// The work allowed was spent before a result.
    TimedOut,
    /// Scoring failed.
    Failed(String),
}

/// Scores completions.
pub trait Reward: Send + Sync {
    /// Name in metrics (`rewards/{name}/mean`) and messages.
    fn name(&self) -> &str;

    /// One score for each candidate, in their order.
    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score>;
}

/// What is wrong with a combination of rewards.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is not known.
    #[error("unknown reward `{name}`; known are {known}")]
    Unknown {
        /// What was given.
        name: String,
        /// The names that exist.
        known: &'static str,
    },
    /// Weights and rewards differ in number.
    #[error("{weights} reward weights for {rewards} rewards: give one for each, or none")]
    Weights {
        /// Weights given.
        weights: usize,
        /// Rewards given.
        rewards: usize,
    },
    /// A weight that is not a finite number.
    #[error("reward weight {0} is not a finite number")]
    Weight(f64),
    /// A reward returned another number of scores than it was given candidates.
    #[error("the reward `{name}` returned {found} scores for {expected} completions")]
    Scores {
        /// The reward.
        name: String,
        /// Completions given.
        expected: usize,
        /// Scores returned.
        found: usize,
    },
}
