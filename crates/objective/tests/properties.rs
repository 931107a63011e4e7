//! Laws of advantages on random groups, ten thousand cases each.

#![allow(clippy::unwrap_used)]

use gft_objective::{AdvantageConfig, Baseline, Error, Group, Scale, Source, advantages};
use proptest::prelude::*;

const CASES: u32 = 10_000;

/// Runs of the same seed every time: a test that fails once fails again.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(2604),
        ..Default::default()
    }
}

fn compute(config: &AdvantageConfig, sources: &[Source], rewards: &[Option<f64>]) -> Vec<f64> {
    advantages(config, &[Group { sources, rewards }]).unwrap().remove(0).advantages
}

fn source() -> impl Strategy<Value = Source> {
    prop::sample::select(Source::ALL.to_vec())
}

/// Rewards on a grid of 1/8 between -2 and 2: equal ones are common, different ones are clearly different.
fn reward() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![1 => Just(None), 9 => (-16..=16i32).prop_map(|eighths| Some(f64::from(eighths) / 8.0))]
}

fn rows() -> impl Strategy<Value = Vec<(Source, Option<f64>)>> {
    prop::collection::vec((source(), reward()), 0..16)
}

fn baseline() -> impl Strategy<Value = Baseline> {
    prop::sample::select(vec![
        Baseline::Mixed,
        Baseline::OnPolicy,
        Baseline::PerSource,
        Baseline::LeaveOneOut,
    ])
}

fn configuration() -> impl Strategy<Value = AdvantageConfig> {
    let scale = prop::sample::select(vec![Scale::Std, Scale::BatchStd, Scale::None]);
    (baseline(), scale, 0..=1u8).prop_map(|(baseline, scale, ddof)| AdvantageConfig {
        baseline,
        scale,
        ddof,
        ..Default::default()
    })
}

fn split(rows: &[(Source, Option<f64>)]) -> (Vec<Source>, Vec<Option<f64>>) {
    rows.iter().copied().unzip()
}

