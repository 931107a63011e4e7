//! DAPO's soft penalty on long completions, as a reward between -factor and 0.

use gft_objective::SoftOverlong;

use crate::{Candidate, Reward, Score};

/// [`SoftOverlong`] on the policy's own completions; demonstrations have no penalty.
#[derive(Debug, Clone, Copy)]
pub struct Overlong(pub SoftOverlong);

impl Reward for Overlong {
    fn name(&self) -> &str {
        "soft_overlong"
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        let one = |candidate: &Candidate<'_>| match candidate.demonstration {
            true => Score::Value(0.0),
            false => match self.0.penalty(candidate.tokens) {
                Ok(penalty) => Score::Value(penalty),
                Err(error) => Score::Failed(error.to_string()),
            },
        };
        candidates.iter().map(one).collect()
    }
}
