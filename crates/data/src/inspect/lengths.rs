//! The distribution of lengths.

use serde::Serialize;

/// Quantiles and histogram of lengths. Quantiles are values that occur: the smallest that at least that share does not exceed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest.
    pub min: u64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// 90 % are at most this long.
    pub p90: u64,
    /// 95 % are at most this long.
    pub p95: u64,
    /// 99 % are at most this long.
    pub p99: u64,
    /// The largest.
    pub max: u64,
    /// Bins of equal width, empty ones between included. Where a few lengths lie far off the others, the last bin takes
    /// them and is wider.
    pub histogram: Vec<Bin>,
}

/// Lengths from `from` up to, not including, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// The smallest length in the bin.
    pub from: u64,
    /// The smallest length behind it.
    pub to: u64,
    /// How many.
    pub count: u64,
}

/// At most so many bins, of a width of 1, 2 or 5 times a power of ten.
const BINS: u64 = 12;

impl Lengths {
    /// The distribution of `lengths`.
    pub fn of(mut lengths: Vec<u32>) -> Self {
        lengths.sort_unstable();
        let (Some(&min), Some(&max)) = (lengths.first(), lengths.last()) else { return Self::default() };
        let count = lengths.len();
        let quantile = |percent: usize| u64::from(lengths[(count * percent).div_ceil(100).max(1) - 1]);
        let sum: u64 = lengths.iter().map(|&length| u64::from(length)).sum();
        let (min, max) = (u64::from(min), u64::from(max));
        Self {
            count: count as u64,
            sum,
            min,
            mean: sum as f64 / count as f64,
            p50: quantile(50),
            p90: quantile(90),
            p95: quantile(95),
            p99: quantile(99),
            max,
            histogram: histogram(&lengths, min, max, quantile(99)),
        }
    }
}

/// One length of 30,000 must not squeeze all others into one bin: beyond twice `p99` they share the last.
fn histogram(sorted: &[u32], min: u64, max: u64, p99: u64) -> Vec<Bin> {
    let far = max > 2 * p99;
    let last = if far { p99 } else { max };
    let widths = (0..19).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
    let fits = |width: &u64| last / width - min / width < BINS;
    let width = widths.into_iter().find(fits).unwrap_or(u64::MAX);
    let bin = |n: u64| {
        let tail = far && n == last / width;
        let (from, to) = (n * width, if tail { max + 1 } else { (n + 1).saturating_mul(width) });
        let below = |bound: u64| sorted.partition_point(|&l| u64::from(l) < bound) as u64;
        Bin { from, to, count: below(to) - below(from) }
    };
    (min / width..=last / width).map(bin).collect()
}
