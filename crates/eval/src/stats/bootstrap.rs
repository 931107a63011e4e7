//! Bootstrap intervals of a mean over problems.

use gft_model::random::Stream;
use serde::Serialize;

/// How intervals are made: percentiles of the means of resampled problems (Efron, 1979).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Resamples.
    pub resamples: usize,
    /// Share of them inside of the interval.
    pub level: f64,
    /// Seed of the resampling: the same numbers give the same interval.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, level: 0.95, seed: 0 }
    }
}

/// A mean over problems with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Standard error of the mean, by its formula.
    pub standard_error: f64,
    /// Problems.
    pub problems: usize,
}

impl Bootstrap {
    /// The mean of one value per problem; `None` without problems.
    ///
    /// Where all values are equal the interval has no width. That is what the bootstrap can say, and not certainty: with
    /// `n` problems and nothing right, up to `3 / n` is still likely (the rule of three).
    pub fn mean(&self, values: &[f64]) -> Option<Estimate> {
        let ones: Vec<(f64, f64)> = values.iter().map(|value| (*value, 1.0)).collect();
        self.ratio(&ones)
    }

    /// The ratio of two sums over problems, of one pair per problem: a mean per token, say, from each problem's sum and
    /// number of tokens. The standard error is that of the linearised ratio. `None` without problems, or where the
    /// second sum is 0.
    pub fn ratio(&self, pairs: &[(f64, f64)]) -> Option<Estimate> {
        let of = |sums: (f64, f64)| sums.0 / sums.1;
        let add = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
        let total = pairs.iter().copied().fold((0.0, 0.0), add);
        if pairs.is_empty() || total.1 == 0.0 {
            return None;
        }
        let stream = Stream::new(self.seed);
        let mut means: Vec<f64> = (0..self.resamples as u64)
            .map(|resample| {
                let draws = stream.child(resample);
                let drawn = (0..pairs.len() as u64).map(|i| pairs[pick(draws, i, pairs.len())]);
                of(drawn.fold((0.0, 0.0), add))
            })
            .filter(|mean| mean.is_finite())
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let (mean, tail) = (of(total), (1.0 - self.level) / 2.0);
        let weight = total.1 / pairs.len() as f64;
        let residuals: Vec<f64> = pairs.iter().map(|(x, w)| (x - mean * w) / weight).collect();
        Some(Estimate {
            mean,
            low: quantile(&means, tail).unwrap_or(mean),
            high: quantile(&means, 1.0 - tail).unwrap_or(mean),
            standard_error: standard_error(&residuals).unwrap_or(0.0),
            problems: pairs.len(),
        })
    }
}

fn pick(stream: Stream, counter: u64, len: usize) -> usize {
    ((stream.uniform(counter) * len as f64) as usize).min(len - 1)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard error of the mean (ddof 1); `None` below two values.
pub fn standard_error(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let n = values.len() as f64;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())
}

/// The quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan, numpy's default).
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let at = q * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * at.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_linear_between_neighbours() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.0), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_interval_is_that_of_the_normal_for_many_problems() {
        // 400 problems, a quarter right: standard error sqrt(.1875 / 399) = .02168; 1.96 of them to each side. A bound
        // from 10,000 resamples varies by about .0006; three of that and the grid of 1/400 are allowed.
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let found = Bootstrap::default().mean(&values).unwrap();
        assert_eq!(found.mean, 0.25);
        assert!((found.standard_error - 0.021_677).abs() < 1e-6);
        assert!((found.low - (0.25 - 1.96 * 0.02168)).abs() < 0.0043, "{found:?}");
        assert!((found.high - (0.25 + 1.96 * 0.02168)).abs() < 0.0043, "{found:?}");
    }

    #[test]
    fn a_ratio_weighs_problems_by_their_tokens() {
        // 9 tokens of 1 and 1 of 2: 1.1, not 1.5; and the interval reaches from one problem to the other.
        let found = Bootstrap::default().ratio(&[(9.0, 9.0), (2.0, 1.0)]).unwrap();
        assert!((found.mean - 1.1).abs() < 1e-15);
        assert_eq!((found.low, found.high), (1.0, 2.0));
        assert_eq!(Bootstrap::default().ratio(&[(1.0, 0.0)]), None);
    }

    #[test]
    fn nothing_and_equal_values() {
        assert_eq!(Bootstrap::default().mean(&[]), None);
        let found = Bootstrap::default().mean(&[0.5; 7]).unwrap();
        assert_eq!((found.low, found.high, found.standard_error), (0.5, 0.5, 0.0));
    }
}