proptest! {
    #![proptest_config(config())]

    /// Adding a number to every reward changes nothing. Shifts on the grid of the rewards, so that the
    /// rewards themselves stay exact.
    #[test]
    fn shift(rows in rows(), configuration in configuration(), eighths in -80..=80i32) {
        let (sources, rewards) = split(&rows);
        let shifted: Vec<_> = rewards.iter().map(|r| r.map(|r| r + f64::from(eighths) / 8.0)).collect();
        let before = compute(&configuration, &sources, &rewards);
        for (before, after) in before.iter().zip(compute(&configuration, &sources, &shifted)) {
            // 1e-12: sums of sixteen numbers up to 12, rounded in the sixteenth digit, over a spread of at
            // least 1/8.
            prop_assert!((before - after).abs() < 1e-12, "{before} {after}");
        }
    }

    /// Multiplying every reward by a > 0 changes nothing once the scale is divided out (eps 0), and
    /// multiplies the advantage otherwise. Where the own rows do not vary there is no scale to divide by, so
    /// the baseline is mixed.
    #[test]
    fn scale(rows in rows(), factor in 0.01..100.0f64) {
        let (sources, rewards) = split(&rows);
        let scaled: Vec<_> = rewards.iter().map(|r| r.map(|r| r * factor)).collect();
        let normalised = AdvantageConfig { eps: 0.0, ..Default::default() };
        let plain = AdvantageConfig { scale: Scale::None, ..Default::default() };
        let (before, after) = (compute(&normalised, &sources, &rewards), compute(&normalised, &sources, &scaled));
        for (before, after) in before.iter().zip(after) {
            // 1e-12: as for the shift.
            prop_assert!((before - after).abs() < 1e-12, "{before} {after}");
        }
        let (before, after) = (compute(&plain, &sources, &rewards), compute(&plain, &sources, &scaled));
        for (before, after) in before.iter().zip(after) {
            prop_assert!((before * factor - after).abs() < 1e-12 * factor, "{before} {after}");
        }
    }

    /// With eps the scale matters only through eps / std: A(eps) = A(0) std / (std + eps).
    #[test]
    fn eps_shrinks_by_its_share_of_the_scale(rows in rows(), eps in 1e-8..1e-2f64) {
        let (sources, rewards) = split(&rows);
        let with = AdvantageConfig { eps, ..Default::default() };
        let without = AdvantageConfig { eps: 0.0, ..Default::default() };
        let group = [Group { sources: &sources, rewards: &rewards }];
        let with = advantages(&with, &group).unwrap().remove(0);
        let without = advantages(&without, &group).unwrap().remove(0);
        let std = with.statistics.std;
        for (with, without) in with.advantages.iter().zip(&without.advantages) {
            prop_assert!((with * (std + eps) - without * std).abs() < 1e-12);
        }
    }

    /// The order of the rows permutes the advantages and changes no bit of them.
    #[test]
    fn permutation(
        (rows, order) in rows().prop_flat_map(|rows| {
            let order = Just((0..rows.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(rows), order)
        }),
        configuration in configuration(),
    ) {
        let (sources, rewards) = split(&rows);
        let permuted: Vec<_> = order.iter().map(|index| rows[*index]).collect();
        let (other_sources, other_rewards) = split(&permuted);
        let before = compute(&configuration, &sources, &rewards);
        let after = compute(&configuration, &other_sources, &other_rewards);
        for (place, index) in order.iter().enumerate() {
            prop_assert_eq!(after[place].to_bits(), before[*index].to_bits());
        }
    }

    /// Advantages of a mixed group sum to 0, keep the order of the rewards, and are finite; their mean square
    /// is 1 with ddof 0.
    #[test]
    fn centred_and_normalised(rows in rows()) {
        let (sources, rewards) = split(&rows);
        let found = compute(&AdvantageConfig { ddof: 0, eps: 0.0, ..Default::default() }, &sources, &rewards);
        let scorable: Vec<_> = rewards.iter().zip(&found).filter_map(|(r, a)| r.map(|r| (r, *a))).collect();
        prop_assert!(found.iter().all(|advantage| advantage.is_finite()));
        prop_assert!(scorable.iter().map(|(_, a)| a).sum::<f64>().abs() < 1e-12);
        for (left, right) in scorable.iter().zip(scorable.iter().skip(1)) {
            prop_assert!(left.0 >= right.0 || left.1 < right.1);
        }
        let squares: f64 = scorable.iter().map(|(_, a)| a * a).sum();
        if squares != 0.0 {
            prop_assert!((squares / scorable.len() as f64 - 1.0).abs() < 1e-12);
        }
    }

    /// All equal, up to the noise of f32 arithmetic: exactly 0, under every configuration.
    #[test]
    fn equal_rewards(
        value in -100.0..100.0f64,
        noise in prop::collection::vec((source(), -1..=1i8), 1..16),
        configuration in configuration(),
    ) {
        let sources: Vec<_> = noise.iter().map(|(source, _)| *source).collect();
        let ulp = f64::from(f32::EPSILON);
        let rewards: Vec<_> = noise.iter().map(|(_, ulps)| Some(value * (1.0 + f64::from(*ulps) * ulp))).collect();
        for advantage in compute(&configuration, &sources, &rewards) {
            prop_assert_eq!(advantage, 0.0);
        }
    }

    /// An unscorable row has advantage 0 and removing it changes no bit of the others.
    #[test]
    fn unscorable_rows(rows in rows(), configuration in configuration()) {
        let (sources, rewards) = split(&rows);
        let scorable: Vec<_> = rows.iter().copied().filter(|(_, reward)| reward.is_some()).collect();
        let (other_sources, other_rewards) = split(&scorable);
        let mut others = compute(&configuration, &other_sources, &other_rewards).into_iter();
        for (reward, advantage) in rewards.iter().zip(compute(&configuration, &sources, &rewards)) {
            let expected = if reward.is_some() { others.next().unwrap() } else { 0.0 };
            prop_assert_eq!(advantage.to_bits(), expected.to_bits());
        }
    }

    /// NaN and infinities are an error that names the row, whatever stands around them.
    #[test]
    fn numbers_that_are_no_rewards(
        rows in rows(),
        bad in prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        place in any::<prop::sample::Index>(),
        configuration in configuration(),
    ) {
        let (mut sources, mut rewards) = split(&rows);
        let place = place.index(rows.len() + 1);
        sources.insert(place, Source::Policy);
        rewards.insert(place, Some(bad));
        let found = advantages(&configuration, &[Group { sources: &sources, rewards: &rewards }]);
        let named = matches!(found, Err(Error::Reward { group: 0, row, .. }) if row == place);
        prop_assert!(named, "{:?}", found);
    }
}
