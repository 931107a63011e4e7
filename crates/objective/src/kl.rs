//! The KL penalty to a reference policy, estimated from the sampled tokens.
//!
//! With `d = log p_ref - log p` of the sampled token, Schulman's three estimators of `KL(p || p_ref)` are `k1
//! = -d`, `k2 = d^2 / 2` and `k3 = exp(d) - d - 1` (joschu.net/blog/kl-approx.html). As a *loss* they are not
//! equal: the gradient of `k1` has mean 0, that of `k2` has the gradient of the KL as its mean, and that of
//! `k3` has the gradient of the KL the other way round. Only on the policy's own rows do they estimate a KL
//! at all.

use crate::error::{in_range, same_length};
use crate::names::names;
use crate::rule::LOGPROB_FLOOR;
use crate::seeds::{check_denominator, check_seeds, logprob_at};
use crate::{Error, TokenInputs, ratio::LOG_RATIO_LIMIT};

/// Bound of the value in verl's `low_var_kl`.
const VALUE_LIMIT: f64 = 10.0;

/// Estimator of the KL of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KlEstimator {
    /// `k1 = log p - log p_ref`, gradient 1.
    K1,
    /// `k2 = (log p - log p_ref)^2 / 2`, gradient `log p - log p_ref`.
    K2,
    /// `k3 = exp(d) - d - 1`, gradient `1 - exp(d)`, with `d` held within ±20 to stay finite (TRL, GRPO eq.
    /// 4).
    K3,
    /// `k3` as in verl's `low_var_kl`: `d` clamped to ±20 and the value to ±10; no gradient where a clamp
    /// binds.
    LowVarKl,
}

names!(KlEstimator, "KL estimator", {
    K1 = "k1" | "kl",
    K2 = "k2" | "mse",
    K3 = "k3",
    LowVarKl = "low-var-kl",
});

/// `beta * KL` added to the loss of every token that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KlPenalty {
    /// Weight beta: 0.04 in DeepSeekMath, 0.001 in verl, 0 (off) in TRL.
    pub beta: f64,
    /// Estimator whose value is reported.
    pub estimator: KlEstimator,
    /// Report the estimator's value but use the gradient of `k2` (verl's `k3+`).
    pub straight_through: bool,
}

