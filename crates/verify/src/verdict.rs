//! Verdicts and their explanation.

use crate::policy::Conventions;
use crate::value::Kind;
use std::fmt;

/// How sure an equality is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// Shown by exact arithmetic or by the same form.
    Proof,
    /// The values agree at every point tried, within narrow intervals or in a large finite field.
    Probable,
}

/// Result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The answers are the same under the policy.
    Equal(Certainty),
    /// They are not.
    NotEqual,
    /// A side is empty or is mathematics that the grammar does not read.
    Unparsed,
    /// The work allowed was spent, or a cap was met, before an answer.
    Budget,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The strings are the same but for spaces and mark-up.
    Identical,
    /// The expressions are the same tree.
    SameForm,
    /// Arithmetic of rational numbers.
    Rational,
    /// Exact arithmetic with roots, constants and variables.
    Exact,
    /// Values at points of a finite field.
    FiniteField,
    /// Values in intervals at pseudo-random points.
    Numeric,
    /// Items of sequences, sets or matrices, compared one by one.
    Items,
    /// Equations or inequalities equal up to a factor.
    Proportional,
    /// Text or letters.
    Text,
    /// The kinds of the two sides do not compare.
    Kinds,
    /// Nothing decided.
    Undecided,
}

/// Explanation of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// What the reference answer was read as.
    pub gold: Kind,
    /// What the answer was read as.
    pub answer: Kind,
    /// What decided.
    pub rule: Rule,
    /// Conventions that an equality rests on.
    pub conventions: Conventions,
}

/// Outcome, explanation, and the work spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The result.
    pub outcome: Outcome,
    /// Why.
    pub how: How,
    /// Work units spent; never more than the policy allows.
    pub work: u32,
}

impl Verdict {
    /// Whether the answer counts as right.
    pub fn is_equal(&self) -> bool {
        matches!(self.outcome, Outcome::Equal(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Equal(Certainty::Proof) => "equal (proof)",
            Outcome::Equal(Certainty::Probable) => "equal (probable)",
            Outcome::NotEqual => "not equal",
            Outcome::Unparsed => "unparsed",
            Outcome::Budget => "budget",
        };
        write!(f, "{word}: {}", self.how)
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} against {:?}, by {:?}", self.gold, self.answer, self.rule)?;
        for (i, c) in self.conventions.iter().enumerate() {
            write!(f, "{}{c:?}", if i == 0 { ", allowing " } else { ", " })?;
        }
        Ok(())
    }
}
