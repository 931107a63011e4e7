//! The gradient of each token of the expert, one backward pass per token, and which tokens carry how much of it.

use gft_model::device::Device;
use gft_model::optimizer::gradient_norm;
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::random::Stream;
use gft_model::{Batch, Policy};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::examples::Example;
use crate::weights::{EDGES, bin_of, rectified};

/// Tokens of one range of probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stratum {
    /// Lower end, included.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Tokens.
    pub tokens: usize,
    /// Their share of all tokens.
    pub share: f64,
    /// Tokens whose gradient was computed.
    pub measured: usize,
    /// Mean norm of the gradient of `-log p` with respect to all parameters.
    pub mean_norm: f64,
    /// Share of the sum of all norms that these tokens carry.
    pub norm_share: f64,
    /// Standard error of that share, from measuring some of the tokens only.
    pub standard_error: f64,
    /// The same share with DCR's coefficient at each token.
    pub rectified_share: f64,
}

/// Which tokens carry the gradient.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GradientShares {
    /// By probability, rarest first; ranges without tokens are left out.
    pub strata: Vec<Stratum>,
    /// Tokens in all.
    pub tokens: usize,
    /// Tokens whose gradient was computed, each exactly.
    pub measured: usize,
    /// DCR's sum of norms as a share of SFT's.
    pub rectified_total: f64,
}

