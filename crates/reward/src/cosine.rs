//! A reward for right answers that falls with their length, and for wrong ones that rises with it.

use std::f64::consts::PI;

use crate::{Candidate, Error, Reward, Score, Verifier};

/// The cosine reward (arXiv 2502.03373, section 4; TRL's `get_cosine_scaled_reward`) over the verifier: from the value of
/// an empty completion to that of one of `max_tokens`, on half a cosine. Longer ones have the latter. Lengths are tokens.
#[derive(Debug, Clone)]
pub struct Cosine {
    verifier: Verifier,
    settings: CosineSettings,
}

/// Values of the cosine reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineSettings {
    /// Of a wrong answer without length: -1.
    pub min_value_wrong: f64,
    /// Of a wrong answer of full length: -0.5.
    pub max_value_wrong: f64,
    /// Of a right answer of full length: 0.5.
    pub min_value_correct: f64,
    /// Of a right answer without length: 1.
    pub max_value_correct: f64,
    /// Full length in tokens: 1000.
    pub max_tokens: usize,
}

impl Default for CosineSettings {
    /// TRL's values.
    fn default() -> Self {
        Self {
            min_value_wrong: -1.0,
            max_value_wrong: -0.5,
            min_value_correct: 0.5,
            max_value_correct: 1.0,
            max_tokens: 1000,
        }
    }
}

impl Cosine {
    /// The reward over a verifier.
    ///
    /// # Errors
    /// [`Error::Setting`] for a full length of 0 and for values that are not finite.
    pub fn new(verifier: Verifier, settings: CosineSettings) -> Result<Self, Error> {
        let wrong = |setting, problem: &str| {
            Err(Error::Setting { name: "cosine".into(), setting, problem: problem.into() })
        };
        if settings.max_tokens == 0 {
            return wrong("max_tokens", "must be at least 1");
        }
        let values = [
            settings.min_value_wrong,
            settings.max_value_wrong,
            settings.min_value_correct,
            settings.max_value_correct,
        ];
        if values.iter().any(|value| !value.is_finite()) {
            return wrong("values", "must be finite");
        }
        Ok(Self { verifier, settings })
    }

    /// The value of an answer at a length.
    pub fn value(&self, correct: bool, tokens: usize) -> f64 {
        let s = &self.settings;
        let (empty, full) = match correct {
            true => (s.max_value_correct, s.min_value_correct),
            false => (s.min_value_wrong, s.max_value_wrong),
        };
        let progress = (tokens as f64 / s.max_tokens as f64).min(1.0);
        full + 0.5 * (empty - full) * (1.0 + (progress * PI).cos())
    }
}

impl Reward for Cosine {
    fn name(&self) -> &str {
        "cosine"
    }

    fn needs_gold(&self) -> bool {
        true
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        let scores = self.verifier.score(candidates);
        let scaled = candidates.iter().zip(scores).map(|(candidate, score)| match score {
            Score::Value(value) => Score::Value(self.value(value > 0.5, candidate.tokens)),
            other => other,
        });
        scaled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let cosine =
            Cosine::new(Verifier::default(), CosineSettings { max_tokens: 100, ..Default::default() })
                .unwrap();
        // cos 0 = 1, cos pi/2 = 0, cos pi = -1; 1e-12 for the cosine.
        for (correct, tokens, expected) in [
            (true, 0, 1.0),
            (true, 50, 0.75),
            (true, 100, 0.5),
            (true, 900, 0.5),
            (false, 0, -1.0),
            (false, 50, -0.75),
            (false, 100, -0.5),
        ] {
            assert!((cosine.value(correct, tokens) - expected).abs() < 1e-12, "{correct} {tokens}");
        }
    }

    #[test]
    fn settings_that_make_no_sense() {
        let no_length = CosineSettings { max_tokens: 0, ..Default::default() };
        assert!(Cosine::new(Verifier::default(), no_length).is_err());
        let no_number = CosineSettings { max_value_wrong: f64::NAN, ..Default::default() };
        assert!(Cosine::new(Verifier::default(), no_number).is_err());
    }
}
