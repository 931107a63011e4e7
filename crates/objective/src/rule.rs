//! The token rules: from one log-probability to the coefficient of its gradient and to the loss it reports.
//!
//! Every rule is a function of one token. With `p = exp(log p)`, `r = p / p_old` and an advantage `A`, it
//! gives a coefficient `c` such that `d loss / d log p = -A c`, and the loss that the method's paper writes
//! down.
//!
//! Two kinds exist. In a *detached* rule the coefficient is a constant of the loss, `loss = -A sg(c) log p`
//! (DFT, DCR, CISPO ...). In a *surrogate* the loss is a function of `p` and `c` its exact derivative (PPO,
//! LUFFY).

use crate::error::in_range;
use crate::{Error, ratio};

/// Log-probabilities below this are raised to it, so that `-inf` times a weight of 0 is 0 and not NaN.
pub const LOGPROB_FLOOR: f64 = -1e4;

/// At the threshold itself: which side of DCR a token with `p == tau` is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// `p < tau` is rectified (the paper's eq. 5).
    Below,
    /// `p <= tau` is rectified (the published code).
    AtOrBelow,
}

/// How a token's probability weighs its gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// `c = 1`, loss `-A log p`: SFT, REINFORCE.
    Plain,
    /// `c = sg(p)`, loss `-A sg(p) log p`: DFT (arXiv 2508.05629).
    Dft,
    /// `c = sg(p) if p < tau else 1`: dynamic coefficient rectification of GFT (arXiv 2604.14258, eq. 5 and
    /// 21).
    Dcr {
        /// Threshold tau: 0.7 in the paper, 0.1 in the published script. 0 switches the rule off, 1 makes it
        /// DFT.
        tau: f64,
        /// The side of `p == tau`.
        boundary: Boundary,
    },
    /// `c = sg(min(1, p / tau))`: the ends of DCR without its jump at tau. Not in a paper, never called GFT.
    SmoothDcr {
        /// Threshold tau; 0 switches the rule off.
        tau: f64,
    },
    /// `c = r`, loss `-A r`: importance sampling without a clip (LUFFY's own rows).
    Ratio,
    /// Loss `-min(r A, clip(r, 1 - eps_low, 1 + eps_high) A)`, and for `A < 0` at most `-dual_clip A`: PPO
    /// (arXiv 1707.06347), GRPO (2402.03300), DAPO (2503.14476), dual clip (1912.09729).
    /// `c = r` where the loss moves with `r`, else 0.
    RatioClip {
        /// Lower half-width: 0.2.
        eps_low: f64,
        /// Upper half-width: 0.2, 0.28 in DAPO.
        eps_high: f64,
        /// Bound of the ratio for `A < 0`: 3 in verl, 10 in DAPO's script. TRL's `delta`.
        dual_clip: Option<f64>,
    },
    /// `c = sg(min(r, eps_max))`, loss `-A c log p`: CISPO (arXiv 2506.13585) with its upper bound only.
    Cispo {
        /// Upper bound of the ratio itself (not of `r - 1`).
        eps_max: f64,
    },
    /// Loss `-A min(r, 1 + eps_high)` for `A >= 0`: PSFT (arXiv 2508.17784); for `A < 0` the ratio is not
    /// clipped.
    Psft {
        /// Upper half-width: 0.28.
        eps_high: f64,
    },
    /// Loss `-A p / (p + gamma)`, `c = gamma p / (p + gamma)^2`: LUFFY's policy shaping (arXiv 2504.14945).
    Luffy {
        /// Shape: 0.1.
        gamma: f64,
    },
    /// `c = sg(p (1 - p))`: CHORD's phi (arXiv 2508.11408).
    Chord,
    /// `c = sg(p^g)`, `g = 1 + lambda (clip(exp(-(log p + H) / beta), low, high) - 1)`: IDFT (arXiv
    /// 2602.12222).
    Idft {
        /// Temperature beta: 1.
        beta: f64,
        /// Lower bound of the exponent: 0.1.
        low: f64,
        /// Upper bound of the exponent: 2.
        high: f64,
        /// Ramp: 0 is DFT, 1 the full rule; see [`crate::idft_ramp`].
        lambda: f64,
    },
    /// `c = sg((H / scale)^alpha)` with `H` the entropy over the 20 most likely tokens: EAFT (arXiv
    /// 2601.02151).
    Eaft {
        /// Power: 1. 0 is SFT.
        alpha: f64,
        /// Largest entropy: 3.0 (ln 20 = 2.996).
        scale: f64,
    },
}

