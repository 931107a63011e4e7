//! Rewards of completions: the verifier first, then whatever else scores a text, and their weighted sum.
//!
//! A [`Reward`] says one of three things of a completion: a number, that it cannot be scored (no reference answer, a
//! reference that nobody can read), or that scoring it failed. The last two leave the row out of its group's
//! statistics; the last is also counted, because an error is never a zero.
//!
//! Made here: [`Verifier`], [`AnswerFormat`], [`ThinkFormat`], [`Overlong`], [`Cosine`], [`Repetition`]. Made elsewhere: [`CommandReward`], a program
//! that is spoken to in lines of JSON or a function of a Python file, and [`HttpReward`], a server in OpenRLHF's shape.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//! use gft_reward::*;
//!
//! let mut settings = CommandSettings::python(Path::new("my_reward.py"), "compute_score")?;
//! settings.time_limit = Duration::from_secs(5);
//! settings.workers = 4;
//! let python = CommandReward::new("compute_score", settings)?;
//! let program = CommandReward::new("judge", CommandSettings::new("./judge", ["--fast"]))?;
//! let server = HttpReward::new("remote", HttpSettings::new("http://127.0.0.1:5000/get_reward"))?;
//! let parts: Vec<Box<dyn Reward>> = vec![Box::new(Verifier::default()), Box::new(python), Box::new(program), Box::new(server)];
//! let rewards = Combination::new(parts, &[1.0, 0.5, 0.5, 0.5])?.on_failure(OnFailure::StopAbove(0.1));
//! # Ok::<(), Error>(())
//! ```
//!
//! # The protocol of an external program
//! A question is one line: the row's columns and over them `id` (a number, to be sent back), `row_id`, `prompt` (text or
//! messages), `completion`, `solution`, `gold`, `tokens`, `truncated`. An answer is one line: `{"id", "reward"}` with a
//! finite number or null (cannot be scored), optionally `metrics` (an object of numbers), or `{"id", "error"}`. Standard
//! error is kept for messages. A line that is anything else is a failure of the completion that was asked about.
//!
//! A function of a Python file in TRL's form is called with all completions of a prompt at once. The program that calls it
//! says so first, in a line `{"groups": true}`; a question is then `{"id", "group"}` with a list of what is asked of one
//! completion, and its answer `{"id", "group"}` with a list of answers without ids. Time limits are those of a completion
//! times their number.

mod combination;
mod command;
mod cosine;
mod exchange;
mod format;
mod http;
mod overlong;
mod process;
mod repetition;
mod think;
mod verifier;

pub use combination::{Combination, Grades, Mean, OnFailure, Summary};
pub use command::{CommandReward, CommandSettings};
pub use cosine::{Cosine, CosineSettings};
pub use format::AnswerFormat;
pub use http::{HttpReward, HttpSettings};
pub use overlong::Overlong;
pub use repetition::Repetition;
pub use think::ThinkFormat;
pub use verifier::Verifier;

use std::collections::BTreeMap;
use std::path::PathBuf;

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

    /// Whether it can score nothing without a row's reference answer. A reward from outside may do with what it likes.
    fn needs_gold(&self) -> bool {
        false
    }

    /// One score for each candidate, in their order.
    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score>;

    /// The scores with what the reward says beside them; one that says nothing more need not define it.
    fn judge(&self, candidates: &[Candidate<'_>]) -> Judged {
        let scores = self.score(candidates);
        let metrics = vec![BTreeMap::new(); scores.len()];
        Judged { scores, metrics, failure: None }
    }
}

/// Scores and what belongs to them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    /// One score for each candidate, in their order.
    pub scores: Vec<Score>,
    /// The reward's own metrics for each candidate.
    pub metrics: Vec<BTreeMap<String, f64>>,
    /// What went wrong first, where the scores do not say it (a time limit).
    pub failure: Option<String>,
}

impl Judged {
    /// Adds the next candidate's.
    pub fn push(&mut self, score: Score, metrics: BTreeMap<String, f64>) {
        self.scores.push(score);
        self.metrics.push(metrics);
    }
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
    /// A setting of a reward that cannot be.
    #[error("reward {name}: `{setting}` {problem}")]
    Setting {
        /// The reward.
        name: String,
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file with a reward function that is not there.
    #[error("{}: no such file with a reward function", path.display())]
    File {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Scoring failed, and the run is to stop then.
    #[error("the reward `{name}` failed for {failed} of {seen} completions: {message}")]
    Failed {
        /// The reward.
        name: String,
        /// Completions without a score through a failure or a time limit.
        failed: u64,
        /// Completions asked about.
        seen: u64,
        /// The first failure.
        message: String,
    },
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
