//! The gradient against central differences in f64: with the coefficients held constant they agree, and where
//! the coefficient is a detached function of the probability they must not agree without holding it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

use gft_objective::{Boundary, Rule, TokenInputs, TokenPoint, token_seeds};

const STEP: f64 = 1e-5;

/// Central differences with a step of 1e-5 err by `h^2 f''' / 6` (about 1e-9 for losses of this size) and by
/// the rounding of the loss divided by h (1e-16 * 20 / 1e-5 = 2e-10).
const DIFFERENCE: f64 = 1e-8;

const RULES: [Rule; 15] = [
    Rule::Plain,
    Rule::Dft,
    Rule::Dcr { tau: 0.1, boundary: Boundary::Below },
    Rule::Dcr { tau: 0.7, boundary: Boundary::Below },
    Rule::Dcr { tau: 0.7, boundary: Boundary::AtOrBelow },
    Rule::SmoothDcr { tau: 0.5 },
    Rule::Ratio,
    Rule::RatioClip { eps_low: 0.2, eps_high: 0.2, dual_clip: None },
    Rule::RatioClip { eps_low: 0.2, eps_high: 0.28, dual_clip: Some(1.5) },
    Rule::Cispo { eps_max: 1.2 },
    Rule::Psft { eps_high: 0.28 },
    Rule::Luffy { gamma: 0.1 },
    Rule::Chord,
    Rule::Idft { beta: 1.0, low: 0.1, high: 2.0, lambda: 0.7 },
    Rule::Eaft { alpha: 1.5, scale: 3.0 },
];

/// Tokens of a row: probabilities on both sides of every threshold, ratios inside and outside of every clip.
fn points() -> impl Iterator<Item = TokenPoint> {
    let probabilities = [1e-4, 0.03, 0.08, 0.15, 0.33, 0.45, 0.66, 0.85, 0.97];
    let log_ratios = [-1.1, -0.3, -0.05, 0.1, 0.21, 0.35, 0.6];
    probabilities.into_iter().flat_map(move |p: f64| {
        log_ratios.into_iter().map(move |log_ratio| {
            let logprob = p.ln();
            TokenPoint { logprob, old_logprob: logprob - log_ratio, entropy: 1.3 }
        })
    })
}

fn at(point: &TokenPoint, logprob: f64) -> TokenPoint {
    TokenPoint { logprob, ..*point }
}

/// The loss as a function of `log p` as the method means it: a detached coefficient stays where it was.
fn frozen_loss(rule: &Rule, advantage: f64, point: &TokenPoint, logprob: f64) -> f64 {
    if rule.is_detached() {
        -advantage * rule.token(advantage, point).coefficient * logprob
    } else {
        rule.token(advantage, &at(point, logprob)).loss
    }
}

fn slope(loss: impl Fn(f64) -> f64, logprob: f64) -> f64 {
    (loss(logprob + STEP) - loss(logprob - STEP)) / (2.0 * STEP)
}

#[test]
fn the_gradient_is_the_derivative_with_coefficients_frozen() {
    for rule in RULES {
        for advantage in [1.7, -0.6, 0.0] {
            for point in points() {
                let gradient = -advantage * rule.token(advantage, &point).coefficient;
                let expected = slope(|logprob| frozen_loss(&rule, advantage, &point, logprob), point.logprob);
                assert!(
                    (gradient - expected).abs() <= DIFFERENCE,
                    "{rule}, A {advantage}, {point:?}: {gradient} != {expected}"
                );
            }
        }
    }
}

#[test]
fn the_reported_loss_is_the_frozen_one() {
    for rule in RULES {
        for point in points() {
            let reported = rule.token(1.7, &point).loss;
            // 1e-13: the order of two products.
            assert!((reported - frozen_loss(&rule, 1.7, &point, point.logprob)).abs() < 1e-13, "{rule}");
        }
    }
}

/// Proves the stop-gradient: differentiating through the coefficient gives another gradient.
#[test]
fn the_gradient_is_not_the_derivative_through_a_detached_coefficient() {
    let detached = |rule: &&Rule| {
        rule.is_detached() && !matches!(rule, Rule::Plain | Rule::Eaft { .. } | Rule::Cispo { .. })
    };
    let mut seen = Vec::new();
    for rule in RULES.iter().filter(detached) {
        seen.push(rule.name());
        for advantage in [1.7, -0.6] {
            // A token whose coefficient is p or a smooth function of it: not on the flat part of DCR.
            let point = TokenPoint { logprob: 0.08_f64.ln(), old_logprob: -2.0, entropy: 1.3 };
            let gradient = -advantage * rule.token(advantage, &point).coefficient;
            let through = slope(|logprob| rule.token(advantage, &at(&point, logprob)).loss, point.logprob);
            // d(-A c log p) = -A c - A c' log p, and the second term is at least a tenth of the first here.
            assert!((gradient - through).abs() > 0.1 * gradient.abs(), "{rule}: {gradient} {through}");
        }
    }
    assert_eq!(seen, ["dft", "dcr", "dcr", "dcr", "smooth-dcr", "chord", "idft"]);
}

#[test]
fn cispo_is_detached_where_it_is_not_bounded() {
    let rule = Rule::Cispo { eps_max: 1.2 };
    let point = TokenPoint { logprob: -1.0, old_logprob: -1.0, entropy: 0.0 };
    let through = slope(|logprob| rule.token(1.0, &at(&point, logprob)).loss, -1.0);
    let gradient = -rule.token(1.0, &point).coefficient;
    assert_eq!(gradient, -1.0);
    // Through r the derivative is -(r + r log p) = 0 at log p = -1.
    assert!(through.abs() < DIFFERENCE);
}

/// The seeds of the slice interface are the scalar gradient over the denominator.
#[test]
fn seeds_are_the_gradient_over_the_denominator() {
    let points: Vec<TokenPoint> = points().collect();
    let logprobs: Vec<f32> = points.iter().map(|point| point.logprob as f32).collect();
    let old: Vec<f32> = points.iter().map(|point| point.old_logprob.min(0.0) as f32).collect();
    let entropy = vec![1.3; points.len()];
    for rule in RULES {
        let inputs = TokenInputs {
            logprobs: &logprobs,
            old_logprobs: Some(&old),
            entropy: Some(&entropy),
            ..Default::default()
        };
        let mut seeds = vec![0.0; logprobs.len()];
        let summary = token_seeds(&rule, -0.6, &inputs, 17.0, &mut seeds).unwrap();
        let mut loss = 0.0;
        for (index, found) in seeds.iter().enumerate() {
            let point = TokenPoint {
                logprob: f64::from(logprobs[index]),
                old_logprob: f64::from(old[index]),
                entropy: f64::from(entropy[index]),
            };
            let token = rule.token(-0.6, &point);
            assert_eq!(*found, (0.6 * token.coefficient / 17.0) as f32, "{rule}");
            loss += token.loss / 17.0;
        }
        assert_eq!(summary.loss.to_bits(), loss.to_bits(), "{rule}");
    }
}
