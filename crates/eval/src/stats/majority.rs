//! maj@k: the chance that the most frequent answer of k samples is right.

/// Answers to one problem: how often each was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Samples with the right answer.
    pub right: usize,
    /// Samples of each distinct wrong answer.
    pub wrong: Vec<usize>,
    /// Samples without an answer; they do not vote.
    pub silent: usize,
}

impl Votes {
    /// All samples.
    pub fn samples(&self) -> usize {
        self.right + self.wrong.iter().sum::<usize>() + self.silent
    }
}

/// The chance that the right answer wins a vote among `k` samples drawn without replacement; a tie is decided by lot,
/// and where nobody votes nothing is right (Wang et al., arXiv 2203.11171).
///
/// Exact: the mean over all `C(n, k)` subsets, by counting them. `None` if `k` is 0 or above the number of samples.
pub fn majority_at_k(votes: &Votes, k: usize) -> Option<f64> {
    if k == 0 || k > votes.samples() {
        return None;
    }
    let mut won = 0.0;
    for most in 1..=votes.right.min(k) {
        // Ways in which the right answer has exactly `most` votes, wrong ones have at most as many, `ties` of them equal.
        let ways = Ways::of_others(votes, most, k - most);
        let right = choose(votes.right, most);
        for (ties, ways) in ways.into_iter().enumerate() {
            won += right * ways / (ties + 1) as f64;
        }
    }
    Some((won / choose(votes.samples(), k)).min(1.0))
}

/// Ways to draw a number of samples (first index) so that a number of answers ties (second index).
struct Ways(Vec<Vec<f64>>);

impl Ways {
    /// Ways to draw `rest` samples from all but the right answers, by the number of wrong answers with `most` votes.
    fn of_others(votes: &Votes, most: usize, rest: usize) -> Vec<f64> {
        let ties = rest / most;
        let mut ways = Ways(vec![vec![0.0; ties + 1]; rest + 1]);
        for (drawn, row) in ways.0.iter_mut().enumerate().take(votes.silent + 1) {
            row[0] = choose(votes.silent, drawn);
        }
        for &count in &votes.wrong {
            ways.add(count, most);
        }
        ways.0.pop().unwrap_or_default()
    }

    /// Adds an answer that was given `count` times and may have at most `most` votes.
    fn add(&mut self, count: usize, most: usize) {
        let (rest, ties) = (self.0.len() - 1, self.0[0].len() - 1);
        let mut next = vec![vec![0.0; ties + 1]; rest + 1];
        for drawn in 0..=rest {
            for tied in 0..=ties {
                let before = self.0[drawn][tied];
                if before == 0.0 {
                    continue;
                }
                for given in 0..=count.min(most).min(rest - drawn) {
                    let tied = tied + usize::from(given == most);
                    if tied <= ties {
                        next[drawn + given][tied] += before * choose(count, given);
                    }
                }
            }
        }
        self.0 = next;
    }
}

/// `C(n, k)` in f64: exact up to 2^53, within a few ulps beyond, finite up to n = 1000.
fn choose(n: usize, k: usize) -> f64 {
    if k > n {
        return 0.0;
    }
    let k = k.min(n - k);
    (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(right: usize, wrong: &[usize], silent: usize) -> Votes {
        Votes { right, wrong: wrong.to_vec(), silent }
    }

    #[test]
    fn closed_forms() {
        // One sample votes for itself.
        assert_eq!(majority_at_k(&votes(3, &[2, 1], 2), 1), Some(3.0 / 8.0));
        // All samples: a clear winner, a tie of two, a tie of three, a loss.
        assert_eq!(majority_at_k(&votes(3, &[2], 0), 5), Some(1.0));
        assert_eq!(majority_at_k(&votes(2, &[2], 0), 4), Some(0.5));
        assert!((majority_at_k(&votes(2, &[2, 2, 1], 1), 8).unwrap() - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(majority_at_k(&votes(1, &[2], 3), 6), Some(0.0));
        // Those who are silent do not outvote one answer; nobody at all is not right.
        assert_eq!(majority_at_k(&votes(1, &[], 7), 8), Some(1.0));
        assert_eq!(majority_at_k(&votes(0, &[], 4), 2), Some(0.0));
        // Two of {R, R, W}: RR in one subset of three, a tie in two.
        assert!((majority_at_k(&votes(2, &[1], 0), 2).unwrap() - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn what_cannot_be_voted_on() {
        assert_eq!(majority_at_k(&votes(1, &[], 0), 2), None);
        assert_eq!(majority_at_k(&votes(1, &[], 0), 0), None);
    }

    #[test]
    fn many_samples_stay_finite() {
        let found = majority_at_k(&votes(130, &[40, 30, 20, 20], 16), 64).unwrap();
        assert!(found > 0.999 && found <= 1.0, "{found}");
    }
}
