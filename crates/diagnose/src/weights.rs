//! The weight 1/p that SFT gives each token of the expert, and what rectification leaves of it.

use gft_objective::{Boundary, Rule, TokenPoint};
use serde::Serialize;

/// Borders of the bins of probability.
pub const EDGES: [f64; 8] = [0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 1.0];

/// The bin of a probability.
pub(crate) fn bin_of(p: f64) -> usize {
    EDGES[1..EDGES.len() - 1].partition_point(|edge| *edge <= p)
}

/// The coefficient that dynamic coefficient rectification gives a token (arXiv 2604.14258, eq. 5).
pub(crate) fn rectified(logprob: f64, tau: f64) -> f64 {
    let rule = Rule::Dcr { tau, boundary: Boundary::Below };
    rule.token(1.0, &TokenPoint { logprob, old_logprob: logprob, entropy: 0.0 }).coefficient
}

/// Tokens of one range of probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Lower end, included.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Tokens.
    pub tokens: usize,
    /// Their share of all tokens.
    pub share: f64,
    /// Their share of the sum of 1/p.
    pub weight_share: f64,
    /// Their share of the sum of c/p, with DCR's coefficient c.
    pub rectified_weight_share: f64,
}

/// A distribution in a few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are at most this.
    pub median: f64,
    /// 90 % are.
    pub p90: f64,
    /// 99 % are.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| {
            let rank = (q * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

/// The weights of all tokens of the expert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// Tokens.
    pub tokens: usize,
    /// Their mean log-probability.
    pub mean_logprob: f64,
    /// The weights 1/p.
    pub weight: Quantiles,
    /// The weights c/p with DCR's coefficient.
    pub rectified_weight: Quantiles,
    /// Share of the sum of 1/p that the least probable hundredth of the tokens has.
    pub rarest_hundredth: f64,
    /// The same of the sum of c/p.
    pub rarest_hundredth_rectified: f64,
    /// Share of tokens that DCR rectifies.
    pub rectified: f64,
    /// By probability.
    pub bins: Vec<Bin>,
}

impl Weights {
    /// Of the log-probabilities of tokens, with DCR at `tau`; `None` if there are none.
    pub fn of(logprobs: &[f64], tau: f64) -> Option<Weights> {
        let mut logprobs = logprobs.to_vec();
        logprobs.sort_unstable_by(f64::total_cmp);
        let n = logprobs.len();
        if n == 0 {
            return None;
        }
        // Sums from the most probable on: the large weights last, so that the small ones are not lost.
        let weights: Vec<f64> = logprobs.iter().map(|x| (-x).exp()).collect();
        let coefficients: Vec<f64> = logprobs.iter().map(|x| rectified(*x, tau)).collect();
        let left: Vec<f64> = weights.iter().zip(&coefficients).map(|(w, c)| w * c).collect();
        let sum = |values: &[f64]| values.iter().rev().sum::<f64>();
        let (total, total_left) = (sum(&weights), sum(&left));
        let hundredth = n.div_ceil(100);
        let mut bins: Vec<Bin> = EDGES
            .windows(2)
            .map(|edge| Bin {
                low: edge[0],
                high: edge[1],
                tokens: 0,
                share: 0.0,
                weight_share: 0.0,
                rectified_weight_share: 0.0,
            })
            .collect();
        for ((logprob, weight), left) in logprobs.iter().zip(&weights).zip(&left) {
            let bin = &mut bins[bin_of(logprob.exp())];
            bin.tokens += 1;
            bin.share += 1.0 / n as f64;
            bin.weight_share += weight / total;
            bin.rectified_weight_share += left / total_left;
        }
        Some(Weights {
            tokens: n,
            mean_logprob: logprobs.iter().sum::<f64>() / n as f64,
            rarest_hundredth: sum(&weights[..hundredth]) / total,
            rarest_hundredth_rectified: sum(&left[..hundredth]) / total_left,
            rectified: logprobs.iter().filter(|x| x.exp() < tau).count() as f64 / n as f64,
            weight: Quantiles::of(weights),
            rectified_weight: Quantiles::of(left),
            bins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rare_token_among_many_sure_ones() {
        // 99 tokens of p = 1 and one of p = 1/2000: weights 99 + 2000.
        let mut logprobs = vec![0.0; 99];
        logprobs.push(-(2000f64.ln()));
        let found = Weights::of(&logprobs, 0.7).unwrap();
        assert!((found.rarest_hundredth - 2000.0 / 2099.0).abs() < 1e-12);
        // Rectified, it weighs as much as every other.
        assert!((found.rarest_hundredth_rectified - 0.01).abs() < 1e-6);
        assert!((found.rectified - 0.01).abs() < 1e-12);
        assert!((found.weight.max - 2000.0).abs() < 1e-9 && (found.rectified_weight.max - 1.0).abs() < 1e-6);
        assert_eq!((found.weight.median, found.weight.p99), (1.0, 1.0));
        assert_eq!(found.bins.iter().map(|bin| bin.tokens).collect::<Vec<_>>(), [0, 1, 0, 0, 0, 0, 99]);
        assert!((found.bins[1].weight_share - 2000.0 / 2099.0).abs() < 1e-12);
    }

    #[test]
    fn a_threshold_of_zero_leaves_everything() {
        let found = Weights::of(&[-1.0, -2.0, -0.1], 0.0).unwrap();
        assert_eq!(found.weight, found.rectified_weight);
        assert_eq!(found.rectified, 0.0);
        assert_eq!(Weights::of(&[], 0.5), None);
    }

    #[test]
    fn bins_hold_their_lower_end() {
        assert_eq!([0.0, 1e-4, 0.09, 0.1, 0.9, 1.0].map(bin_of), [0, 1, 3, 4, 6, 6]);
    }
}
