//! One row of a micro-batch: log-probabilities in, seeds of the backward pass and the loss out.
//!
//! The seed of a token is `d loss / d log p_t = -A c_t / N`, one `f32` for each token of the row. Everything
//! between the `f32` input and the `f32` seed is computed in `f64`.

use crate::error::same_length;
use crate::rule::{Token, TokenPoint};
use crate::{Error, Rule, TokenSummary};

/// Largest log-probability taken for rounding of a softmax rather than for an error.
const LOGPROB_ROUNDING: f32 = 1e-3;

/// The statistics of one row of `T` tokens. `logprobs` is always there; what else is read depends on the
/// method.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenInputs<'a> {
    /// `log p_t` of the row's tokens under the policy now, in nats, `[T]`. `-inf` is allowed, NaN is not.
    pub logprobs: &'a [f32],
    /// `log p_t` under the policy that sampled the row, or that stood at the start of the batch, `[T]`.
    pub old_logprobs: Option<&'a [f32]>,
    /// `log p_t` under the reference policy, for the KL penalty, `[T]`.
    pub ref_logprobs: Option<&'a [f32]>,
    /// Entropy of the predictive distribution in nats, `[T]`; for EAFT that of the 20 most likely tokens.
    pub entropy: Option<&'a [f32]>,
    /// `KL(p_ref || p)` over the whole vocabulary in nats, for ASFT, `[T]`.
    pub reference_kl: Option<&'a [f32]>,
    /// Which tokens count, `[T]`; all of them when absent. What stands at a token that does not count is not
    /// read.
    pub mask: Option<&'a [bool]>,
}

impl TokenInputs<'_> {
    /// Number of tokens that count.
    pub fn counted(&self) -> usize {
        match self.mask {
            Some(mask) => mask.iter().filter(|counts| **counts).count(),
            None => self.logprobs.len(),
        }
    }

    /// True when token `index` counts.
    pub(crate) fn counts(&self, index: usize) -> bool {
        self.mask.is_none_or(|mask| mask.get(index).copied().unwrap_or(false))
    }

    /// Checks that all slices have one length.
    pub(crate) fn check_lengths(&self) -> Result<(), Error> {
        let expected = self.logprobs.len();
        let slices = [
            ("old_logprobs", self.old_logprobs),
            ("ref_logprobs", self.ref_logprobs),
            ("entropy", self.entropy),
            ("reference_kl", self.reference_kl),
        ];
        for (what, slice) in slices {
            if let Some(slice) = slice {
                same_length(what, expected, slice.len())?;
            }
        }
        self.mask.map_or(Ok(()), |mask| same_length("mask", expected, mask.len()))
    }
}

/// `values[token]` as a log-probability in `f64`.
pub(crate) fn logprob_at(name: &'static str, values: &[f32], token: usize) -> Result<f64, Error> {
    let value = values.get(token).copied().unwrap_or(f32::NAN);
    if value <= LOGPROB_ROUNDING {
        Ok(f64::from(value))
    } else {
        Err(Error::Logprob { name, token, value: f64::from(value) })
    }
}

/// `values[token]` as a finite statistic in `f64`.
pub(crate) fn statistic_at(name: &'static str, values: &[f32], token: usize) -> Result<f64, Error> {
    let value = f64::from(values.get(token).copied().unwrap_or(f32::NAN));
    if value.is_finite() { Ok(value) } else { Err(Error::Statistic { name, token, value }) }
}

/// Evaluates `rule` on every token of a row that counts and hands it to `visit` with its index and the
/// log-ratio, where `old_logprobs` are there.
///
/// # Errors
/// [`Error::Missing`] when the rule needs an input that is absent; [`Error::Length`], [`Error::Logprob`] and
/// [`Error::Statistic`] for malformed inputs; [`Error::Advantage`] when `advantage` is not finite.
pub(crate) fn for_each_token(
    rule: &Rule,
    advantage: f64,
    inputs: &TokenInputs<'_>,
    mut visit: impl FnMut(usize, &Token, Option<f64>),
) -> Result<(), Error> {
    inputs.check_lengths()?;
    if !advantage.is_finite() {
        return Err(Error::Advantage { value: advantage });
    }
    if rule.needs_old_logprobs() && inputs.old_logprobs.is_none() {
        return Err(Error::Missing { rule: rule.name(), what: "old_logprobs" });
    }
    if rule.needs_entropy() && inputs.entropy.is_none() {
        return Err(Error::Missing { rule: rule.name(), what: "entropy" });
    }
    for index in (0..inputs.logprobs.len()).filter(|index| inputs.counts(*index)) {
        let logprob = logprob_at("logprobs", inputs.logprobs, index)?;
        let old_logprob = match inputs.old_logprobs {
            Some(old) => Some(logprob_at("old_logprobs", old, index)?),
            None => None,
        };
        let entropy = match inputs.entropy {
            Some(entropy) => statistic_at("entropy", entropy, index)?,
            None => 0.0,
        };
        let point = TokenPoint { logprob, old_logprob: old_logprob.unwrap_or(logprob), entropy };
        let log_ratio = old_logprob.map(|_| crate::ratio::log_ratio(&point));
        visit(index, &rule.token(advantage, &point), log_ratio);
    }
    Ok(())
}

