//! Whether the weights may be updated from a step: a decision that the caller branches on.
//!
//! Multiplying a bad update by 0 does not undo it, because `0 * NaN` is NaN, in the weights and in the
//! moments. So the guard returns a [`Decision`] and the caller calls its optimizer, or does not. A number
//! that cannot be compared (a NaN z-score) is a reason to skip, never one to accept.

use std::collections::VecDeque;

/// Default of [`GuardConfig::ceiling`]: the square root of the largest `f32`, 1.8e19. A gradient element
/// beyond it overflows the second moment of AdamW, which is its square in `f32`.
pub const CEILING: f64 = 1.844_674_352_395_373e19;

/// When a step is refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardConfig {
    /// Refused steps in a row after which training stops: 10.
    pub abort_after: u32,
    /// Largest magnitude of loss or gradient norm.
    pub ceiling: f64,
    /// Also refuse outliers.
    pub spikes: Option<SpikeRule>,
}

/// A step is an outlier when its loss or its gradient norm lies more than `z_max` standard deviations above
/// the mean of the last accepted ones (llm.c, OLMo-core).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpikeRule {
    /// Accepted steps that are remembered: 128.
    pub window: usize,
    /// Accepted steps needed before the rule applies, at most the window: 128.
    pub needed: usize,
    /// Largest z-score: 6.
    pub z_max: f64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        GuardConfig { abort_after: 10, ceiling: CEILING, spikes: None }
    }
}

impl Default for SpikeRule {
    fn default() -> Self {
        SpikeRule { window: 128, needed: 128, z_max: 6.0 }
    }
}

/// What the guard remembers between steps. It belongs into the checkpoint: a resumed run must decide as a run
/// that never stopped.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GuardHistory {
    /// Refused steps in a row.
    pub skipped: u32,
    /// Losses of the last accepted steps, oldest first.
    pub losses: VecDeque<f64>,
    /// Gradient norms of the last accepted steps, before clipping, oldest first.
    pub grad_norms: VecDeque<f64>,
}

/// Why a step was refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// The loss is NaN or infinite.
    LossNotFinite(f64),
    /// The gradient norm is NaN or infinite.
    GradNormNotFinite(f64),
    /// The loss lies beyond the ceiling.
    LossTooLarge(f64),
    /// The gradient norm lies beyond the ceiling.
    GradNormTooLarge(f64),
    /// The z-score of the loss is too large, or NaN.
    LossSpike(f64),
    /// The z-score of the gradient norm is too large, or NaN.
    GradNormSpike(f64),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::LossNotFinite(value) => write!(f, "the loss is {value}"),
            Reason::GradNormNotFinite(value) => write!(f, "the gradient norm is {value}"),
            Reason::LossTooLarge(value) => write!(f, "the loss {value:e} is beyond the ceiling"),
            Reason::GradNormTooLarge(value) => write!(f, "the gradient norm {value:e} is beyond the ceiling"),
            Reason::LossSpike(z) => write!(f, "the loss lies {z:.1} standard deviations above the last ones"),
            Reason::GradNormSpike(z) => {
                write!(f, "the gradient norm lies {z:.1} standard deviations above the last ones")
            }
        }
    }
}

/// What to do with a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// Update the weights.
    Accept,
    /// Touch neither weights nor moments nor the optimizer's step count.
    Skip(Reason),
    /// As `Skip`, and stop: this is refusal number `skipped` in a row.
    Abort {
        /// Why the last step was refused.
        reason: Reason,
        /// Refusals in a row, this one included.
        skipped: u32,
    },
}

/// Decides on a step from its loss and its gradient norm before clipping.
///
/// ```
/// use gft_objective::{Decision, GuardConfig, GuardHistory, decide};
///
/// let config = GuardConfig::default();
/// let mut history = GuardHistory::default();
/// for (loss, grad_norm) in [(0.7, 1.2), (f64::NAN, 1.0), (0.6, 1.1)] {
///     let decision = decide(&config, &history, loss, grad_norm);
///     if decision == Decision::Accept { /* optimizer.step() */ }
///     history.record(&config, decision, loss, grad_norm);
/// }
/// assert_eq!(history.skipped, 0);
/// ```
pub fn decide(config: &GuardConfig, history: &GuardHistory, loss: f64, grad_norm: f64) -> Decision {
    match refusal(config, history, loss, grad_norm) {
        None => Decision::Accept,
        Some(reason) => {
            let skipped = history.skipped.saturating_add(1);
            if skipped >= config.abort_after {
                Decision::Abort { reason, skipped }
            } else {
                Decision::Skip(reason)
            }
        }
    }
}

fn refusal(config: &GuardConfig, history: &GuardHistory, loss: f64, grad_norm: f64) -> Option<Reason> {
    if !loss.is_finite() {
        return Some(Reason::LossNotFinite(loss));
    }
    if !grad_norm.is_finite() {
        return Some(Reason::GradNormNotFinite(grad_norm));
    }
    if loss.abs() > config.ceiling {
        return Some(Reason::LossTooLarge(loss));
    }
    if grad_norm.abs() > config.ceiling {
        return Some(Reason::GradNormTooLarge(grad_norm));
    }
    let rule = config.spikes?;
    let loss_z = z_score(&history.losses, &rule, loss);
    let norm_z = z_score(&history.grad_norms, &rule, grad_norm);
    // Written so that NaN refuses: `z > z_max` would let it through.
    let fine = |z: f64| z <= rule.z_max;
    match (loss_z, norm_z) {
        (Some(z), _) if !fine(z) => Some(Reason::LossSpike(z)),
        (_, Some(z)) if !fine(z) => Some(Reason::GradNormSpike(z)),
        _ => None,
    }
}