impl KlPenalty {
    /// Value and gradient with respect to `log p` of one token, without beta.
    pub fn token(&self, logprob: f64, ref_logprob: f64) -> (f64, f64) {
        let d = ref_logprob.max(LOGPROB_FLOOR) - logprob.max(LOGPROB_FLOOR);
        let limited = d.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT);
        let k3 = limited.exp() - limited - 1.0;
        let (value, gradient) = match self.estimator {
            KlEstimator::K1 => (-d, 1.0),
            KlEstimator::K2 => (0.5 * d * d, -d),
            KlEstimator::K3 => (k3, 1.0 - limited.exp()),
            KlEstimator::LowVarKl if k3 > VALUE_LIMIT || d != limited => (k3.min(VALUE_LIMIT), 0.0),
            KlEstimator::LowVarKl => (k3, 1.0 - limited.exp()),
        };
        if self.straight_through { (value, -d) } else { (value, gradient) }
    }

    /// Adds `beta * d KL / d log p / n` to the seeds of a row and returns `beta * sum_t KL_t / n`, its share
    /// of the loss. `KL` itself is that number divided by beta and summed over rows.
    ///
    /// # Errors
    /// [`Error::Missing`] without `ref_logprobs`, [`Error::Length`], [`Error::Logprob`],
    /// [`Error::Denominator`].
    pub fn add_seeds(&self, inputs: &TokenInputs<'_>, n: f64, seeds: &mut [f32]) -> Result<f64, Error> {
        inputs.check_lengths()?;
        same_length("seeds", inputs.logprobs.len(), seeds.len())?;
        check_denominator(n)?;
        let Some(reference) = inputs.ref_logprobs else {
            return Err(Error::Missing { rule: "the KL penalty", what: "ref_logprobs" });
        };
        let mut loss = 0.0;
        for (index, seed) in seeds.iter_mut().enumerate().filter(|(index, _)| inputs.counts(*index)) {
            let logprob = logprob_at("logprobs", inputs.logprobs, index)?;
            let (value, gradient) = self.token(logprob, logprob_at("ref_logprobs", reference, index)?);
            *seed = (f64::from(*seed) + self.beta * gradient / n) as f32;
            loss += self.beta * value / n;
        }
        check_seeds(seeds)?;
        Ok(loss)
    }

    /// Checks the range of beta.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn validate(&self) -> Result<(), Error> {
        in_range("beta", self.beta, 0.0, f64::MAX, "a number >= 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn penalty(estimator: KlEstimator) -> KlPenalty {
        KlPenalty { beta: 0.5, estimator, straight_through: false }
    }

    #[test]
    fn gradients_are_derivatives_of_the_values() {
        for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3, KlEstimator::LowVarKl] {
            for reference in [-0.2, -1.0, -2.5, -3.0] {
                let (logprob, h) = (-1.3, 1e-5);
                let value = |logprob| penalty(estimator).token(logprob, reference).0;
                let slope = (value(logprob + h) - value(logprob - h)) / (2.0 * h);
                let gradient = penalty(estimator).token(logprob, reference).1;
                // 1e-8: a central difference with h = 1e-5 errs by h^2 f''' / 6 and by rounding / h.
                assert!((slope - gradient).abs() < 1e-8, "{estimator:?} {reference}: {slope} {gradient}");
            }
        }
    }

    #[test]
    fn equal_policies_have_no_penalty() {
        for estimator in [KlEstimator::K2, KlEstimator::K3, KlEstimator::LowVarKl] {
            assert_eq!(penalty(estimator).token(-1.0, -1.0).0, 0.0);
            assert_eq!(penalty(estimator).token(-1.0, -1.0).1, 0.0);
        }
    }

    #[test]
    fn verl_stops_the_gradient_where_it_clamps() {
        // d = 3: exp(3) - 4 = 16 > 10.
        assert_eq!(penalty(KlEstimator::LowVarKl).token(-4.0, -1.0), (10.0, 0.0));
        assert_eq!(penalty(KlEstimator::LowVarKl).token(-0.0, -12.0), (10.0, 0.0));
        let (value, gradient) = penalty(KlEstimator::K3).token(f64::NEG_INFINITY, 0.0);
        assert!(value.is_finite() && gradient.is_finite() && gradient < 0.0);
    }

    #[test]
    fn straight_through_reports_one_and_pulls_with_the_other() {
        let plus = KlPenalty { straight_through: true, ..penalty(KlEstimator::K3) };
        let (k3, _) = penalty(KlEstimator::K3).token(-1.0, -1.5);
        let (_, k2_gradient) = penalty(KlEstimator::K2).token(-1.0, -1.5);
        assert_eq!(plus.token(-1.0, -1.5), (k3, k2_gradient));
    }

    #[test]
    fn seeds_are_added_to_those_of_the_policy() {
        let inputs = TokenInputs {
            logprobs: &[-1.0, f32::NAN],
            ref_logprobs: Some(&[-2.0, f32::NAN]),
            mask: Some(&[true, false]),
            ..Default::default()
        };
        let mut seeds = [0.25, 0.0];
        let loss = penalty(KlEstimator::K2).add_seeds(&inputs, 4.0, &mut seeds).unwrap();
        assert_eq!((loss, seeds), (0.5 * 0.5 / 4.0, [0.25 + 0.5 * 1.0 / 4.0, 0.0]));
        let bare = TokenInputs { ref_logprobs: None, ..inputs };
        assert!(matches!(
            penalty(KlEstimator::K2).add_seeds(&bare, 4.0, &mut seeds),
            Err(Error::Missing { .. })
        ));
    }
}
