//! How much demonstrations weigh over the course of training: CHORD's mu, IDFT's ramp, HPT's gate.

use std::f64::consts::PI;

/// CHORD's schedule of mu (arXiv 2508.11408; formula of Trinity-RFT): linear warm-up from 0 to the peak,
/// cosine to the valley, then the valley. CHORD-mu: 0, 200, 0.9, 0.05. The published example: 200, 400, 0.5,
/// 0.02.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChordMu {
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Steps of cosine decay after it.
    pub decay_steps: u64,
    /// Largest mu.
    pub peak: f64,
    /// Last mu.
    pub valley: f64,
}

impl ChordMu {
    /// mu at the 0-based optimizer step `step`.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64 * self.peak;
        }
        let since = step - self.warmup_steps;
        if since >= self.decay_steps {
            return self.valley;
        }
        let cosine = 0.5 * (1.0 + (PI * since as f64 / self.decay_steps as f64).cos());
        (self.peak - self.valley) * cosine + self.valley
    }
}

/// IDFT's ramp lambda (arXiv 2602.12222): 0 for the first 20 % of training, then linear to 1 over the next 10
/// %. `progress` is the finished share of training in [0, 1].
pub fn idft_ramp(progress: f64) -> f64 {
    ((progress - 0.2) / 0.1).clamp(0.0, 1.0)
}

/// What HPT trains on for one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HptChoice {
    /// One demonstration with the SFT loss; the rollouts are dropped.
    Demonstration,
    /// The rollouts with the GRPO loss.
    Rollouts,
}

/// HPT's gate (arXiv 2509.04419): a prompt of which at most `gate` rollouts are right is learned from its
/// demonstration. Their script has gate 0 and 8 rollouts.
pub fn hpt_gate(right: usize, gate: usize) -> HptChoice {
    if right <= gate { HptChoice::Demonstration } else { HptChoice::Rollouts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_by_hand() {
        let mu = ChordMu { warmup_steps: 4, decay_steps: 10, peak: 0.8, valley: 0.2 };
        for (step, expected) in [(0, 0.0), (1, 0.2), (4, 0.8), (9, 0.5), (14, 0.2), (1000, 0.2)] {
            // 1e-15: one rounding of a cosine.
            assert!((mu.at(step) - expected).abs() < 1e-15, "{step}");
        }
        let constant = ChordMu { warmup_steps: 0, decay_steps: 0, peak: 0.1, valley: 0.1 };
        assert_eq!(constant.at(0), 0.1);
    }

    #[test]
    fn the_ramp_waits_then_rises() {
        // 1e-12: 0.3 - 0.2 and its quotient by 0.1 round.
        for (progress, expected) in [(0.0, 0.0), (0.2, 0.0), (0.25, 0.5), (0.3, 1.0), (1.0, 1.0)] {
            assert!((idft_ramp(progress) - expected).abs() < 1e-12, "{progress}");
        }
    }

    #[test]
    fn unsolved_prompts_are_shown() {
        assert_eq!(hpt_gate(0, 0), HptChoice::Demonstration);
        assert_eq!(hpt_gate(1, 0), HptChoice::Rollouts);
        assert_eq!(hpt_gate(2, 2), HptChoice::Demonstration);
    }
}