/// What is known of one token. A rule ignores the fields it does not need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenPoint {
    /// `log p` under the policy now, in nats.
    pub logprob: f64,
    /// `log p` under the policy that the ratio refers to, in nats.
    pub old_logprob: f64,
    /// Entropy of the predictive distribution, in nats.
    pub entropy: f64,
}

/// What a rule did to a token, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The weight is the rule's ordinary one.
    Free,
    /// DCR: the token lies below tau.
    Rectified,
    /// The ratio lies below the region and `A < 0`: no gradient.
    ClippedLow,
    /// The ratio lies above the region and `A > 0`: no gradient (CISPO: a bounded weight).
    ClippedHigh,
    /// The ratio lies above the dual clip and `A < 0`: no gradient.
    ClippedDual,
}

/// Coefficient and loss of one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// `c`: the gradient of the loss with respect to `log p` is `-A c`.
    pub coefficient: f64,
    /// The loss that the method reports for this token, before any denominator.
    pub loss: f64,
    /// What the rule did.
    pub mark: Mark,
}

impl Rule {
    /// Coefficient and loss of one token under advantage `advantage`. All inputs finite or `-inf`.
    ///
    /// Total on such inputs: `-inf` counts as [`LOGPROB_FLOOR`] and the log-ratio is held within ±20.
    pub fn token(&self, advantage: f64, at: &TokenPoint) -> Token {
        let logprob = at.logprob.max(LOGPROB_FLOOR);
        let p = logprob.exp().min(1.0);
        let detached = |coefficient: f64, mark: Mark| Token {
            coefficient,
            loss: -(advantage * coefficient) * logprob,
            mark,
        };
        match *self {
            Rule::Plain => detached(1.0, Mark::Free),
            Rule::Dft => detached(p, Mark::Free),
            Rule::Dcr { tau, boundary } => {
                let below = match boundary {
                    Boundary::Below => p < tau,
                    Boundary::AtOrBelow => p <= tau,
                };
                if below { detached(p, Mark::Rectified) } else { detached(1.0, Mark::Free) }
            }
            Rule::SmoothDcr { tau } if p < tau => detached(p / tau, Mark::Rectified),
            Rule::SmoothDcr { .. } => detached(1.0, Mark::Free),
            Rule::Ratio => ratio::clipped(advantage, at, 1.0, f64::INFINITY, None),
            Rule::RatioClip { eps_low, eps_high, dual_clip } => {
                ratio::clipped(advantage, at, eps_low, eps_high, dual_clip)
            }
            Rule::Psft { eps_high } => ratio::clipped(advantage, at, 1.0, eps_high, None),
            Rule::Cispo { eps_max } => {
                let r = ratio::log_ratio(at).exp();
                if r > eps_max { detached(eps_max, Mark::ClippedHigh) } else { detached(r, Mark::Free) }
            }
            Rule::Luffy { gamma } => Token {
                coefficient: gamma * p / ((p + gamma) * (p + gamma)),
                loss: -advantage * (p / (p + gamma)),
                mark: Mark::Free,
            },
            Rule::Chord => detached(p * (1.0 - p), Mark::Free),
            Rule::Idft { beta, low, high, lambda } => {
                let gamma = (-(logprob + at.entropy) / beta).exp().clamp(low, high);
                let exponent = 1.0 + lambda * (gamma - 1.0);
                detached((exponent * logprob).exp().min(1.0), Mark::Free)
            }
            Rule::Eaft { alpha, scale } => detached((at.entropy / scale).max(0.0).powf(alpha), Mark::Free),
        }
    }

    /// True when the loss is `-A sg(c) log p`; false when it is a function of `p` whose derivative is `-A c`.
    pub fn is_detached(&self) -> bool {
        !matches!(self, Rule::Ratio | Rule::RatioClip { .. } | Rule::Psft { .. } | Rule::Luffy { .. })
    }

    /// True when the rule reads `old_logprobs`.
    pub fn needs_old_logprobs(&self) -> bool {
        matches!(self, Rule::Ratio | Rule::RatioClip { .. } | Rule::Cispo { .. } | Rule::Psft { .. })
    }

    /// True when the rule reads `entropy`.
    pub fn needs_entropy(&self) -> bool {
        matches!(self, Rule::Idft { .. } | Rule::Eaft { .. })
    }

