//! Rewards of a group -> one advantage per row, in `f64`.
//!
//! `A_i = (r_i - baseline) / scale` (DeepSeekMath section 4.1.2, arXiv 2402.03300; GFT eq. 4, arXiv
//! 2604.14258).
//!
//! Three things the published trainers leave to chance are decided here:
//!
//! * Rewards that differ by no more than `equal_within` (relative) are equal, and their advantages are
//!   exactly 0.
//! * A scale without variation is never divided by: where the rows of the baseline are all equal, the
//!   difference of a row from another source is kept as it is (LUFFY's split baseline does the same).
//! * An unscorable row is left out of the statistics and has advantage 0.

use crate::error::in_range;
use crate::group::{EQUAL_WITHIN, Group, GroupStatistics};
use crate::names::names;
use crate::{BySource, Error, Source};

/// What is subtracted from a reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// Mean over all rows of the group, demonstrations and own rows together (GFT eq. 4, LUFFY).
    Mixed,
    /// Mean over the policy's own rows only, for every row (LUFFY's `grpo_split`).
    OnPolicy,
    /// Mean over the rows of the same source. An expert alone in its source is a singleton.
    PerSource,
    /// Mean over the other rows of the group (RLOO, arXiv 2402.14740): `K/(K-1) (r - mean)`.
    LeaveOneOut,
    /// Nothing: the raw reward (REINFORCE).
    None,
}

/// What the difference is divided by. The standard deviation is that of the rows that make the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// `std + eps` of the group (GRPO).
    Std,
    /// `std + eps` of the rewards of the whole batch (TRL's `scale_rewards = "batch"`; arXiv 2508.08221).
    BatchStd,
    /// Nothing: `r - mean` (Dr. GRPO, arXiv 2503.20783).
    None,
}

/// What a row gets when fewer than two scorable rows make its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Singleton {
    /// Advantage 0: a row alone has nothing to be compared with.
    Zero,
    /// The raw reward (verl: mean 0, standard deviation 1).
    Reward,
}

names!(Baseline, "baseline", {
    Mixed = "mixed",
    OnPolicy = "on-policy",
    PerSource = "per-source",
    LeaveOneOut = "leave-one-out",
    None = "none",
});

// TRL's `scale_rewards` takes group, batch, none and booleans.
names!(Scale, "scale", {
    Std = "std" | "group" | "true",
    BatchStd = "batch-std" | "batch",
    None = "none" | "false",
});

names!(Singleton, "rule for a single row", { Zero = "zero", Reward = "reward", });

/// How rewards become advantages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdvantageConfig {
    /// What is subtracted.
    pub baseline: Baseline,
    /// What the difference is divided by.
    pub scale: Scale,
    /// Delta degrees of freedom of the standard deviation: 1 (default; torch, verl, TRL) or 0.
    pub ddof: u8,
    /// Added to the standard deviation: 1e-6 (verl, GFT's code) by default, 1e-4 in TRL.
    pub eps: f64,
    /// Rule for a row that is alone in its baseline.
    pub singleton: Singleton,
    /// Relative spread up to which rewards count as equal.
    pub equal_within: f64,
}

impl Default for AdvantageConfig {
    fn default() -> Self {
        AdvantageConfig {
            baseline: Baseline::Mixed,
            scale: Scale::Std,
            ddof: 1,
            eps: 1e-6,
            singleton: Singleton::Zero,
            equal_within: EQUAL_WITHIN,
        }
    }
}

impl AdvantageConfig {
    /// Checks the ranges of `ddof`, `eps` and `equal_within`.
    ///
    /// # Errors
    /// [`Error::Parameter`].
    pub fn validate(&self) -> Result<(), Error> {
        in_range("ddof", f64::from(self.ddof), 0.0, 1.0, "0 or 1")?;
        in_range("eps", self.eps, 0.0, 1.0, "a number in [0, 1]")?;
        in_range("equal_within", self.equal_within, 0.0, 1e-2, "a number in [0, 0.01]")
    }
}

/// The advantages of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupAdvantages {
    /// Statistics over all scorable rows of the group that take part.
    pub statistics: GroupStatistics,
    /// One advantage per row, `[K]`; exactly 0 for unscorable rows.
    pub advantages: Vec<f64>,
    /// False when the method drops the group (DAPO's dynamic sampling); its rows then count nowhere.
    pub kept: bool,
}

