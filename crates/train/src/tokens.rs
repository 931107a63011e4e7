//! What single tokens show of a step: how probable they are, and how much of their gradient the objective lets through.

use gft_model::policy::TokenStats;
use gft_objective::{Method, Source, TokenPoint};
use serde::Serialize;

use crate::collect::RowState;
use crate::passes::RowTargets;

/// Ranges of equal width between 0 and 1.
const RANGES: usize = 10;

/// Targets of a step by probability and by coefficient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Histograms {
    /// Targets with a probability in the first, second ... tenth part of 0 to 1.
    pub probability: [u64; RANGES],
    /// Targets with a coefficient in those parts, and behind them those with a coefficient of 1 and above.
    pub coefficient: [u64; RANGES + 1],
}

impl Default for Histograms {
    fn default() -> Self {
        Self { probability: [0; RANGES], coefficient: [0; RANGES + 1] }
    }
}

fn range(x: f64, ranges: usize) -> usize {
    ((x.max(0.0) * RANGES as f64) as usize).min(ranges - 1)
}

impl Histograms {
    fn add(&mut self, target: &TargetToken) {
        let p = f64::from(target.logprob).exp();
        self.probability[range(p, RANGES)] += 1;
        self.coefficient[range(f64::from(target.coefficient), RANGES + 1)] += 1;
    }

    /// Whether there are no targets.
    pub fn is_empty(&self) -> bool {
        self.probability.iter().all(|count| *count == 0)
    }
}

/// One target of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetToken {
    /// Its log-probability.
    pub logprob: f32,
    /// Its coefficient: the gradient of its loss is `-A c` times that of its log-probability.
    pub coefficient: f32,
}

/// The targets of one row of a pass, counted in `histograms`.
pub(crate) fn targets(
    method: &Method,
    source: Source,
    state: &RowState,
    row: &RowTargets,
    stats: &TokenStats,
    histograms: &mut Histograms,
) -> Vec<TargetToken> {
    let Some(treatment) = method.sources[source] else { return Vec::new() };
    let entropy = stats.entropy.get(row.range.clone());
    let logprobs = stats.logprobs[row.range.clone()].iter().enumerate();
    let targets = logprobs.map(|(i, &logprob)| {
        let old = state.old_logprobs.as_ref().and_then(|old| old.get(i)).unwrap_or(&logprob);
        let point = TokenPoint {
            logprob: f64::from(logprob),
            old_logprob: f64::from(*old),
            entropy: entropy.and_then(|entropy| entropy.get(i)).map_or(0.0, |x| f64::from(*x)),
        };
        let coefficient = treatment.rule.token(state.advantage, &point).coefficient as f32;
        TargetToken { logprob, coefficient }
    });
    let targets: Vec<TargetToken> = targets.collect();
    targets.iter().for_each(|target| histograms.add(target));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_ranges() {
        let mut found = Histograms::default();
        assert!(found.is_empty());
        for (p, coefficient) in [(1.0f32, 1.0f32), (0.05, 0.05), (0.999, 2.5)] {
            found.add(&TargetToken { logprob: p.ln(), coefficient });
        }
        assert_eq!((found.probability[0], found.probability[9]), (1, 2));
        assert_eq!((found.coefficient[0], found.coefficient[9], found.coefficient[10]), (1, 0, 2));
    }
}
