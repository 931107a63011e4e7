//! The clipped surrogate of PPO and its relatives.

use crate::rule::{LOGPROB_FLOOR, Mark, Token, TokenPoint};

/// Bound of `|log p - log p_old|`, as in verl: `exp(20)` is 4.9e8, still far from overflow in `f32`.
pub const LOG_RATIO_LIMIT: f64 = 20.0;

/// `log p - log p_old`, both raised to [`LOGPROB_FLOOR`], not yet limited.
fn raw_log_ratio(at: &TokenPoint) -> f64 {
    at.logprob.max(LOGPROB_FLOOR) - at.old_logprob.max(LOGPROB_FLOOR)
}

/// `log p - log p_old`, held within ±[`LOG_RATIO_LIMIT`].
pub(crate) fn log_ratio(at: &TokenPoint) -> f64 {
    raw_log_ratio(at).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
}

/// `-min(r A, clip(r, 1 - eps_low, 1 + eps_high) A)`, and for `A < 0` at most `-dual_clip A`.
///
/// For `A > 0` only the upper bound can bind: raising `p` further earns nothing. For `A < 0` only the lower
/// one: lowering it further earns nothing; while a ratio that has run away upwards keeps its whole pull back,
/// up to the dual clip. On a bound itself the gradient is the free one, as in torch's `clamp`. Where the
/// limit of the log-ratio binds, the loss no longer moves with `log p` and the coefficient is 0.
pub(crate) fn clipped(
    advantage: f64,
    at: &TokenPoint,
    eps_low: f64,
    eps_high: f64,
    dual_clip: Option<f64>,
) -> Token {
    let raw = raw_log_ratio(at);
    let r = raw.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp();
    let stopped = |bound: f64, mark: Mark| Token { coefficient: 0.0, loss: -advantage * bound, mark };
    if advantage > 0.0 && r > 1.0 + eps_high {
        return stopped(1.0 + eps_high, Mark::ClippedHigh);
    }
    if advantage < 0.0 && r < 1.0 - eps_low {
        return stopped(1.0 - eps_low, Mark::ClippedLow);
    }
    if let Some(bound) = dual_clip
        && advantage < 0.0
        && r > bound
    {
        return stopped(bound, Mark::ClippedDual);
    }
    let coefficient = if raw.abs() > LOG_RATIO_LIMIT { 0.0 } else { r };
    Token { coefficient, loss: -advantage * r, mark: Mark::Free }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Advantage, ratio -> (coefficient, loss, mark) at eps 0.2 / 0.28, dual clip 3.
    fn token(advantage: f64, ratio: f64) -> (f64, f64, Mark) {
        let at = TokenPoint { logprob: -30.0 + ratio.ln(), old_logprob: -30.0, entropy: 0.0 };
        let token = clipped(advantage, &at, 0.2, 0.28, Some(3.0));
        (token.coefficient, token.loss, token.mark)
    }

    #[test]
    fn each_sign_is_clipped_on_its_own_side() {
        assert_eq!(token(2.0, 1.5), (0.0, -2.0 * 1.28, Mark::ClippedHigh));
        assert_eq!(token(-2.0, 0.5), (0.0, 2.0 * 0.8, Mark::ClippedLow));
        assert_eq!(token(-2.0, 3.5), (0.0, 2.0 * 3.0, Mark::ClippedDual));
        for (advantage, ratio) in [(2.0, 0.5), (2.0, 1.1), (-2.0, 0.9), (-2.0, 1.5), (-2.0, 2.9)] {
            let (coefficient, loss, mark) = token(advantage, ratio);
            // 1e-13: ln and exp around -30 round in the fifteenth digit.
            assert!((coefficient - ratio).abs() < 1e-13 && (loss + advantage * ratio).abs() < 1e-13);
            assert_eq!(mark, Mark::Free);
        }
    }

    #[test]
    fn no_advantage_no_clip() {
        let (_, loss, mark) = token(0.0, 1e6);
        assert_eq!((loss, mark), (0.0, Mark::Free));
    }

    #[test]
    fn a_ratio_beyond_the_limit_stays_finite_and_has_no_gradient() {
        let at = TokenPoint { logprob: 0.0, old_logprob: f64::NEG_INFINITY, entropy: 0.0 };
        let token = clipped(-1.0, &at, 0.2, 0.2, None);
        assert_eq!((token.coefficient, token.loss), (0.0, 20.0_f64.exp()));
    }
}