/// z-score of `value` among the last accepted ones; `None` while there are too few of them. A value equal to
/// a history that never varied has z-score 0; any other value then has an infinite one.
fn z_score(last: &VecDeque<f64>, rule: &SpikeRule, value: f64) -> Option<f64> {
    if last.is_empty() || last.len() < rule.needed.min(rule.window) {
        return None;
    }
    let count = last.len() as f64;
    let mean = last.iter().sum::<f64>() / count;
    let variance = last.iter().map(|old| (old - mean) * (old - mean)).sum::<f64>() / count;
    let difference = value - mean;
    Some(if difference == 0.0 { 0.0 } else { difference / variance.sqrt() })
}

impl GuardHistory {
    /// Takes note of a decided step. Only accepted steps enter the window.
    pub fn record(&mut self, config: &GuardConfig, decision: Decision, loss: f64, grad_norm: f64) {
        if decision != Decision::Accept {
            self.skipped = self.skipped.saturating_add(1);
            return;
        }
        self.skipped = 0;
        let Some(rule) = config.spikes else { return };
        for (window, value) in [(&mut self.losses, loss), (&mut self.grad_norms, grad_norm)] {
            window.push_back(value);
            while window.len() > rule.window {
                window.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: [f64; 4] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e38];

    #[test]
    fn bad_numbers_are_refused_and_the_next_step_is_accepted() {
        let config = GuardConfig::default();
        for bad in BAD {
            for (loss, grad_norm) in [(bad, 1.0), (1.0, bad)] {
                let mut history = GuardHistory::default();
                let decision = decide(&config, &history, loss, grad_norm);
                assert!(matches!(decision, Decision::Skip(_)), "{loss} {grad_norm}: {decision:?}");
                history.record(&config, decision, loss, grad_norm);
                assert_eq!(history.skipped, 1);
                assert_eq!(decide(&config, &history, 1.0, 1.0), Decision::Accept);
            }
        }
    }

    #[test]
    fn a_row_of_refusals_stops_the_run() {
        let config = GuardConfig { abort_after: 3, ..Default::default() };
        let mut history = GuardHistory::default();
        let mut step = |loss: f64| {
            let decision = decide(&config, &history, loss, 1.0);
            history.record(&config, decision, loss, 1.0);
            decision
        };
        assert!(matches!(step(f64::NAN), Decision::Skip(Reason::LossNotFinite(_))));
        assert!(matches!(step(f64::NAN), Decision::Skip(_)));
        assert_eq!(step(1.0), Decision::Accept, "an accepted step starts the count anew");
        assert!(matches!(step(f64::INFINITY), Decision::Skip(_)));
        assert!(matches!(step(f64::INFINITY), Decision::Skip(_)));
        assert!(matches!(step(f64::INFINITY), Decision::Abort { skipped: 3, .. }));
    }

    #[test]
    fn the_ceiling_is_where_a_square_leaves_f32() {
        assert!((CEILING as f32 * CEILING as f32).is_finite());
        assert!((CEILING * 1.000_001).powi(2) > f64::from(f32::MAX));
    }

    fn with_window(losses: &[f64]) -> (GuardConfig, GuardHistory) {
        let rule = SpikeRule { window: 4, needed: 4, z_max: 3.0 };
        let config = GuardConfig { spikes: Some(rule), ..Default::default() };
        let mut history = GuardHistory::default();
        for loss in losses {
            history.record(&config, Decision::Accept, *loss, *loss);
        }
        (config, history)
    }

    #[test]
    fn outliers_are_refused_once_there_is_a_history() {
        let (config, history) = with_window(&[1.0, 3.0, 1.0, 3.0]);
        // Mean 2, standard deviation 1: 5 is at the limit, 5.1 beyond it; far below is welcome.
        assert_eq!(decide(&config, &history, 5.0, 2.0), Decision::Accept);
        assert!(matches!(decide(&config, &history, 5.1, 2.0), Decision::Skip(Reason::LossSpike(_))));
        assert!(matches!(decide(&config, &history, 2.0, 5.1), Decision::Skip(Reason::GradNormSpike(_))));
        assert_eq!(decide(&config, &history, -9.0, 0.0), Decision::Accept);
        let (config, short) = with_window(&[1.0, 3.0, 1.0]);
        assert_eq!(decide(&config, &short, 500.0, 2.0), Decision::Accept);
    }

    #[test]
    fn refused_steps_do_not_enter_the_window() {
        let (config, mut history) = with_window(&[1.0, 3.0, 1.0, 3.0]);
        let before = history.losses.clone();
        history.record(&config, Decision::Skip(Reason::LossSpike(9.0)), 100.0, 100.0);
        assert_eq!(history.losses, before);
        history.record(&config, Decision::Accept, 2.0, 2.0);
        assert_eq!(history.losses, [3.0, 1.0, 3.0, 2.0]);
    }

    #[test]
    fn a_z_score_that_is_no_number_does_not_update() {
        let (config, mut history) = with_window(&[1.0; 4]);
        assert_eq!(decide(&config, &history, 1.0, 1.0), Decision::Accept);
        assert!(matches!(decide(&config, &history, 1.1, 1.0), Decision::Skip(Reason::LossSpike(_))));
        history.losses[0] = f64::NAN;
        assert!(
            matches!(decide(&config, &history, 1.0, 1.0), Decision::Skip(Reason::LossSpike(z)) if z.is_nan())
        );
    }
}
