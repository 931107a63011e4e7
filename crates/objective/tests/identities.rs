//! The identities between methods, bit for bit where they are identities, and the invariances of a step.

#![allow(clippy::unwrap_used)]

use gft_objective::{
    Baseline, Boundary, Completion, Evaluation, KeepGroups, Method, Normaliser, Row, Rule, Signal, Singleton,
    Source, Step, TokenInputs, evaluate, token_seeds,
};

const SOURCES: [Source; 4] = [Source::Expert, Source::Teacher, Source::Policy, Source::Policy];
const LENGTHS: [usize; 4] = [5, 3, 7, 2];

/// Deterministic numbers in [0, 1) without a generator: the fractional parts of multiples of the golden
/// ratio.
fn fraction(index: usize) -> f64 {
    (0.618_033_988_749_894_9 * (index + 1) as f64).fract()
}

/// Three groups of four rows with log-probabilities from 0 to -14, and old ones near them.
struct World {
    logprobs: Vec<Vec<f32>>,
    old_logprobs: Vec<Vec<f32>>,
    entropy: Vec<Vec<f32>>,
    rewards: [[f64; 4]; 3],
}

impl World {
    fn new() -> World {
        let rows = |value: fn(usize) -> f64| -> Vec<Vec<f32>> {
            (0..12).map(|row| (0..LENGTHS[row % 4]).map(|t| value(row * 10 + t) as f32).collect()).collect()
        };
        let mut logprobs = rows(|index| -14.0 * fraction(index).powi(3));
        logprobs[0][0] = 0.0;
        logprobs[2][1] = f32::NEG_INFINITY;
        World {
            old_logprobs: rows(|index| {
                (-14.0 * fraction(index).powi(3) + fraction(7 * index) - 0.5).min(0.0)
            }),
            entropy: rows(|index| 3.0 * fraction(3 * index)),
            logprobs,
            rewards: [[1.0, 0.0, 0.0, 1.0], [1.0, 0.5, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]],
        }
    }

    fn completion(&self, row: usize, on_policy: bool) -> Completion<'_> {
        let old = if on_policy { &self.logprobs } else { &self.old_logprobs };
        Completion {
            source: SOURCES[row % 4],
            reward: Some(self.rewards[row / 4][row % 4]),
            inputs: TokenInputs {
                logprobs: &self.logprobs[row],
                old_logprobs: Some(&old[row]),
                entropy: Some(&self.entropy[row]),
                ..Default::default()
            },
            filtered: false,
        }
    }

    fn evaluate_with(&self, method: &Method, on_policy: bool) -> Evaluation {
        let rows: Vec<_> = (0..12).map(|row| self.completion(row, on_policy)).collect();
        let groups: Vec<_> = rows.chunks(4).collect();
        evaluate(method, &Step { groups: &groups, max_length: Some(16) }).unwrap()
    }

    fn evaluate(&self, method: &Method) -> Evaluation {
        self.evaluate_with(method, false)
    }
}

fn gradient_bits(evaluation: &Evaluation) -> Vec<u32> {
    let rows = evaluation.groups.iter().flat_map(|group| &group.rows);
    rows.flat_map(|row| &row.gradient).map(|seed| seed.to_bits()).collect()
}

/// Same loss and same gradient, to the last bit, and not because both are zero.
fn assert_identical(left: &Evaluation, right: &Evaluation) {
    assert_eq!(left.loss.to_bits(), right.loss.to_bits(), "{} != {}", left.loss, right.loss);
    assert_same_gradient(left, right);
}

fn assert_same_gradient(left: &Evaluation, right: &Evaluation) {
    assert_eq!(gradient_bits(left), gradient_bits(right));
    assert!(gradient_bits(left).iter().any(|bits| *bits != 0), "both are zero: nothing was compared");
}

fn assert_different(left: &Evaluation, right: &Evaluation) {
    assert_ne!(gradient_bits(left), gradient_bits(right));
}