/// The norm of the gradient of `-log p` of single tokens with respect to all parameters, exactly: one forward and one
/// backward pass for each. `tokens` are pairs of an example and a place in its completion. `tick` is called after each
/// and returns whether to stop.
///
/// # Errors
/// [`Error::Interrupted`]; what the engine refuses.
pub fn gradient_norms<D: Device>(
    policy: &Policy<D>,
    examples: &[Example],
    tokens: &[(usize, usize)],
    tick: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<f64>> {
    let mut gradients = policy.gradients();
    let mut norms = Vec::with_capacity(tokens.len());
    for (done, &(example, at)) in tokens.iter().enumerate() {
        let Example { prompt, tokens, .. } = &examples[example];
        let mut batch = Batch::new();
        let (segment, _) = batch.push(None, prompt, |_| false)?;
        // What comes after a token does not change its gradient.
        batch.push(Some(segment), &tokens[..=at], |place| place == at)?;
        let forward = policy.forward(&batch, Keep::Activations)?;
        gradients.reset();
        let seeds = Seeds { logprobs: vec![-1.0], ..Seeds::default() };
        policy.backward(&batch, forward, &Want::default(), &seeds, &mut gradients)?;
        norms.push(gradient_norm(policy, &gradients)?);
        if tick(done + 1) {
            return Err(Error::Interrupted);
        }
    }
    Ok(norms)
}

/// Shares of the sum of gradient norms by probability, from about `budget` tokens: the ranges of [`EDGES`] are strata,
/// each with the same number of measured tokens, drawn without replacement, and each weighed by how many tokens it has.
///
/// # Errors
/// As [`gradient_norms`].
pub fn gradient_shares<D: Device>(
    policy: &Policy<D>,
    examples: &[Example],
    logprobs: &[Vec<Option<f64>>],
    tau: f64,
    budget: usize,
    seed: u64,
    tick: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<GradientShares> {
    let mut strata: Vec<Vec<(usize, usize, f64)>> = vec![Vec::new(); EDGES.len() - 1];
    for (example, values) in logprobs.iter().enumerate() {
        for (at, logprob) in values.iter().enumerate() {
            if let Some(logprob) = logprob {
                strata[bin_of(logprob.exp())].push((example, at, *logprob));
            }
        }
    }
    let counts: Vec<usize> = strata.iter().map(Vec::len).collect();
    let mut chosen: Vec<(usize, (usize, usize, f64))> = Vec::new();
    for (index, (stratum, take)) in strata.iter().zip(allocate(&counts, budget)).enumerate() {
        chosen.extend(
            draw(stratum, take, Stream::new(seed).child(index as u64)).into_iter().map(|t| (index, t)),
        );
    }
    let places: Vec<(usize, usize)> = chosen.iter().map(|(_, (example, at, _))| (*example, *at)).collect();
    let norms = gradient_norms(policy, examples, &places, &mut |done| tick(done, places.len()))?;
    let mut measured: Vec<Vec<(f64, f64)>> = vec![Vec::new(); strata.len()];
    for ((index, (.., logprob)), norm) in chosen.iter().zip(norms) {
        measured[*index].push((norm, norm * rectified(*logprob, tau)));
    }
    Ok(shares(&counts, &measured))
}

/// Estimates from measured pairs (norm, norm times coefficient) in strata of `counts` tokens.
fn shares(counts: &[usize], measured: &[Vec<(f64, f64)>]) -> GradientShares {
    let tokens: usize = counts.iter().sum();
    let mean = |values: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        values.iter().map(of).sum::<f64>() / values.len().max(1) as f64
    };
    let total = |of: fn(&(f64, f64)) -> f64| -> f64 {
        counts.iter().zip(measured).map(|(count, values)| *count as f64 * mean(values, of)).sum()
    };
    let (plain, left) = (total(|v| v.0), total(|v| v.1));
    // Variance of each stratum's total, with the finite population's correction.
    let variances: Vec<f64> = counts
        .iter()
        .zip(measured)
        .map(|(&count, values)| {
            let (n, mean) = (values.len() as f64, mean(values, |v| v.0));
            let squares: f64 = values.iter().map(|v| (v.0 - mean).powi(2)).sum();
            let spread = if values.len() > 1 { squares / (n - 1.0) } else { 0.0 };
            if n > 0.0 { (count as f64).powi(2) * (1.0 - n / count as f64) * spread / n } else { 0.0 }
        })
        .collect();
    let all: f64 = variances.iter().sum();
    let strata =
        counts.iter().zip(measured).zip(&variances).enumerate().filter(|(_, ((count, _), _))| **count > 0);
    let strata = strata.map(|(index, ((&count, values), variance))| {
        let share = count as f64 * mean(values, |v| v.0) / plain;
        Stratum {
            low: EDGES[index],
            high: EDGES[index + 1],
            tokens: count,
            share: count as f64 / tokens as f64,
            measured: values.len(),
            mean_norm: mean(values, |v| v.0),
            norm_share: share,
            // Linearised: the share's own total moves it by 1 - share, the others' by -share.
            standard_error: (variance * (1.0 - share).powi(2) + (all - variance) * share.powi(2)).sqrt()
                / plain,
            rectified_share: count as f64 * mean(values, |v| v.1) / left,
        }
    });
    GradientShares {
        strata: strata.collect(),
        tokens,
        measured: measured.iter().map(Vec::len).sum(),
        rectified_total: left / plain,
    }
}

/// How many of each stratum to take: equal parts of the budget, what a stratum cannot use goes to the others.
fn allocate(counts: &[usize], budget: usize) -> Vec<usize> {
    let mut taken = vec![0; counts.len()];
    let mut left = budget;
    loop {
        let open: Vec<usize> = (0..counts.len()).filter(|&i| taken[i] < counts[i]).collect();
        if open.is_empty() || left == 0 {
            return taken;
        }
        let part = (left / open.len()).max(1);
        for i in open {
            let take = part.min(counts[i] - taken[i]).min(left);
            taken[i] += take;
            left -= take;
        }
    }
}

/// `take` of the values, without replacement (the first steps of Fisher and Yates' shuffle).
fn draw<T: Copy>(values: &[T], take: usize, stream: Stream) -> Vec<T> {
    let mut values = values.to_vec();
    let take = take.min(values.len());
    for at in 0..take {
        let rest = values.len() - at;
        let other = at + ((stream.uniform(at as u64) * rest as f64) as usize).min(rest - 1);
        values.swap(at, other);
    }
    values.truncate(take);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_shared() {
        assert_eq!(allocate(&[100, 0, 100], 20), [10, 0, 10]);
        assert_eq!(allocate(&[3, 50, 50], 21), [3, 9, 9]);
        assert_eq!(allocate(&[2, 1], 50), [2, 1]);
        assert_eq!(allocate(&[5, 5, 5], 2), [1, 1, 0]);
    }

    #[test]
    fn nothing_is_drawn_twice() {
        let mut drawn = draw(&(0..50).collect::<Vec<i32>>(), 30, Stream::new(1));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 30);
    }

    #[test]
    fn strata_weigh_as_many_tokens_as_they_have() {
        // Ten tokens of norm 4, of which two were measured, and ninety of norm 1, one of them measured.
        let mut counts = vec![0; 7];
        (counts[0], counts[6]) = (10, 90);
        let mut measured = vec![Vec::new(); 7];
        measured[0] = vec![(3.0, 0.0), (5.0, 0.0)];
        measured[6] = vec![(1.0, 1.0)];
        let found = shares(&counts, &measured);
        assert_eq!(found.strata.len(), 2);
        assert!((found.strata[0].norm_share - 40.0 / 130.0).abs() < 1e-15);
        assert_eq!((found.strata[0].rectified_share, found.strata[1].rectified_share), (0.0, 1.0));
        assert!((found.rectified_total - 90.0 / 130.0).abs() < 1e-15);
        // s^2 = 2, total's variance 100 * 0.8 * 2 / 2 = 80; times (90/130)^2, root, over 130.
        assert!((found.strata[0].standard_error - 80f64.sqrt() * (90.0 / 130.0) / 130.0).abs() < 1e-15);
    }
}
