//! What happened to the tokens, for the metrics: sums that add up over rows, micro-batches and ranks.

use std::ops::AddAssign;

use crate::rule::{Mark, Token};
use crate::{BySource, GroupAdvantages};

/// Sums over tokens that count. A token carries a *signal* when the advantage of its row is not 0; the means
/// of coefficients and clips are over those, so that they do not depend on whether rows without a signal were
/// run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenSummary {
    /// Share of the loss of the step: `sum_t loss_t / N`.
    pub loss: f64,
    /// Tokens that count.
    pub tokens: u64,
    /// Tokens that carry a signal.
    pub signal_tokens: u64,
    /// Sum of the coefficients `c_t` over tokens with a signal.
    pub coefficient_sum: f64,
    /// Tokens with a signal below tau.
    pub rectified: u64,
    /// Tokens clipped below (`A < 0`, ratio below the region).
    pub clipped_low: u64,
    /// Tokens clipped above (`A > 0`, ratio above the region; CISPO: weight at its bound).
    pub clipped_high: u64,
    /// Tokens stopped by the dual clip.
    pub clipped_dual: u64,
    /// Ratios `p / p_old` of the tokens with a signal whose `old_logprobs` were given.
    pub ratio: RatioSummary,
}

/// Sums over ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioSummary {
    /// Number of ratios.
    pub tokens: u64,
    /// Smallest ratio; `+inf` without one.
    pub min: f64,
    /// Largest ratio; `-inf` without one.
    pub max: f64,
    /// Sum of the ratios.
    pub sum: f64,
    /// Sum of `|log p - log p_old|`.
    pub abs_log_sum: f64,
}

impl Default for RatioSummary {
    fn default() -> Self {
        RatioSummary { tokens: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0, abs_log_sum: 0.0 }
    }
}

impl TokenSummary {
    /// Adds one token of a row with advantage `advantage` and denominator `n`.
    pub(crate) fn add(&mut self, advantage: f64, token: &Token, log_ratio: Option<f64>, n: f64) {
        self.tokens += 1;
        if advantage == 0.0 {
            return;
        }
        self.loss += token.loss / n;
        self.signal_tokens += 1;
        self.coefficient_sum += token.coefficient;
        match token.mark {
            Mark::Free => {}
            Mark::Rectified => self.rectified += 1,
            Mark::ClippedLow => self.clipped_low += 1,
            Mark::ClippedHigh => self.clipped_high += 1,
            Mark::ClippedDual => self.clipped_dual += 1,
        }
        if let Some(log_ratio) = log_ratio {
            self.ratio.add(log_ratio);
        }
    }

    /// Mean coefficient `c` over tokens with a signal; `None` without one.
    pub fn mean_coefficient(&self) -> Option<f64> {
        mean(self.coefficient_sum, self.signal_tokens)
    }

    /// Share of tokens with a signal that lie below tau (`gft/rectified_frac`).
    pub fn rectified_fraction(&self) -> Option<f64> {
        mean(self.rectified as f64, self.signal_tokens)
    }

    /// Share of tokens clipped below (`clip_ratio/low_mean`).
    pub fn clip_low_fraction(&self) -> Option<f64> {
        mean(self.clipped_low as f64, self.signal_tokens)
    }

    /// Share of tokens clipped above (`clip_ratio/high_mean`).
    pub fn clip_high_fraction(&self) -> Option<f64> {
        mean(self.clipped_high as f64, self.signal_tokens)
    }

    /// Share of tokens stopped by the dual clip (verl's `actor/pg_clipfrac_lower`).
    pub fn clip_dual_fraction(&self) -> Option<f64> {
        mean(self.clipped_dual as f64, self.signal_tokens)
    }
}

impl RatioSummary {
    fn add(&mut self, log_ratio: f64) {
        let ratio = log_ratio.exp();
        self.tokens += 1;
        self.min = self.min.min(ratio);
        self.max = self.max.max(ratio);
        self.sum += ratio;
        self.abs_log_sum += log_ratio.abs();
    }

    /// Mean ratio; `None` without one.
    pub fn mean(&self) -> Option<f64> {
        mean(self.sum, self.tokens)
    }

    /// Mean of `|log p - log p_old|`; `None` without a ratio.
    pub fn mean_abs_log(&self) -> Option<f64> {
        mean(self.abs_log_sum, self.tokens)
    }
}