/// `method` with `rule` on every source it uses.
fn with_rule(mut method: Method, rule: Rule) -> Method {
    for source in Source::ALL {
        if let Some(treatment) = &mut method.sources[source] {
            treatment.rule = rule;
        }
    }
    method
}

/// `method` with advantage 1 on every source it uses.
fn with_constant_advantage(mut method: Method) -> Method {
    for source in Source::ALL {
        if let Some(treatment) = &mut method.sources[source] {
            treatment.signal = Signal::Constant(1.0);
        }
    }
    method
}

fn gft(tau: f64) -> Method {
    with_rule(Method::gft_paper(), Rule::Dcr { tau, boundary: Boundary::Below })
}

/// `method` reduced to the expert's rows.
fn expert_only(mut method: Method) -> Method {
    method.sources.teacher = None;
    method.sources.policy = None;
    method
}

#[test]
fn gft_without_rectification_is_advantage_weighted_sft() {
    let world = World::new();
    assert_identical(&world.evaluate(&gft(0.0)), &world.evaluate(&with_rule(gft(0.0), Rule::Plain)));
    assert_different(&world.evaluate(&gft(0.1)), &world.evaluate(&gft(0.0)));
}

#[test]
fn gft_with_full_rectification_is_advantage_weighted_dft() {
    let world = World::new();
    assert_identical(&world.evaluate(&gft(1.0)), &world.evaluate(&with_rule(gft(1.0), Rule::Dft)));
    assert_different(&world.evaluate(&gft(0.9)), &world.evaluate(&gft(1.0)));
}