/// Advantages of all rows of `groups`, one entry per group.
///
/// # Errors
/// [`Error::Reward`] or [`Error::Length`] for a malformed group, [`Error::Parameter`] for a bad
/// configuration.
pub fn advantages(config: &AdvantageConfig, groups: &[Group<'_>]) -> Result<Vec<GroupAdvantages>, Error> {
    advantages_among(config, groups, BySource { expert: true, teacher: true, policy: true })
}

/// As [`advantages`], where only the rows of the sources marked in `part` enter the statistics. What the other
/// rows get is for the caller to replace.
pub(crate) fn advantages_among(
    config: &AdvantageConfig,
    groups: &[Group<'_>],
    part: BySource<bool>,
) -> Result<Vec<GroupAdvantages>, Error> {
    config.validate()?;
    for (index, group) in groups.iter().enumerate() {
        group.check(index)?;
    }
    let batch = match config.scale {
        Scale::BatchStd => config.statistics(groups.iter().flat_map(|group| scorable(group, part, |_| true))),
        Scale::Std | Scale::None => GroupStatistics::default(),
    };
    Ok(groups.iter().map(|group| config.of_group(group, &batch, part)).collect())
}

/// Scorable rewards of the rows that take part and whose source is in `keep`.
fn scorable<'a>(
    group: &'a Group<'_>,
    part: BySource<bool>,
    keep: impl Fn(Source) -> bool + 'a,
) -> impl Iterator<Item = f64> + 'a {
    let rows = group.sources.iter().zip(group.rewards);
    rows.filter(move |(source, _)| part[**source] && keep(**source)).filter_map(|(_, reward)| *reward)
}

impl AdvantageConfig {
    fn statistics(&self, values: impl Iterator<Item = f64>) -> GroupStatistics {
        GroupStatistics::of(values, self.ddof, self.equal_within)
    }

    fn of_group(&self, group: &Group<'_>, batch: &GroupStatistics, part: BySource<bool>) -> GroupAdvantages {
        let statistics = self.statistics(scorable(group, part, |_| true));
        let references = match self.baseline {
            Baseline::Mixed | Baseline::LeaveOneOut | Baseline::None => BySource::from_fn(|_| statistics),
            Baseline::OnPolicy => {
                let own = self.statistics(scorable(group, part, |source| source == Source::Policy));
                BySource::from_fn(|_| own)
            }
            Baseline::PerSource => {
                BySource::from_fn(|source| self.statistics(scorable(group, part, |other| other == source)))
            }
        };
        let rows = group.sources.iter().zip(group.rewards);
        let advantages = rows
            .map(|(source, reward)| match reward {
                Some(reward) => self.of_row(*reward, &references[*source], batch),
                None => 0.0,
            })
            .collect();
        GroupAdvantages { statistics, advantages, kept: true }
    }

    fn of_row(&self, reward: f64, reference: &GroupStatistics, batch: &GroupStatistics) -> f64 {
        if self.baseline != Baseline::None && reference.scorable < 2 {
            return match self.singleton {
                Singleton::Zero => 0.0,
                Singleton::Reward => reward,
            };
        }
        self.centred(reward, reference) / self.divisor(reference, batch)
    }

    /// `r - baseline`, exactly 0 where the two are equal up to noise.
    fn centred(&self, reward: f64, reference: &GroupStatistics) -> f64 {
        let difference = reward - reference.mean;
        let magnitude = reward.abs().max(reference.min.abs()).max(reference.max.abs());
        match self.baseline {
            Baseline::None => reward,
            _ if difference.abs() <= self.equal_within * magnitude => 0.0,
            Baseline::LeaveOneOut => {
                let count = reference.scorable as f64;
                difference * (count / (count - 1.0))
            }
            Baseline::Mixed | Baseline::OnPolicy | Baseline::PerSource => difference,
        }
    }

