//! The verifier as a reward: 1 for the reference answer, 0 for another one or none.

use gft_verify::{ExtractOptions, Kind, Outcome, Policy, Verdict, grade};
use rayon::prelude::*;

use crate::{Candidate, Reward, Score};

/// 1 where the completion's answer equals the row's reference answer, else 0.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    /// Where an answer may stand in a completion.
    pub extract: ExtractOptions,
    /// What counts as equal.
    pub policy: Policy,
    /// Look for the answer behind `</think>` only; a completion without it has none (TRL's `reasoning_accuracy_reward`).
    pub after_reasoning: bool,
}

impl Verifier {
    /// The score of one completion against a reference answer.
    pub fn grade(&self, text: &str, gold: &str) -> Score {
        let text = match text.rsplit_once("</think>") {
            _ if !self.after_reasoning => text,
            Some((_, answer)) => answer,
            None => return Score::Value(0.0),
        };
        let found = grade(text, gold, &self.extract, &self.policy);
        Self::score_of(&found.verdict, found.extracted.is_some())
    }

    /// The score that a verdict stands for; `answered` says whether there was an answer to compare.
    pub fn score_of(verdict: &Verdict, answered: bool) -> Score {
        match verdict.outcome {
            Outcome::Equal(_) => Score::Value(1.0),
            Outcome::Budget => Score::TimedOut,
            // A reference that cannot be read proves nothing against an answer that is written otherwise.
            Outcome::Unparsed if answered && matches!(verdict.how.gold, Kind::Unread | Kind::Nothing) => {
                Score::Unscorable
            }
            Outcome::NotEqual | Outcome::Unparsed => Score::Value(0.0),
        }
    }
}

impl Reward for Verifier {
    fn name(&self) -> &str {
        if self.after_reasoning { "reasoning_accuracy" } else { "verifier" }
    }

    fn needs_gold(&self) -> bool {
        true
    }

    fn score(&self, candidates: &[Candidate<'_>]) -> Vec<Score> {
        let one = |candidate: &Candidate<'_>| match candidate.row.gold.as_deref() {
            Some(gold) if !gold.trim().is_empty() => self.grade(candidate.text, gold),
            _ => Score::Unscorable,
        };
        candidates.par_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_wrong_and_none() {
        let verifier = Verifier::default();
        assert_eq!(verifier.grade("so\nA: 18", "18"), Score::Value(1.0));
        assert_eq!(verifier.grade("so \\boxed{18.0}", "18"), Score::Value(1.0));
        assert_eq!(verifier.grade("so\nA: 19", "18"), Score::Value(0.0));
        assert_eq!(verifier.grade("no idea", "18"), Score::Value(0.0));
        assert_eq!(verifier.grade("", "18"), Score::Value(0.0));
    }

    #[test]
    fn behind_the_reasoning() {
        let verifier = Verifier { after_reasoning: true, ..Verifier::default() };
        assert_eq!(verifier.grade("<think>\\boxed{1}</think> \\boxed{2}", "2"), Score::Value(1.0));
        assert_eq!(verifier.grade("<think>\\boxed{2}</think> I do not know", "2"), Score::Value(0.0));
        assert_eq!(verifier.grade("\\boxed{2}", "2"), Score::Value(0.0));
    }

    #[test]
    fn a_spent_budget_is_no_zero() {
        let mut verifier = Verifier::default();
        verifier.policy.work = 1;
        assert_eq!(
            verifier.grade("\\boxed{\\frac{1}{3}+\\sqrt{2}}", "\\frac{2}{6}+\\sqrt{2}"),
            Score::TimedOut
        );
    }
}