#[test]
fn a_group_of_one_with_advantage_one_is_sft() {
    let world = World::new();
    let one = with_constant_advantage(expert_only(gft(0.0)));
    assert_identical(&world.evaluate(&one), &world.evaluate(&Method::sft()));
    // Rows alone in their group: the group advantage is 0, or the reward of 1.
    let experts: Vec<_> = [0, 4, 8].iter().map(|row| [world.completion(*row, false)]).collect();
    let groups: Vec<&[Completion<'_>]> = experts.iter().map(|group| group.as_slice()).collect();
    let alone = |method: &Method| evaluate(method, &Step { groups: &groups, max_length: None }).unwrap();
    let mut by_reward = gft(0.0);
    assert!(gradient_bits(&alone(&by_reward)).iter().all(|bits| *bits == 0));
    by_reward.advantage.singleton = Singleton::Reward;
    assert_identical(&alone(&by_reward), &alone(&Method::sft()));
}

#[test]
fn gft_with_advantage_one_and_full_rectification_is_dft() {
    let world = World::new();
    let one = with_constant_advantage(expert_only(gft(1.0)));
    assert_identical(&world.evaluate(&one), &world.evaluate(&Method::dft()));
    assert_different(&world.evaluate(&Method::dft()), &world.evaluate(&Method::sft()));
}

#[test]
fn asft_without_its_anchor_is_dft() {
    let world = World::new();
    assert_identical(&world.evaluate(&Method::asft(0.0)), &world.evaluate(&Method::dft()));
}

#[test]
fn idft_before_its_ramp_is_dft() {
    let world = World::new();
    assert_identical(&world.evaluate(&Method::idft(0.0)), &world.evaluate(&Method::dft()));
    assert_different(&world.evaluate(&Method::idft(0.5)), &world.evaluate(&Method::dft()));
}

#[test]
fn eaft_with_power_zero_is_sft() {
    let world = World::new();
    let flat = with_rule(Method::eaft(), Rule::Eaft { alpha: 0.0, scale: 3.0 });
    assert_identical(&world.evaluate(&flat), &world.evaluate(&Method::sft()));
    assert_different(&world.evaluate(&Method::eaft()), &world.evaluate(&Method::sft()));
}

#[test]
fn psft_at_the_old_policy_has_the_gradient_of_sft() {
    let world = World::new();
    let (psft, sft) = (Method::psft(), Method::sft());
    assert_same_gradient(&world.evaluate_with(&psft, true), &world.evaluate(&sft));
    assert_different(&world.evaluate(&psft), &world.evaluate(&sft));
}

#[test]
fn psft_is_a_ratio_clip_without_a_lower_bound() {
    let world = World::new();
    let clip = Rule::RatioClip { eps_low: 1.0, eps_high: 0.28, dual_clip: None };
    let all = |rule| world.evaluate(&with_rule(gft(0.0), rule));
    assert_identical(&all(Rule::Psft { eps_high: 0.28 }), &all(clip));
}

#[test]
fn chord_without_demonstrations_is_grpo() {
    let world = World::new();
    let grpo = Method { normaliser: Normaliser::TokenMean, ..Method::grpo() };
    assert_identical(&world.evaluate(&Method::chord(0.0)), &world.evaluate(&grpo));
    assert_identical(&world.evaluate(&Method::chord_phi(0.0)), &world.evaluate(&grpo));
    assert_different(&world.evaluate(&Method::chord(0.5)), &world.evaluate(&grpo));
}

#[test]
fn chord_with_demonstrations_alone_is_sft() {
    let world = World::new();
    assert_identical(&world.evaluate(&Method::chord(1.0)), &world.evaluate(&Method::sft()));
}

#[test]
fn grpo_at_the_old_policy_is_reinforce_with_a_group_baseline() {
    let world = World::new();
    let reinforce = with_rule(Method::grpo(), Rule::Plain);
    assert_same_gradient(&world.evaluate_with(&Method::grpo(), true), &world.evaluate(&reinforce));
    assert_different(&world.evaluate(&Method::grpo()), &world.evaluate(&reinforce));
}

#[test]
fn dapo_with_one_clip_and_no_filter_is_token_mean_grpo() {
    let world = World::new();
    let clip = Rule::RatioClip { eps_low: 0.2, eps_high: 0.2, dual_clip: None };
    let dapo = Method { keep: KeepGroups::All, ..with_rule(Method::dapo(), clip) };
    let grpo = Method { normaliser: Normaliser::TokenMean, ..Method::grpo() };
    assert_identical(&world.evaluate(&dapo), &world.evaluate(&grpo));
}

#[test]
fn gft_without_demonstrations_is_grpo_on_the_first_minibatch() {
    let world = World::new();
    let mut own = gft(0.0);
    own.sources.expert = None;
    own.sources.teacher = None;
    let grpo = Method { normaliser: Normaliser::TokenMean, ..Method::grpo() };
    assert_same_gradient(&world.evaluate_with(&own, true), &world.evaluate_with(&grpo, true));
    // On later minibatches the ratio is no longer 1.
    assert_different(&world.evaluate(&own), &world.evaluate(&grpo));
}

#[test]
fn w_reinforce_is_made_of_psr_and_nsr() {
    let world = World::new();
    let count_all = |method: Method| Method { counted: gft_objective::CountedRows::All, ..method };
    let parts = [Method::psr(), Method::nsr()].map(|method| world.evaluate(&count_all(method)));
    let whole = world.evaluate(&count_all(Method::w_reinforce(1.0)));
    let bits: Vec<u32> = gradient_bits(&parts[0])
        .iter()
        .zip(gradient_bits(&parts[1]))
        .map(|(left, right)| left | right)
        .collect();
    assert_eq!(gradient_bits(&whole), bits);
    assert!(parts.iter().all(|part| gradient_bits(part).iter().any(|bits| *bits != 0)));
}

#[test]
fn an_unclipped_ratio_clip_is_the_ratio() {
    let world = World::new();
    let clip = Rule::RatioClip { eps_low: 1.0, eps_high: f64::INFINITY, dual_clip: None };
    let all = |rule| world.evaluate(&with_rule(gft(0.0), rule));
    assert_identical(&all(Rule::Ratio), &all(clip));
}

#[test]
fn without_a_mixed_baseline_demonstrations_do_not_move_own_rows() {
    let mut world = World::new();
    let mut method = gft(0.7);
    method.advantage.baseline = Baseline::OnPolicy;
    let own = |evaluation: &Evaluation| {
        let rows = evaluation.groups.iter().flat_map(|group| &group.rows[2..]);
        rows.map(|row| row.advantage).collect::<Vec<_>>()
    };
    let before = own(&world.evaluate(&method));
    let mixed_before = own(&world.evaluate(&gft(0.7)));
    world.rewards[0][0] = 0.0;
    world.rewards[1][1] = 0.0;
    assert_eq!(own(&world.evaluate(&method)), before);
    assert_ne!(own(&world.evaluate(&gft(0.7))), mixed_before);
}

/// Stage 3 depends on the row and the denominators alone: rows one by one give the bits of the whole step.
#[test]
fn micro_batches_change_no_bit() {
    let world = World::new();
    for name in Method::names().filter(|name| *name != "asft") {
        let method = Method::named(name).unwrap();
        let whole = world.evaluate(&method);
        let mut loss = 0.0;
        for row in (0..12).rev() {
            let completion = world.completion(row, false);
            let evaluated = &whole.groups[row / 4].rows[row % 4];
            let Some(expected) = &evaluated.loss else { continue };
            let mut seeds = vec![0.0; LENGTHS[row % 4]];
            let row =
                Row { source: completion.source, advantage: evaluated.advantage, inputs: completion.inputs };
            let found = method.row_seeds(&row, &whole.denominators, &mut seeds).unwrap();
            assert_eq!(found.loss.to_bits(), expected.loss.to_bits(), "{name}");
            assert_eq!(seeds, evaluated.gradient, "{name}");
            loss += found.loss;
        }
        // 1e-14: the order of twelve additions.
        assert!((loss - whole.loss).abs() <= 1e-14 * (1.0 + whole.loss.abs()), "{name}");
    }
}

/// Padding a row with tokens that do not count changes nothing.
#[test]
fn padding_changes_no_bit() {
    let world = World::new();
    for name in Method::names().filter(|name| *name != "asft") {
        let method = Method::named(name).unwrap();
        let plain = world.evaluate(&method);
        let pad = |rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
            rows.iter().map(|row| row.iter().copied().chain([f32::NAN, 3.0]).collect()).collect()
        };
        let (logprobs, old, entropy) = (pad(&world.logprobs), pad(&world.old_logprobs), pad(&world.entropy));
        let masks: Vec<Vec<bool>> =
            world.logprobs.iter().map(|row| [vec![true; row.len()], vec![false; 2]].concat()).collect();
        let rows: Vec<_> = (0..12)
            .map(|row| Completion {
                inputs: TokenInputs {
                    logprobs: &logprobs[row],
                    old_logprobs: Some(&old[row]),
                    entropy: Some(&entropy[row]),
                    mask: Some(&masks[row]),
                    ..Default::default()
                },
                ..world.completion(row, false)
            })
            .collect();
        let groups: Vec<_> = rows.chunks(4).collect();
        let padded = evaluate(&method, &Step { groups: &groups, max_length: Some(16) }).unwrap();
        assert_eq!(padded.loss.to_bits(), plain.loss.to_bits(), "{name}");
        for (padded, plain) in padded.groups.iter().zip(&plain.groups) {
            for (padded, plain) in padded.rows.iter().zip(&plain.rows) {
                assert_eq!(padded.gradient[..plain.gradient.len()], plain.gradient, "{name}");
                assert_eq!(padded.gradient[plain.gradient.len()..], [0.0, 0.0], "{name}");
            }
        }
    }
}

/// A mean of micro-batch means is another number: the reason why the denominator is global.
#[test]
fn a_mean_of_means_is_not_the_token_mean() {
    let world = World::new();
    let mean = |row: usize, n: f64| {
        let inputs = world.completion(row, false).inputs;
        let mut seeds = vec![0.0; LENGTHS[row % 4]];
        token_seeds(&Rule::Plain, 1.0, &inputs, n, &mut seeds).unwrap().loss
    };
    let global = mean(0, 8.0) + mean(1, 8.0);
    let of_means = (mean(0, 5.0) + mean(1, 3.0)) / 2.0;
    assert!((global - of_means).abs() > 1e-3, "{global} {of_means}");
}
