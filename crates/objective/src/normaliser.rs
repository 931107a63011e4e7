//! What the sum over tokens is divided by: counted over the whole optimizer step, before the first backward
//! pass.
//!
//! A denominator taken per micro-batch makes the gradient depend on how the step was cut. Here rows are
//! counted first ([`Counts`], which add up over ranks), and every token of the step is then divided by the
//! same rule.

use std::ops::AddAssign;

use crate::names::names;
use crate::{BySource, Error, Source};

/// How the token losses of a step become one number. `R` rows, `T` tokens in all, `T_i` in row `i`, `L` the
/// maximum completion length; rows without a single token that counts are no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normaliser {
    /// `1/T sum_i sum_t`: every token weighs the same (SFT, DAPO eq. 12, GFT's code).
    TokenMean,
    /// `1/R sum_i 1/T_i sum_t`: every row weighs the same (GRPO as DeepSeekMath writes it).
    SeqMeanTokenMean,
    /// `1/R sum_i sum_t`.
    SeqMeanTokenSum,
    /// `1/(R L) sum_i sum_t`: a constant that does not favour short rows (Dr. GRPO, TRL's `dr_grpo`).
    FixedLength,
    /// `1/L sum_i sum_t`, not divided by the rows (verl's `seq-mean-token-sum-norm`, LUFFY).
    SeqMeanTokenSumNorm,
}

impl Normaliser {
    /// True when the maximum completion length must be known.
    pub fn needs_max_length(self) -> bool {
        matches!(self, Normaliser::FixedLength | Normaliser::SeqMeanTokenSumNorm)
    }
}

// verl's names where verl has one; TRL's loss types are read for the normaliser they imply. `bnpo` and `dapo`
// are one here, because the count is always global.
names!(Normaliser, "normaliser", {
    TokenMean = "token-mean" | "bnpo" | "dapo",
    SeqMeanTokenMean = "seq-mean-token-mean" | "grpo",
    SeqMeanTokenSum = "seq-mean-token-sum",
    FixedLength = "fixed-length" | "dr-grpo",
    SeqMeanTokenSumNorm = "seq-mean-token-sum-norm",
});

/// Rows and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Rows with at least one token that counts.
    pub rows: u64,
    /// Tokens that count.
    pub tokens: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.rows += other.rows;
        self.tokens += other.tokens;
    }
}

/// Rows and tokens of an optimizer step by source, all of them and those with a signal. Counts of ranks add
/// up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Every row that takes part.
    pub all: BySource<Count>,
    /// The rows among them whose advantage is not 0.
    pub active: BySource<Count>,
}

impl Counts {
    /// Counts one row of `tokens` target tokens; a row without tokens counts as nothing.
    pub fn add(&mut self, source: Source, tokens: usize, active: bool) {
        if tokens == 0 {
            return;
        }
        let count = Count { rows: 1, tokens: tokens as u64 };
        self.all[source] += count;
        if active {
            self.active[source] += count;
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        for source in Source::ALL {
            self.all[source] += other.all[source];
            self.active[source] += other.active[source];
        }
    }
}

/// Which rows the denominator counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedRows {
    /// All rows that take part, with and without a signal (TRL, verl, GFT's code).
    All,
    /// Only rows whose advantage is not 0.
    Active,
}

names!(CountedRows, "choice of counted rows", { All = "all", Active = "active", });

/// The denominator of a step, ready to divide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Denominator {
    normaliser: Normaliser,
    count: Count,
    max_length: f64,
}

impl Denominator {
    /// The denominator for `count` rows and tokens; `max_length` in tokens where the normaliser needs it.
    ///
    /// # Errors
    /// [`Error::MaxLength`] when `normaliser` needs a length and none (or 0) was given.
    pub fn new(normaliser: Normaliser, count: Count, max_length: Option<usize>) -> Result<Self, Error> {
        let max_length = match max_length {
            Some(length) if length > 0 => length as f64,
            _ if normaliser.needs_max_length() => {
                return Err(Error::MaxLength { normaliser: normaliser.as_str() });
            }
            _ => 1.0,
        };
        Ok(Denominator { normaliser, count, max_length })
    }

    /// True when no token counts: the loss is exactly 0 and there is nothing to update from.
    pub fn is_empty(&self) -> bool {
        self.count.tokens == 0
    }

    /// What was counted.
    pub fn count(&self) -> Count {
        self.count
    }

    /// `N` for the tokens of a row with `row_tokens` target tokens: its loss is `sum_t loss_t / N`. At least
    /// 1 where nothing was counted, so never 0.
    pub fn of_row(&self, row_tokens: usize) -> f64 {
        let rows = self.count.rows.max(1) as f64;
        match self.normaliser {
            Normaliser::TokenMean => self.count.tokens.max(1) as f64,
            Normaliser::SeqMeanTokenMean => rows * row_tokens.max(1) as f64,
            Normaliser::SeqMeanTokenSum => rows,
            Normaliser::FixedLength => rows * self.max_length,
            Normaliser::SeqMeanTokenSumNorm => self.max_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Normaliser; 5] = [
        Normaliser::TokenMean,
        Normaliser::SeqMeanTokenMean,
        Normaliser::SeqMeanTokenSum,
        Normaliser::FixedLength,
        Normaliser::SeqMeanTokenSumNorm,
    ];

    #[test]
    fn denominators_by_hand() {
        let mut counts = Counts::default();
        counts.add(Source::Policy, 3, true);
        counts.add(Source::Policy, 5, false);
        counts.add(Source::Policy, 0, true);
        assert_eq!(counts.all.policy, Count { rows: 2, tokens: 8 });
        assert_eq!(counts.active.policy, Count { rows: 1, tokens: 3 });
        let expected = [8.0, 6.0, 2.0, 200.0, 100.0];
        for (normaliser, expected) in ALL.into_iter().zip(expected) {
            let denominator = Denominator::new(normaliser, counts.all.policy, Some(100)).unwrap();
            assert_eq!(denominator.of_row(3), expected, "{normaliser}");
        }
    }

    #[test]
    fn nothing_to_count_divides_by_one_or_more() {
        for normaliser in ALL {
            let denominator = Denominator::new(normaliser, Count::default(), Some(7)).unwrap();
            assert!(denominator.is_empty());
            assert!(denominator.of_row(0) >= 1.0);
        }
    }

    #[test]
    fn a_length_that_is_needed_must_be_given() {
        for normaliser in ALL {
            for length in [None, Some(0)] {
                let made = Denominator::new(normaliser, Count { rows: 1, tokens: 1 }, length);
                assert_eq!(made.is_err(), normaliser.needs_max_length(), "{normaliser}");
            }
        }
    }

    #[test]
    fn counts_of_ranks_add_up() {
        let (mut left, mut right, mut whole) = (Counts::default(), Counts::default(), Counts::default());
        left.add(Source::Expert, 4, true);
        right.add(Source::Expert, 6, false);
        right.add(Source::Policy, 2, true);
        for (source, tokens, active) in
            [(Source::Expert, 4, true), (Source::Expert, 6, false), (Source::Policy, 2, true)]
        {
            whole.add(source, tokens, active);
        }
        left += right;
        assert_eq!(left, whole);
    }
}
