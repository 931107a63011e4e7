//! Completions that are too long: DAPO's penalty on the reward and its filter on the loss.

use crate::Error;

/// Soft overlong punishment (DAPO, arXiv 2503.14476): nothing up to `max_length - buffer` tokens,
/// then a linear penalty that reaches `-factor` at `max_length`, and `-factor` beyond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftOverlong {
    /// Maximum completion length in tokens: 20480 in DAPO, 1280 in TRL's default.
    pub max_length: usize,
    /// Width of the linear part in tokens: 4096 in DAPO, 256 in TRL's default. 0 punishes only beyond the
    /// maximum.
    pub buffer: usize,
    /// Largest penalty: 1.
    pub factor: f64,
}

impl SoftOverlong {
    /// The number to add to the reward of a completion of `length` tokens: between `-factor` and 0.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the buffer is longer than the maximum or the factor is negative or not
    /// finite.
    pub fn penalty(&self, length: usize) -> Result<f64, Error> {
        if !(self.factor >= 0.0 && self.factor.is_finite()) {
            let expected = "a finite number >= 0";
            return Err(Error::Parameter { name: "overlong factor", value: self.factor, expected });
        }
        let Some(free) = self.max_length.checked_sub(self.buffer) else {
            let expected = "at most the maximum length";
            return Err(Error::Parameter { name: "overlong buffer", value: self.buffer as f64, expected });
        };
        let share = match length {
            _ if length <= free => 0.0,
            _ if length > self.max_length => 1.0,
            // Here the buffer is not empty, because free < length <= max_length.
            _ => (length - free) as f64 / self.buffer as f64,
        };
        Ok(if share == 0.0 { 0.0 } else { -self.factor * share })
    }
}

/// Overlong filtering (DAPO section 3.4; TRL's `mask_truncated_completions`): for each row, whether its
/// tokens stay in the loss. A truncated row keeps its place in the group's statistics.
pub fn overlong_filter(truncated: &[bool]) -> Vec<bool> {
    truncated.iter().map(|cut| !cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalty_by_hand() {
        let soft = SoftOverlong { max_length: 100, buffer: 20, factor: 1.0 };
        // TRL's documented example: 90 tokens of 100 with a buffer of 20 give -0.5.
        for (length, expected) in
            [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (100, -1.0), (101, -1.0), (9999, -1.0)]
        {
            assert_eq!(soft.penalty(length), Ok(expected), "{length}");
        }
        assert_eq!(SoftOverlong { factor: 0.5, ..soft }.penalty(90), Ok(-0.25));
    }

    #[test]
    fn without_a_buffer_only_the_excess_is_punished() {
        let hard = SoftOverlong { max_length: 100, buffer: 0, factor: 1.0 };
        assert_eq!((hard.penalty(100), hard.penalty(101)), (Ok(0.0), Ok(-1.0)));
    }

    #[test]
    fn impossible_settings_are_refused() {
        assert!(SoftOverlong { max_length: 10, buffer: 11, factor: 1.0 }.penalty(1).is_err());
        assert!(SoftOverlong { max_length: 10, buffer: 1, factor: f64::NAN }.penalty(1).is_err());
    }

    #[test]
    fn truncated_rows_are_filtered() {
        assert_eq!(overlong_filter(&[false, true]), [true, false]);
    }
}