/// `-g / n` as the `f32` seed of a token; an exact positive zero when `g` is zero.
pub(crate) fn seed(g: f64, n: f64) -> f32 {
    if g == 0.0 { 0.0 } else { (-g / n) as f32 }
}

/// Checks that every seed is finite.
pub(crate) fn check_seeds(seeds: &[f32]) -> Result<(), Error> {
    let bad = seeds.iter().enumerate().find(|(_, seed)| !seed.is_finite());
    bad.map_or(Ok(()), |(token, value)| Err(Error::Seed { token, value: *value }))
}

/// Checks that `n` can be divided by.
pub(crate) fn check_denominator(n: f64) -> Result<(), Error> {
    if n > 0.0 && n.is_finite() { Ok(()) } else { Err(Error::Denominator { value: n }) }
}

/// Seeds of one row under `rule`: `seeds[t] = -advantage c_t / n`, and 0 where a token does not count.
///
/// `n` is the row's denominator ([`crate::Denominator::of_row`]). The loss in the returned summary is the
/// row's share of the step's loss: shares add up over rows, micro-batches and ranks.
///
/// ```
/// use gft_objective::{Boundary, Rule, TokenInputs, token_seeds};
///
/// // Two tokens with p = 1/4 and p = 1, advantage 2, eight tokens in the whole step.
/// let inputs = TokenInputs { logprobs: &[0.25_f32.ln(), 0.0], ..Default::default() };
/// let rule = Rule::Dcr { tau: 0.7, boundary: Boundary::Below };
/// let mut seeds = [0.0; 2];
/// let row = token_seeds(&rule, 2.0, &inputs, 8.0, &mut seeds)?;
/// assert_eq!(seeds, [-2.0 * 0.25 / 8.0, -2.0 / 8.0]);
/// assert_eq!(row.rectified_fraction(), Some(0.5));
/// # Ok::<(), gft_objective::Error>(())
/// ```
///
/// # Errors
/// [`Error::Missing`] when the rule needs `old_logprobs` or `entropy`; [`Error::Length`] when slices differ;
/// [`Error::Logprob`] for NaN or a positive log-probability at a token that counts; [`Error::Statistic`],
/// [`Error::Advantage`], [`Error::Denominator`] and [`Error::Seed`] for numbers that are not finite.
pub fn token_seeds(
    rule: &Rule,
    advantage: f64,
    inputs: &TokenInputs<'_>,
    n: f64,
    seeds: &mut [f32],
) -> Result<TokenSummary, Error> {
    same_length("seeds", inputs.logprobs.len(), seeds.len())?;
    check_denominator(n)?;
    seeds.fill(0.0);
    let mut summary = TokenSummary::default();
    for_each_token(rule, advantage, inputs, |index, token, log_ratio| {
        if let Some(out) = seeds.get_mut(index) {
            *out = seed(advantage * token.coefficient, n);
        }
        summary.add(advantage, token, log_ratio, n);
    })?;
    check_seeds(seeds)?;
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Boundary;

    const DCR: Rule = Rule::Dcr { tau: 0.7, boundary: Boundary::Below };
    const CLIP: Rule = Rule::RatioClip { eps_low: 0.2, eps_high: 0.2, dual_clip: None };

    fn run(rule: &Rule, advantage: f64, inputs: &TokenInputs<'_>) -> Result<(Vec<f32>, f64), Error> {
        let mut seeds = vec![f32::NAN; inputs.logprobs.len()];
        let summary = token_seeds(rule, advantage, inputs, 4.0, &mut seeds)?;
        Ok((seeds, summary.loss))
    }

    #[test]
    fn masked_tokens_are_not_read() {
        let inputs = TokenInputs {
            logprobs: &[f32::NAN, -1.0, f32::INFINITY],
            mask: Some(&[false, true, false]),
            ..Default::default()
        };
        assert_eq!(inputs.counted(), 1);
        assert_eq!(run(&Rule::Plain, 2.0, &inputs), Ok((vec![0.0, -0.5, 0.0], 0.5)));
    }

    #[test]
    fn numbers_that_are_no_log_probabilities_are_named() {
        for (bad, logprobs) in
            [(f32::NAN, [-1.0, f32::NAN]), (0.5, [-1.0, 0.5]), (f32::INFINITY, [0.0, f32::INFINITY])]
        {
            for advantage in [1.0, 0.0] {
                let error = run(&DCR, advantage, &TokenInputs { logprobs: &logprobs, ..Default::default() })
                    .unwrap_err();
                assert!(matches!(error, Error::Logprob { name: "logprobs", token: 1, .. }), "{bad}: {error}");
            }
        }
        let inputs = TokenInputs { logprobs: &[-1.0], old_logprobs: Some(&[f32::NAN]), ..Default::default() };
        assert!(matches!(
            run(&CLIP, 1.0, &inputs),
            Err(Error::Logprob { name: "old_logprobs", token: 0, .. })
        ));
    }

    #[test]
    fn a_weight_of_zero_wins_over_minus_infinity() {
        let inputs = TokenInputs { logprobs: &[f32::NEG_INFINITY, -1.0], ..Default::default() };
        for (rule, advantage) in [(&DCR, -1.0), (&Rule::Plain, 0.0)] {
            let (seeds, loss) = run(rule, advantage, &inputs).unwrap();
            assert_eq!(seeds[0].to_bits(), 0, "an exact +0");
            assert!(loss.is_finite());
        }
        // A weight that is not zero meets the floor of -1e4.
        assert_eq!(run(&Rule::Plain, 1.0, &inputs), Ok((vec![-0.25, -0.25], (1e4 + 1.0) / 4.0)));
    }

    #[test]
    fn missing_and_misfitting_inputs_are_named() {
        let bare = TokenInputs { logprobs: &[-1.0], ..Default::default() };
        assert_eq!(run(&CLIP, 1.0, &bare), Err(Error::Missing { rule: "ratio-clip", what: "old_logprobs" }));
        let eaft = Rule::Eaft { alpha: 1.0, scale: 3.0 };
        assert_eq!(run(&eaft, 1.0, &bare), Err(Error::Missing { rule: "eaft", what: "entropy" }));
        let short = TokenInputs { old_logprobs: Some(&[]), ..bare };
        assert_eq!(
            run(&CLIP, 1.0, &short),
            Err(Error::Length { what: "old_logprobs", expected: 1, found: 0 })
        );
        let long = TokenInputs { mask: Some(&[true, true]), ..bare };
        assert_eq!(run(&DCR, 1.0, &long), Err(Error::Length { what: "mask", expected: 1, found: 2 }));
        let no_entropy = TokenInputs { entropy: Some(&[f32::NAN]), ..bare };
        assert!(matches!(run(&eaft, 1.0, &no_entropy), Err(Error::Statistic { name: "entropy", .. })));
        assert!(matches!(run(&DCR, f64::NAN, &bare), Err(Error::Advantage { .. })));
        for n in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(token_seeds(&DCR, 1.0, &bare, n, &mut [0.0]), Err(Error::Denominator { .. })));
        }
        assert!(matches!(
            token_seeds(&DCR, 1.0, &bare, 1.0, &mut []),
            Err(Error::Length { what: "seeds", .. })
        ));
    }

    #[test]
    fn a_seed_beyond_f32_is_an_error() {
        let inputs =
            TokenInputs { logprobs: &[-1.0, -1.0], mask: Some(&[false, true]), ..Default::default() };
        assert_eq!(run(&Rule::Plain, 1e60, &inputs), Err(Error::Seed { token: 1, value: f32::NEG_INFINITY }));
    }

    #[test]
    fn an_empty_row_costs_nothing() {
        assert_eq!(run(&DCR, 1.0, &TokenInputs::default()), Ok((vec![], 0.0)));
    }
}