    /// Name of the rule: `plain`, `dft`, `dcr`, `smooth-dcr`, `ratio`, `ratio-clip`, `cispo`, `psft`,
    /// `luffy`, `chord`, `idft`, `eaft`.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Plain => "plain",
            Rule::Dft => "dft",
            Rule::Dcr { .. } => "dcr",
            Rule::SmoothDcr { .. } => "smooth-dcr",
            Rule::Ratio => "ratio",
            Rule::RatioClip { .. } => "ratio-clip",
            Rule::Cispo { .. } => "cispo",
            Rule::Psft { .. } => "psft",
            Rule::Luffy { .. } => "luffy",
            Rule::Chord => "chord",
            Rule::Idft { .. } => "idft",
            Rule::Eaft { .. } => "eaft",
        }
    }

    /// Checks the ranges of the parameters.
    ///
    /// # Errors
    /// [`Error::Parameter`] with the parameter's name, its value and the range.
    pub fn validate(&self) -> Result<(), Error> {
        const POSITIVE: &str = "a positive finite number";
        let positive = |name, value| in_range(name, value, f64::MIN_POSITIVE, f64::MAX, POSITIVE);
        match *self {
            Rule::Plain | Rule::Dft | Rule::Ratio | Rule::Chord => Ok(()),
            Rule::Dcr { tau, .. } | Rule::SmoothDcr { tau } => {
                in_range("tau", tau, 0.0, 1.0, "a probability in [0, 1]")
            }
            Rule::RatioClip { eps_low, eps_high, dual_clip } => {
                in_range("eps_low", eps_low, 0.0, 1.0, "a number in [0, 1]")?;
                in_range("eps_high", eps_high, 0.0, f64::INFINITY, "a number >= 0")?;
                // A dual clip at or below 1 would cut the loss at the on-policy point itself.
                dual_clip.map_or(Ok(()), |c| {
                    in_range("dual_clip", c, 1.0 + f64::EPSILON, f64::MAX, "a number > 1")
                })
            }
            Rule::Cispo { eps_max } => positive("eps_max", eps_max),
            Rule::Psft { eps_high } => in_range("eps_high", eps_high, 0.0, f64::MAX, "a number >= 0"),
            Rule::Luffy { gamma } => positive("gamma", gamma),
            Rule::Idft { beta, low, high, lambda } => {
                positive("beta", beta)?;
                positive("low", low)?;
                in_range("high", high, low, f64::MAX, "a finite number >= low")?;
                in_range("lambda", lambda, 0.0, 1.0, "a number in [0, 1]")
            }
            Rule::Eaft { alpha, scale } => {
                in_range("alpha", alpha, 0.0, f64::MAX, "a number >= 0")?;
                positive("scale", scale)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(p: f64) -> TokenPoint {
        TokenPoint { logprob: p.ln(), old_logprob: p.ln(), entropy: 1.5 }
    }

    fn coefficient(rule: Rule, p: f64) -> f64 {
        rule.token(1.0, &at(p)).coefficient
    }

    #[test]
    fn coefficients_of_the_detached_rules() {
        let dcr = Rule::Dcr { tau: 0.7, boundary: Boundary::Below };
        // (rule, p, coefficient by hand)
        let cases = [
            (Rule::Plain, 0.3, 1.0),
            (Rule::Dft, 0.3, 0.3),
            (dcr, 0.3, 0.3),
            (dcr, 0.9, 1.0),
            (Rule::SmoothDcr { tau: 0.5 }, 0.2, 0.4),
            (Rule::SmoothDcr { tau: 0.5 }, 0.8, 1.0),
            (Rule::SmoothDcr { tau: 0.0 }, 0.0, 1.0),
            (Rule::Luffy { gamma: 0.1 }, 0.1, 0.25),
            (Rule::Luffy { gamma: 0.1 }, 1.0, 0.1 / 1.21),
            (Rule::Chord, 0.5, 0.25),
            (Rule::Eaft { alpha: 1.0, scale: 3.0 }, 0.5, 0.5),
            (Rule::Eaft { alpha: 2.0, scale: 3.0 }, 0.5, 0.25),
        ];
        for (rule, p, expected) in cases {
            // 1e-15: exp(ln p) is p up to one rounding.
            assert!((coefficient(rule, p) - expected).abs() < 1e-15, "{rule} at {p}");
        }
    }

    /// p = 1 is the one probability whose logarithm is exact, so the boundary can be hit.
    #[test]
    fn the_boundary_of_dcr() {
        let below = Rule::Dcr { tau: 1.0, boundary: Boundary::Below };
        let at_or_below = Rule::Dcr { tau: 1.0, boundary: Boundary::AtOrBelow };
        assert_eq!(below.token(1.0, &at(1.0)).mark, Mark::Free);
        assert_eq!(at_or_below.token(1.0, &at(1.0)).mark, Mark::Rectified);
        let tau = 0.25_f64.ln().exp();
        assert_eq!(Rule::Dcr { tau, boundary: Boundary::Below }.token(1.0, &at(0.25)).coefficient, 1.0);
        assert_eq!(Rule::Dcr { tau, boundary: Boundary::AtOrBelow }.token(1.0, &at(0.25)).coefficient, tau);
    }

    #[test]
    fn idft_sharpens_surprise_and_softens_agreement() {
        let rule = Rule::Idft { beta: 1.0, low: 0.1, high: 2.0, lambda: 1.0 };
        // log p + H = 0 gives exponent 1, a large sum the lower bound, a small one the upper bound.
        let token = |logprob, entropy| {
            rule.token(1.0, &TokenPoint { logprob, old_logprob: 0.0, entropy }).coefficient
        };
        // 1e-15: the exponent 1 + lambda (gamma - 1) is rounded.
        for (found, expected) in
            [(token(-1.0, 1.0), -1.0_f64), (token(-1.0, 100.0), -0.1), (token(-9.0, 1.0), -18.0)]
        {
            assert!((found - expected.exp()).abs() < 1e-15);
        }
    }

    #[test]
    fn the_loss_of_negative_advantages_is_bounded_under_dcr() {
        // max over p of C(p) log(1/p) is max(1/e, log(1/tau)).
        for (tau, bound) in [(0.1, 10.0_f64.ln()), (0.5, 2.0_f64.ln()), (0.7, 1.0 / 1.0_f64.exp())] {
            let rule = Rule::Dcr { tau, boundary: Boundary::Below };
            let lowest =
                (1..10_000).map(|i| rule.token(-1.0, &at(f64::from(i) / 1e4)).loss).fold(0.0, f64::min);
            // 1e-3: distance between the grid of probabilities and the maximum.
            assert!(lowest >= -bound - 1e-12 && lowest < -bound + 1e-3, "tau {tau}: {lowest}");
        }
    }

    #[test]
    fn zero_weight_wins_over_minus_infinity() {
        let point = TokenPoint { logprob: f64::NEG_INFINITY, old_logprob: f64::NEG_INFINITY, entropy: 1.0 };
        for rule in [Rule::Dft, Rule::Dcr { tau: 0.7, boundary: Boundary::Below }, Rule::Chord] {
            let token = rule.token(-1.0, &point);
            assert_eq!((token.coefficient, token.loss), (0.0, 0.0), "{rule}");
        }
        assert_eq!(Rule::Plain.token(0.0, &point).loss, 0.0);
        assert_eq!(Rule::Plain.token(1.0, &point).loss, -LOGPROB_FLOOR);
        assert_eq!(
            Rule::RatioClip { eps_low: 0.2, eps_high: 0.2, dual_clip: None }.token(1.0, &point).coefficient,
            1.0
        );
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let clip = |eps_low, eps_high, dual_clip| Rule::RatioClip { eps_low, eps_high, dual_clip };
        let cases = [
            (Rule::Dcr { tau: 1.5, boundary: Boundary::Below }, "tau"),
            (Rule::SmoothDcr { tau: f64::NAN }, "tau"),
            (clip(1.2, 0.2, None), "eps_low"),
            (clip(0.2, -0.1, None), "eps_high"),
            (clip(0.2, 0.2, Some(1.0)), "dual_clip"),
            (Rule::Cispo { eps_max: 0.0 }, "eps_max"),
            (Rule::Psft { eps_high: -1.0 }, "eps_high"),
            (Rule::Luffy { gamma: 0.0 }, "gamma"),
            (Rule::Idft { beta: 0.0, low: 0.1, high: 2.0, lambda: 1.0 }, "beta"),
            (Rule::Idft { beta: 1.0, low: 0.1, high: 0.05, lambda: 1.0 }, "high"),
            (Rule::Eaft { alpha: -1.0, scale: 3.0 }, "alpha"),
        ];
        for (rule, parameter) in cases {
            let error = rule.validate().unwrap_err();
            assert!(matches!(error, Error::Parameter { name, .. } if name == parameter), "{rule}: {error}");
        }
        assert_eq!(clip(0.2, 0.28, Some(10.0)).validate(), Ok(()));
    }
}
