//! What is kept of a problem: one line of JSON with all of its samples.

use serde::{Deserialize, Serialize};

use crate::grade::Verdict;

/// How a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// With the end of its turn, or at a stop string.
    Stop,
    /// At the limit on its length.
    Length,
    /// At the longest sequence that the model takes.
    Context,
}

impl Finish {
    /// Whether it was cut.
    pub fn is_cut(self) -> bool {
        self != Self::Stop
    }
}

/// One completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The verdict.
    pub verdict: Verdict,
    /// The answer that was found in it.
    pub answer: Option<String>,
    /// How it ended.
    pub finish: Finish,
    /// Its length in tokens.
    pub tokens: usize,
    /// Sum of its tokens' log-probabilities under the model at the sampling temperature.
    pub logprob: f64,
    /// Its text.
    pub text: String,
}

/// One problem with its completions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Place of the problem in its task.
    pub doc: usize,
    /// Id of its row.
    pub id: String,
    /// What the model was given.
    pub prompt: String,
    /// The reference answer.
    pub gold: String,
    /// Its completions, in the order of their numbers.
    pub samples: Vec<Sample>,
}

impl Record {
    /// Samples with a verdict that says something of the model.
    pub fn counted(&self) -> usize {
        self.samples.iter().filter(|sample| sample.verdict.counts()).count()
    }

    /// Samples that are right.
    pub fn right(&self) -> usize {
        self.samples.iter().filter(|sample| sample.verdict == Verdict::Right).count()
    }

    /// Share of right samples; `None` where no sample counts.
    pub fn mean(&self) -> Option<f64> {
        let counted = self.counted();
        (counted > 0).then(|| self.right() as f64 / counted as f64)
    }
}
