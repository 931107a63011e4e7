//! Two models on the same problems: the difference per problem, which cancels how hard each problem is.

use serde::Serialize;

use super::bootstrap::{Bootstrap, Estimate};

/// What two models did on the same problems.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Mean of the differences, first minus second.
    pub difference: Estimate,
    /// Problems on which the first is better.
    pub better: usize,
    /// Problems on which the first is worse.
    pub worse: usize,
    /// Problems on which they are equal.
    pub same: usize,
}

impl Paired {
    /// Whether the interval excludes zero.
    pub fn is_clear(&self) -> bool {
        self.difference.low > 0.0 || self.difference.high < 0.0
    }
}

/// Compares values of the same problems in the same order; `None` if there are none or the numbers of problems differ.
pub fn paired(first: &[f64], second: &[f64], bootstrap: &Bootstrap) -> Option<Paired> {
    if first.len() != second.len() {
        return None;
    }
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let count = |wanted: fn(f64) -> bool| differences.iter().filter(|d| wanted(**d)).count();
    Some(Paired {
        difference: bootstrap.mean(&differences)?,
        better: count(|d| d > 0.0),
        worse: count(|d| d < 0.0),
        same: count(|d| d == 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairing_removes_what_problems_have_in_common() {
        // The first is better by exactly 0.1 on every problem, whatever the problem.
        let second: Vec<f64> = (0..50).map(|i| f64::from(i) / 64.0).collect();
        let first: Vec<f64> = second.iter().map(|x| x + 0.125).collect();
        let found = paired(&first, &second, &Bootstrap::default()).unwrap();
        assert_eq!((found.better, found.worse, found.same), (50, 0, 0));
        assert_eq!((found.difference.low, found.difference.high), (0.125, 0.125));
        assert!(found.is_clear());
    }

    #[test]
    fn no_difference_is_not_clear() {
        let found = paired(&[1.0, 0.0, 1.0], &[0.0, 1.0, 1.0], &Bootstrap::default()).unwrap();
        assert_eq!((found.better, found.worse, found.same), (1, 1, 1));
        assert!(!found.is_clear());
        assert_eq!(paired(&[1.0], &[], &Bootstrap::default()), None);
    }
}
