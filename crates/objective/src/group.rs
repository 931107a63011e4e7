//! A group of completions of one prompt and the statistics of its rewards.

use crate::error::same_length;
use crate::{Error, Source};

/// Reward of one row. `None` means unscorable: no ground truth, a grader that failed or ran out of time. Such
/// a row is left out of every mean and standard deviation and has advantage 0; it is never punished.
pub type Reward = Option<f64>;

/// Largest magnitude of a reward; beyond it the sums of squares would leave the range of `f64`.
pub const MAX_REWARD: f64 = 1e100;

/// Default of [`crate::AdvantageConfig::equal_within`]: eight units in the last place of an `f32`, relative.
///
/// Rewards often come out of `f32` arithmetic (a weighted sum, a reward model), whose noise is a few units in
/// the last place. The published trainers compare the standard deviation with zero and are defeated by that
/// noise: eight rewards of 0.7 summed in `f32` give advantages of 0.056 there.
pub const EQUAL_WITHIN: f64 = 8.0 * f32::EPSILON as f64;

/// The rows of one prompt: `sources[i]` and `rewards[i]` belong together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group<'a> {
    /// Origin of each row, `[K]`.
    pub sources: &'a [Source],
    /// Reward of each row, `[K]`.
    pub rewards: &'a [Reward],
}

impl Group<'_> {
    /// Checks the lengths and the rewards; `group` is the index used in the messages.
    ///
    /// # Errors
    /// [`Error::Length`] when the slices differ, [`Error::Reward`] for a reward that is NaN, infinite or
    /// beyond [`MAX_REWARD`].
    pub fn check(&self, group: usize) -> Result<(), Error> {
        same_length("rewards", self.sources.len(), self.rewards.len())?;
        for (row, reward) in self.rewards.iter().enumerate() {
            if let Some(value) = *reward
                && (value.is_nan() || value.abs() > MAX_REWARD)
            {
                return Err(Error::Reward { group, row, value });
            }
        }
        Ok(())
    }
}

/// Statistics of the scorable rewards of a set of rows, in `f64`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupStatistics {
    /// Number of scorable rows.
    pub scorable: usize,
    /// Mean reward; 0 without a scorable row.
    pub mean: f64,
    /// Standard deviation with the configured ddof; exactly 0 where the rewards do not vary.
    pub std: f64,
    /// Smallest reward; 0 without a scorable row.
    pub min: f64,
    /// Largest reward; 0 without a scorable row.
    pub max: f64,
    /// True when the rewards differ by more than noise: `max - min > equal_within * max(|min|, |max|)`.
    pub varied: bool,
}

impl GroupStatistics {
    /// Statistics of `values`, all of them finite, with `values.len() - ddof` in the denominator of the
    /// variance.
    ///
    /// The values are sorted and summed in ascending order, mean first and squared deviations after, so that
    /// the result does not depend on the order of the rows, not even in its last bit.
    pub fn of(values: impl IntoIterator<Item = f64>, ddof: u8, equal_within: f64) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return GroupStatistics::default();
        };
        let count = sorted.len() as f64;
        let varied = max - min > equal_within * min.abs().max(max.abs());
        let mean = sorted.iter().sum::<f64>() / count;
        let squares: f64 = sorted.iter().map(|value| (value - mean) * (value - mean)).sum();
        let freedom = count - f64::from(ddof);
        let std = if varied && freedom > 0.0 { (squares / freedom).sqrt() } else { 0.0 };
        GroupStatistics { scorable: sorted.len(), mean, std, min, max, varied }
    }

    /// DAPO's dynamic sampling (arXiv 2503.14476): keep a group whose rewards vary, or that has a
    /// single row. `self` may describe another metric than the reward, such as plain accuracy.
    pub fn keep_group(&self) -> bool {
        self.varied || self.scorable == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64], ddof: u8) -> GroupStatistics {
        GroupStatistics::of(values.iter().copied(), ddof, EQUAL_WITHIN)
    }

    #[test]
    fn mean_and_both_standard_deviations() {
        // By hand: deviations of 1, 2, 3, 6 from their mean 3 are 2, 1, 0, 3; their squares sum to 14.
        let sample = of(&[6.0, 1.0, 3.0, 2.0], 1);
        assert_eq!((sample.scorable, sample.mean, sample.min, sample.max), (4, 3.0, 1.0, 6.0));
        assert_eq!(sample.std, (14.0_f64 / 3.0).sqrt());
        assert_eq!(of(&[6.0, 1.0, 3.0, 2.0], 0).std, (14.0_f64 / 4.0).sqrt());
    }

    #[test]
    fn noise_is_not_variation() {
        // 0.1 + 0.2 differs from 0.3 in the last bit of an f64; 0.7_f32 differs from 0.7 in the eighth
        // decimal.
        for noisy in [[0.1 + 0.2, 0.3], [f64::from(0.7_f32), 0.7], [1e6, 1e6 + 0.5]] {
            let statistics = of(&noisy, 1);
            assert!(!statistics.varied, "{noisy:?}");
            assert_eq!(statistics.std, 0.0);
        }
        assert!(of(&[0.7, 0.70001], 1).varied);
        assert!(of(&[0.0, 1e-30], 1).varied, "the rule is relative: next to 0 everything differs");
    }

    #[test]
    fn the_order_of_rows_changes_no_bit() {
        let forward = [0.1, 0.7, 0.30000000000000004, 1e3, -2.5, 1e-9];
        let mut backward = forward;
        backward.reverse();
        assert_eq!(of(&forward, 1), of(&backward, 1));
    }

    #[test]
    fn empty_and_single_sets() {
        assert_eq!(of(&[], 1), GroupStatistics::default());
        let single = of(&[2.0], 1);
        assert_eq!((single.scorable, single.mean, single.std, single.varied), (1, 2.0, 0.0, false));
        assert!(single.keep_group());
        assert!(!of(&[], 1).keep_group());
        assert!(!of(&[1.0, 1.0], 1).keep_group());
        assert!(of(&[1.0, 0.0], 1).keep_group());
    }

    #[test]
    fn numbers_that_are_no_rewards_are_named() {
        let sources = [Source::Policy; 2];
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e101] {
            let error = Group { sources: &sources, rewards: &[None, Some(bad)] }.check(7).unwrap_err();
            assert!(matches!(error, Error::Reward { group: 7, row: 1, .. }), "{error}");
        }
        let error = Group { sources: &sources, rewards: &[None] }.check(0).unwrap_err();
        assert_eq!(error, Error::Length { what: "rewards", expected: 2, found: 1 });
    }
}
