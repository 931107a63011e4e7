//! Is a completion right? The verifier for answers, letters for choices.

use std::borrow::Cow;

use gft_reward::{Score, Verifier};
use gft_verify::{extract, verify};
use serde::{Deserialize, Serialize};

use crate::letters::letter;
use crate::task::Problem;

/// What is said of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The reference answer.
    Right,
    /// Another answer.
    Wrong,
    /// No answer was found, or none that can be read: counts as not right.
    Unparsed,
    /// The reference answer itself cannot be read: counts as nothing.
    Unscorable,
    /// The work allowed was spent before a verdict: counts as nothing.
    TimedOut,
}

impl Verdict {
    /// Whether it says anything of the model.
    pub fn counts(self) -> bool {
        matches!(self, Self::Right | Self::Wrong | Self::Unparsed)
    }
}

/// Grades completions.
#[derive(Clone, Debug, Default)]
pub struct Grader {
    /// Where answers may stand and what counts as equal.
    pub verifier: Verifier,
}

impl Grader {
    /// The verdict on a completion, and the answer that was found in it.
    pub fn grade(&self, problem: &Problem, text: &str) -> (Verdict, Option<String>) {
        if problem.choices.is_empty() {
            return self.answer(problem.gold(), text);
        }
        let answer = self.extract(text);
        match letter(text, answer.as_deref(), &problem.choices, &self.verifier) {
            Some(letter) if letter == problem.gold() => (Verdict::Right, Some(letter)),
            Some(letter) => (Verdict::Wrong, Some(letter)),
            None => (Verdict::Unparsed, answer.map(Cow::into_owned)),
        }
    }

    /// The verdict on a completion by a reference answer that is not a choice, and the answer that was found.
    pub fn answer(&self, gold: &str, text: &str) -> (Verdict, Option<String>) {
        let answer = self.extract(text);
        (self.compare(gold, answer.as_deref()), answer.map(Cow::into_owned))
    }

    fn extract<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        extract(text, &self.verifier.extract).map(|found| found.text(text))
    }

    fn compare(&self, gold: &str, answer: Option<&str>) -> Verdict {
        let found = verify(gold, answer.unwrap_or_default(), &self.verifier.policy);
        match Verifier::score_of(&found, answer.is_some()) {
            Score::Value(value) if value > 0.0 => Verdict::Right,
            Score::Value(_) if found.outcome == gft_verify::Outcome::Unparsed => Verdict::Unparsed,
            Score::Value(_) => Verdict::Wrong,
            Score::TimedOut => Verdict::TimedOut,
            Score::Unscorable | Score::Failed(_) => Verdict::Unscorable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gft_data::{Prompt, Row};
    use serde_json::Map;

    fn problem(gold: &str, choices: &[&str]) -> Problem {
        let row = Row {
            id: "1".into(),
            prompt: Prompt::Question("?".into()),
            solution: None,
            gold: Some(gold.into()),
            expert: Vec::new(),
            teachers: Vec::new(),
            columns: Map::new(),
            named: Map::new(),
        };
        Problem { row, choices: choices.iter().map(|c| (*c).to_owned()).collect() }
    }

    #[test]
    fn answers() {
        let grade = |text| Grader::default().grade(&problem("1/2", &[]), text);
        assert_eq!(grade("so \\boxed{0.5}"), (Verdict::Right, Some("0.5".into())));
        assert_eq!(grade("so \\boxed{2}"), (Verdict::Wrong, Some("2".into())));
        assert_eq!(grade("I give up"), (Verdict::Unparsed, None));
    }

    #[test]
    fn a_reference_that_nobody_can_read_says_nothing_of_the_model() {
        let verdict = Grader::default().grade(&problem("\\frac{1}{", &[]), "so \\boxed{2}").0;
        assert_eq!(verdict, Verdict::Unscorable);
        assert!(!verdict.counts());
    }

    #[test]
    fn choices() {
        let problem = problem("B", &["10", "12", "$x^2$"]);
        let grade = |text| Grader::default().grade(&problem, text).0;
        for right in ["\\boxed{B}", "\\boxed{\\text{(B)}}", "The answer is (B) 12.", "\\boxed{12}", "#### b)"]
        {
            assert_eq!(grade(right), Verdict::Right, "{right}");
        }
        for wrong in ["\\boxed{A}", "The answer is C.", "\\boxed{x^2}"] {
            assert_eq!(grade(wrong), Verdict::Wrong, "{wrong}");
        }
        for unparsed in ["\\boxed{D}", "\\boxed{11}", "A or B", "\\boxed{Both}"] {
            assert_eq!(grade(unparsed), Verdict::Unparsed, "{unparsed}");
        }
    }
}
