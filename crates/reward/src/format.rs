//! A reward for the form of a completion: it must state a final answer and end.

use gft_verify::{ExtractOptions, extract};

use crate::{Candidate, Reward, Score};

/// 1 where the completion ends by itself and states a final answer (box, phrase or marker), else 0.
#[derive(Debug, Clone, Default)]
pub struct AnswerFormat {
    /// Where an answer may stand in a completion.
    pub extract: ExtractOptions,
}

impl Reward for AnswerFormat {
    fn name(&self) -> &str {
        "format"
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        let one = |candidate: &Candidate<'_>| {
            let stated = !candidate.truncated && extract(candidate.text, &self.extract).is_some();
            Score::Value(f64::from(u8::from(stated)))
        };
        candidates.iter().map(one).collect()
    }
}
