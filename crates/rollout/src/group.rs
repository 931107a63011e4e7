//! One prompt and its rollouts, whoever wrote them.

use gft_data::Row;
use gft_objective::Source;

/// How many rollouts of each source a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Composition {
    /// Expert completions at most.
    pub experts: usize,
    /// Teacher completions at most.
    pub teachers: usize,
    /// Completions that the policy samples.
    pub own: usize,
}

impl Composition {
    /// Rollouts of a group whose row has all the demonstrations that are wanted.
    pub fn size(&self) -> usize {
        self.experts + self.teachers + self.own
    }
}

impl std::fmt::Display for Composition {
    /// As in `1 expert + 3 teacher + 4 own`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [(self.experts, "expert"), (self.teachers, "teacher"), (self.own, "own")];
        let parts: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}")).collect();
        if parts.is_empty() { f.write_str("nothing") } else { f.write_str(&parts.join(" + ")) }
    }
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With the end of the turn.
    Stop,
    /// At the limit on its length, without an end: a completion that was cut, or one that never stopped.
    Truncated,
}

/// One completion of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Where it comes from.
    pub source: Source,
    /// Token ids, at least one, `[R]`.
    pub tokens: Vec<u32>,
    /// Which of them are learned, `[R]`.
    pub supervised: Vec<bool>,
    /// Its whole text, before any truncation: what is graded.
    pub text: String,
    /// How it ended.
    pub ended: Ended,
    /// Log-probability of each token under the policy that sampled it, at the sampling temperature, `[R]`.
    pub logprobs: Option<Vec<f32>>,
    /// A reward that the data set brings with it.
    pub given_reward: Option<f64>,
    /// Who wrote it, where the data says so.
    pub author: Option<String>,
    /// Optimizer updates that the sampling policy had seen; 0 for demonstrations.
    pub policy_version: u64,
}

impl Rollout {
    /// Tokens that are learned.
    pub fn targets(&self) -> usize {
        self.supervised.iter().filter(|learned| **learned).count()
    }
}

/// One prompt with its rollouts: experts first, then teachers, then the policy's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Place in the run's order of rows, counted over all epochs.
    pub position: u64,
    /// Index of the row in its data set.
    pub index: u64,
    /// The row.
    pub row: Row,
    /// Token ids of the prompt, `[P]`; empty for text that is learned from its first token.
    pub prompt: Vec<u32>,
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compositions_in_words() {
        assert_eq!(
            Composition { experts: 1, teachers: 3, own: 4 }.to_string(),
            "1 expert + 3 teacher + 4 own"
        );
        assert_eq!(Composition { own: 8, ..Default::default() }.to_string(), "8 own");
    }
}