impl AddAssign for TokenSummary {
    fn add_assign(&mut self, other: TokenSummary) {
        self.loss += other.loss;
        self.tokens += other.tokens;
        self.signal_tokens += other.signal_tokens;
        self.coefficient_sum += other.coefficient_sum;
        self.rectified += other.rectified;
        self.clipped_low += other.clipped_low;
        self.clipped_high += other.clipped_high;
        self.clipped_dual += other.clipped_dual;
        self.ratio.tokens += other.ratio.tokens;
        self.ratio.min = self.ratio.min.min(other.ratio.min);
        self.ratio.max = self.ratio.max.max(other.ratio.max);
        self.ratio.sum += other.ratio.sum;
        self.ratio.abs_log_sum += other.ratio.abs_log_sum;
    }
}

impl BySource<TokenSummary> {
    /// The three sources together.
    pub fn total(&self) -> TokenSummary {
        let mut total = self.expert;
        total += self.teacher;
        total += self.policy;
        total
    }
}

/// Share of groups whose rewards do not vary (`frac_reward_zero_std`); `None` without a group.
pub fn frac_reward_zero_std(groups: &[GroupAdvantages]) -> Option<f64> {
    mean(groups.iter().filter(|group| !group.statistics.varied).count() as f64, groups.len() as u64)
}

fn mean(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdvantageConfig, Group, Rule, Source, TokenInputs, advantages, token_seeds};

    fn row(advantage: f64, logprobs: &[f32], old: &[f32]) -> TokenSummary {
        let rule = Rule::RatioClip { eps_low: 0.2, eps_high: 0.2, dual_clip: Some(3.0) };
        let inputs = TokenInputs { logprobs, old_logprobs: Some(old), ..Default::default() };
        token_seeds(&rule, advantage, &inputs, 2.0, &mut vec![0.0; logprobs.len()]).unwrap()
    }

    #[test]
    fn fractions_by_hand() {
        // Log-ratios 1, -1, 0: e is above 1.2, 1/e below 0.8, 1 within; e is below the dual clip of 3.
        let up = row(1.0, &[-1.0, -2.0, -1.0], &[-2.0, -1.0, -1.0]);
        assert_eq!((up.clipped_high, up.clipped_low, up.clipped_dual), (1, 0, 0));
        let down = row(-1.0, &[-1.0, -2.0, -1.0], &[-2.0, -1.0, -1.0]);
        assert_eq!((down.clipped_high, down.clipped_low, down.clipped_dual), (0, 1, 0));
        let dual = row(-1.0, &[-1.0], &[-3.0]);
        assert_eq!(dual.clip_dual_fraction(), Some(1.0));
        let mut both = up;
        both += down;
        assert_eq!(both.clip_high_fraction(), Some(1.0 / 6.0));
        assert_eq!(both.clip_low_fraction(), Some(1.0 / 6.0));
        assert_eq!(both.ratio.min, (-1.0_f64).exp());
        assert_eq!(both.ratio.max, 1.0_f64.exp());
        assert_eq!(both.ratio.mean_abs_log(), Some(2.0 / 3.0));
        assert_eq!(both.loss, up.loss + down.loss);
        both += dual;
        assert_eq!(both.ratio.min, (-1.0_f64).exp());
        assert_eq!(both.ratio.max, 2.0_f64.exp());
        assert_eq!(both.ratio.tokens, 7);
    }

    #[test]
    fn rows_without_a_signal_only_count_as_tokens() {
        let silent = row(0.0, &[-1.0, -2.0], &[-2.0, -1.0]);
        assert_eq!((silent.tokens, silent.signal_tokens, silent.loss), (2, 0, 0.0));
        assert_eq!((silent.mean_coefficient(), silent.ratio.mean()), (None, None));
    }

    #[test]
    fn share_of_groups_without_contrast() {
        let rewards = [[Some(1.0), Some(1.0)], [Some(1.0), Some(0.0)], [None, None], [Some(1.0), None]];
        let groups = rewards.each_ref().map(|rewards| Group { sources: &[Source::Policy; 2], rewards });
        let found = advantages(&AdvantageConfig::default(), &groups).unwrap();
        assert_eq!(frac_reward_zero_std(&found), Some(0.75));
        assert_eq!(frac_reward_zero_std(&[]), None);
    }
}
