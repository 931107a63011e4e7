//! A penalty on repeated word n-grams (arXiv 2502.03373, section on reward hacking of long answers).

use std::collections::HashSet;

use crate::{Candidate, Error, Reward, Score};

/// `max_penalty * (1 - distinct n-grams / n-grams)` over the lower-cased words of a completion; 0 where there are fewer
/// words than one n-gram. Demonstrations have no penalty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repetition {
    ngram: usize,
    max_penalty: f64,
}

impl Repetition {
    /// A penalty for n-grams of `ngram` words, down to `max_penalty` (at most 0) where everything is repeated.
    ///
    /// # Errors
    /// [`Error::Setting`] for n-grams of no words and for a penalty above 0.
    pub fn new(ngram: usize, max_penalty: f64) -> Result<Self, Error> {
        let wrong = |setting: &'static str, problem: String| {
            Err(Error::Setting { name: "repetition_penalty".into(), setting, problem })
        };
        if ngram == 0 {
            return wrong("ngram", "must be at least 1".into());
        }
        if !(max_penalty.is_finite() && max_penalty <= 0.0) {
            return wrong("max_penalty", format!("must be 0 or below, not {max_penalty}"));
        }
        Ok(Self { ngram, max_penalty })
    }

    /// The penalty of a text.
    pub fn penalty(&self, text: &str) -> f64 {
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let total = (words.len() + 1).saturating_sub(self.ngram);
        if total == 0 {
            return 0.0;
        }
        let distinct: HashSet<&[&str]> = words.windows(self.ngram).collect();
        self.max_penalty * (1.0 - distinct.len() as f64 / total as f64)
    }
}

impl Reward for Repetition {
    fn name(&self) -> &str {
        "repetition_penalty"
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        let one = |candidate: &Candidate<'_>| match candidate.demonstration {
            true => Score::Value(0.0),
            false => Score::Value(self.penalty(candidate.text)),
        };
        candidates.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_by_hand() {
        let penalty = |text| Repetition::new(2, -1.0).unwrap().penalty(text);
        assert_eq!(penalty("a b c d"), 0.0);
        // Bigrams: ab ba ab ba ab, two of them distinct. Both sides are the same sequence of roundings.
        assert_eq!(penalty("a B A b a b"), -(1.0 - 2.0 / 5.0));
        assert_eq!((penalty("a"), penalty(""), penalty("a a")), (0.0, 0.0, 0.0));
        assert_eq!(Repetition::new(1, -0.5).unwrap().penalty("x x x x"), -0.375);
    }

    #[test]
    fn settings_that_make_no_sense() {
        for (ngram, penalty) in [(0, -1.0), (3, 0.5), (3, f64::NAN)] {
            assert!(Repetition::new(ngram, penalty).is_err(), "{ngram} {penalty}");
        }
    }
}