    fn divisor(&self, reference: &GroupStatistics, batch: &GroupStatistics) -> f64 {
        let spread = match self.scale {
            Scale::Std => reference,
            Scale::BatchStd => batch,
            Scale::None => return 1.0,
        };
        if spread.varied { spread.std + self.eps } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Source::{Expert, Policy, Teacher};

    fn one(config: &AdvantageConfig, sources: &[Source], rewards: &[f64]) -> Vec<f64> {
        let rewards: Vec<_> = rewards.iter().copied().map(Some).collect();
        let group = Group { sources, rewards: &rewards };
        advantages(config, &[group]).unwrap().remove(0).advantages
    }

    fn binary(correct: usize, rows: usize) -> Vec<f64> {
        (0..rows).map(|row| if row < correct { 1.0 } else { 0.0 }).collect()
    }

    /// Closed form for K rows of which a share p is right, ddof 1 and eps 0: A+ = sqrt((K-1)/K (1-p)/p) and
    /// A- = -sqrt((K-1)/K p/(1-p)); dividing by std + eps shrinks both by std / (std + eps).
    #[test]
    fn binary_rewards_have_closed_forms() {
        let printed =
            [(2.4749, -0.3536), (1.6202, -0.5401), (1.2076, -0.7246), (0.9354, -0.9354), (0.7246, -1.2076)];
        let printed = printed.into_iter().chain([(0.5401, -1.6202), (0.3536, -2.4749)]);
        for (correct, (plus, minus)) in (1..8).zip(printed) {
            let found = one(&AdvantageConfig::default(), &[Policy; 8], &binary(correct, 8));
            let p = correct as f64 / 8.0;
            let std = (8.0 / 7.0 * p * (1.0 - p)).sqrt();
            let shrink = std / (std + 1e-6);
            // 1e-14: a handful of f64 roundings of numbers near 1.
            assert!((found[0] - (7.0 / 8.0 * (1.0 - p) / p).sqrt() * shrink).abs() < 1e-14);
            assert!((found[7] + (7.0 / 8.0 * p / (1.0 - p)).sqrt() * shrink).abs() < 1e-14);
            // 5e-5: the table of published values is rounded to four decimals, plus the shift by eps.
            assert!((found[0] - plus).abs() < 5.5e-5 && (found[7] - minus).abs() < 5.5e-5, "{correct}");
        }
    }

    #[test]
    fn equal_rewards_have_advantage_exactly_zero() {
        for value in [0.0, 1.0, -1.0, 0.1, 0.3, 0.7, 1e9, -3e-7] {
            for rows in [2, 8, 16] {
                assert_eq!(
                    one(&AdvantageConfig::default(), &vec![Policy; rows], &vec![value; rows]),
                    vec![0.0; rows]
                );
            }
        }
        let noisy = [0.1 + 0.2, 0.3, f64::from(0.3_f32), 0.3];
        for baseline in [Baseline::Mixed, Baseline::OnPolicy, Baseline::PerSource, Baseline::LeaveOneOut] {
            for scale in [Scale::Std, Scale::BatchStd, Scale::None] {
                let config = AdvantageConfig { baseline, scale, ..Default::default() };
                assert_eq!(one(&config, &[Policy; 4], &noisy), [0.0; 4], "{config:?}");
            }
        }
    }

    #[test]
    fn a_row_at_the_mean_has_advantage_exactly_zero() {
        assert_eq!(one(&AdvantageConfig::default(), &[Policy; 3], &[0.1, 0.2, 0.3])[1], 0.0);
    }

    #[test]
    fn ddof_and_eps_are_used() {
        let rewards = binary(2, 4);
        let sample = one(&AdvantageConfig { eps: 0.0, ..Default::default() }, &[Policy; 4], &rewards);
        let population =
            one(&AdvantageConfig { ddof: 0, eps: 0.0, ..Default::default() }, &[Policy; 4], &rewards);
        assert_eq!(population[0], 1.0);
        assert!((sample[0] - 0.75_f64.sqrt()).abs() < 1e-15);
        let large_eps =
            one(&AdvantageConfig { ddof: 0, eps: 0.5, ..Default::default() }, &[Policy; 4], &rewards);
        assert_eq!(large_eps[0], 0.5);
    }

    #[test]
    fn dr_grpo_keeps_the_difference() {
        let config = AdvantageConfig { scale: Scale::None, ..Default::default() };
        assert_eq!(one(&config, &[Policy; 4], &binary(1, 4)), [0.75, -0.25, -0.25, -0.25]);
    }

    #[test]
    fn leave_one_out_compares_with_the_others() {
        let config =
            AdvantageConfig { baseline: Baseline::LeaveOneOut, scale: Scale::None, ..Default::default() };
        // 1 - mean(0, 0, .5) and so on.
        let expected = [1.0 - 0.5 / 3.0, 0.0 - 0.5, 0.0 - 0.5, 0.5 - 1.0 / 3.0];
        for (found, expected) in one(&config, &[Policy; 4], &[1.0, 0.0, 0.0, 0.5]).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn baseline_over_own_rows_only() {
        let sources = [Expert, Teacher, Policy, Policy];
        let config =
            AdvantageConfig { baseline: Baseline::OnPolicy, scale: Scale::None, ..Default::default() };
        assert_eq!(one(&config, &sources, &[1.0, 0.0, 1.0, 0.0]), [0.5, -0.5, 0.5, -0.5]);
        // Own rows that do not vary give no scale: the difference stays as it is and is not divided by eps.
        let config = AdvantageConfig { baseline: Baseline::OnPolicy, ..Default::default() };
        assert_eq!(one(&config, &sources, &[1.0, 0.0, 0.0, 0.0]), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn baseline_per_source() {
        let sources = [Expert, Teacher, Teacher, Policy, Policy];
        let config =
            AdvantageConfig { baseline: Baseline::PerSource, scale: Scale::None, ..Default::default() };
        assert_eq!(one(&config, &sources, &[1.0, 1.0, 0.0, 1.0, 1.0]), [0.0, 0.5, -0.5, 0.0, 0.0]);
    }

    #[test]
    fn raw_rewards() {
        let config = AdvantageConfig { baseline: Baseline::None, scale: Scale::None, ..Default::default() };
        assert_eq!(one(&config, &[Policy; 2], &[0.7, 0.7]), [0.7, 0.7]);
    }

    #[test]
    fn a_single_row() {
        assert_eq!(one(&AdvantageConfig::default(), &[Policy], &[0.7]), [0.0]);
        let verl = AdvantageConfig { singleton: Singleton::Reward, ..Default::default() };
        assert_eq!(one(&verl, &[Policy], &[0.7]), [0.7]);
    }

    #[test]
    fn unscorable_rows_change_nothing_for_the_others() {
        let config = AdvantageConfig::default();
        let rewards = [Some(1.0), None, Some(0.0), None];
        let group = Group { sources: &[Policy; 4], rewards: &rewards };
        let found = advantages(&config, &[group]).unwrap().remove(0);
        let without = one(&config, &[Policy; 2], &[1.0, 0.0]);
        assert_eq!(found.advantages, [without[0], 0.0, without[1], 0.0]);
        assert_eq!(found.statistics.scorable, 2);
        // Only unscorable rows, and a group without rows.
        let silent = advantages(&config, &[Group { sources: &[Policy; 2], rewards: &[None, None] }]).unwrap();
        assert_eq!(silent[0].advantages, [0.0, 0.0]);
        assert!(
            advantages(&config, &[Group { sources: &[], rewards: &[] }]).unwrap()[0].advantages.is_empty()
        );
    }

    /// TRL's formula: (r - group mean) / (std over all rewards, ddof 1, + eps).
    #[test]
    fn batch_standard_deviation() {
        let config = AdvantageConfig { scale: Scale::BatchStd, eps: 1e-4, ..Default::default() };
        let sources = [Policy; 2];
        let rewards = [[Some(1.0), Some(0.0)], [Some(4.0), Some(3.0)]];
        let groups = rewards.each_ref().map(|rewards| Group { sources: &sources, rewards });
        let found = advantages(&config, &groups).unwrap();
        // Deviations of 1, 0, 4, 3 from 2: 1 + 4 + 4 + 1 = 10.
        let std = (10.0_f64 / 3.0).sqrt();
        for group in found {
            assert_eq!(group.advantages, [0.5 / (std + 1e-4), -0.5 / (std + 1e-4)]);
        }
    }

    #[test]
    fn configurations_out_of_range_are_refused() {
        let refused = |config: AdvantageConfig| advantages(&config, &[]).is_err();
        assert!(refused(AdvantageConfig { ddof: 2, ..Default::default() }));
        assert!(refused(AdvantageConfig { eps: -1e-6, ..Default::default() }));
        assert!(refused(AdvantageConfig { eps: f64::NAN, ..Default::default() }));
        assert!(refused(AdvantageConfig { equal_within: 0.5, ..Default::default() }));
    }
}
