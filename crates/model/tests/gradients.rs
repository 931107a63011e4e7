//! T10: the hand-derived backward pass against central differences of the oracle in f64.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod golden;
mod models;
mod reference;

use gft_model::device::KlDirection;
use gft_model::policy::{Keep, Seeds, TokenStats, Want};
use gft_model::{Batch, Cpu, Policy};
use golden::{CASES, Case};
use models::{Random, Segments};
use reference::Decoder;

/// The oracle is worth something only if it is right: transformers in f64 computed the fixtures.
#[test]
fn the_oracle_agrees_with_transformers() {
    let mut worst = 0.0f64;
    for name in CASES {
        let case = Case::load(name);
        let decoder = Decoder::of(&case.policy());
        for (ids, expected) in case.input_ids.iter().zip(&case.logprobs) {
            let found = decoder.statistics(ids, 1.0, None).logprobs;
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(expected) {
                let error = (a - f64::from(*b)).abs();
                // The fixture is rounded to f32: half a unit in the last place, relative.
                let tolerance = 1e-6 + 6e-8 * a.abs();
                assert!(error < tolerance, "{name}: {a}, expected {b}");
                worst = worst.max(error);
            }
        }
    }
    eprintln!("oracle against transformers: {worst:?}");
}

/// A loss over a tree of segments: `sum_t a_t log p_t + b_t H_t + c_t KL_t`, targets in the order of the batch.
struct Loss<'a> {
    segments: &'a Segments,
    seeds: Seeds,
    temperature: f64,
    reference: Option<(KlDirection, &'a Decoder)>,
}

impl Loss<'_> {
    /// The loss by the oracle, each segment computed alone after its ancestors.
    fn value(&self, decoder: &Decoder) -> f64 {
        let (mut loss, mut target) = (0.0, 0);
        for index in 0..self.segments.len() {
            let (tokens, own) = models::path(self.segments, index);
            let stats = decoder.statistics(&tokens, self.temperature, self.reference);
            let total = stats.logprobs.len();
            for i in total - own.min(total)..total {
                let term = |seeds: &[f32], values: &[f64]| {
                    seeds.get(target).map_or(0.0, |seed| f64::from(*seed) * values[i])
                };
                loss += term(&self.seeds.logprobs, &stats.logprobs)
                    + term(&self.seeds.entropy, &stats.entropy)
                    + term(&self.seeds.kl, &stats.kl);
                target += 1;
            }
        }
        assert_eq!(target, self.seeds.logprobs.len());
        loss
    }

    /// Derivative along `direction` of the elements of `range`, by central differences.
    fn slope(&self, decoder: &mut Decoder, at: usize, direction: &[f64]) -> f64 {
        difference(decoder, at, direction, |decoder| self.value(decoder))
    }
}

/// Central difference of `f` as the weights from `at` on move along `direction`.
fn difference(decoder: &mut Decoder, at: usize, direction: &[f64], f: impl Fn(&Decoder) -> f64) -> f64 {
    // Rounding gives 1e-16 |loss| / h, the third derivative h^2: with |loss| of 100 both stay below 1e-8.
    const H: f64 = 3e-6;
    let old = decoder.weights[at..at + direction.len()].to_vec();
    let mut moved = |h: f64| {
        for (i, d) in direction.iter().enumerate() {
            decoder.weights[at + i] = old[i] + h * d;
        }
        f(decoder)
    };
    let slope = (moved(H) - moved(-H)) / (2.0 * H);
    decoder.weights[at..at + direction.len()].copy_from_slice(&old);
    slope
}

/// Holds the engine's gradient of every parameter against the oracle's differences; returns the largest errors
/// relative to the norm of the parameter's gradient, along directions and of single elements.
fn check(name: &str, policy: &Policy<Cpu>, gradient: &[f32], loss: &Loss<'_>) -> [f64; 2] {
    let mut decoder = Decoder::of(policy);
    let mut random = Random(11);
    let mut worst = [0.0f64; 2];
    for parameter in &policy.layout().parameters {
        let (at, ours) = (parameter.range.start, &gradient[parameter.range.clone()]);
        let norm = ours.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(norm > 0.0, "{name}: {} has no gradient", parameter.name);
        // Signs: an error in any one element shows at full size.
        let direction: Vec<f64> = ours.iter().map(|_| random.sign()).collect();
        let along: f64 = ours.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
        let exact = loss.slope(&mut decoder, at, &direction);
        let error = (along - exact).abs() / norm;
        worst[0] = worst[0].max(error);
        assert!(error < DIRECTION, "{name}: {} along a direction: {along}, {exact}", parameter.name);
        for _ in 0..2 {
            let element = random.below(ours.len());
            let exact = loss.slope(&mut decoder, at + element, &[1.0]);
            let error = (f64::from(ours[element]) - exact).abs() / norm;
            worst[1] = worst[1].max(error);
            assert!(error < ELEMENT, "{name}: {}[{element}]: {}, {exact}", parameter.name, ours[element]);
        }
    }
    worst
}

/// The engine is f32, the differences are exact to 1e-8. An f32 sum of some 1000 terms errs by about sqrt(1000) 2^-24,
/// 2e-6, of its terms' size, and several follow one another; 1e-5 is the most that was seen (`llama_bias`).
const DIRECTION: f64 = 3e-5;
/// A single element's error is a part of that; 4.5e-6 is the most that was seen.
const ELEMENT: f64 = 1.5e-5;

/// A prompt with three responses of which one branches once more, and a sequence besides.
fn tree(random: &mut Random, vocab: usize) -> Segments {
    let shape = [(None, 4), (Some(0), 4), (Some(0), 1), (Some(0), 2), (Some(3), 3), (None, 2)];
    models::segments(random, vocab, &shape)
}

fn gradient(policy: &Policy<Cpu>, batch: &Batch, want: &Want<'_, Cpu>, seeds: &Seeds) -> Vec<f32> {
    let mut grads = policy.gradients();
    let forward = policy.forward(batch, Keep::Activations).unwrap();
    policy.backward(batch, forward, want, seeds, &mut grads).unwrap();
    policy.read_gradients(&grads, 0..policy.layout().len)
}

#[test]
fn backward_is_the_derivative_of_log_probs_for_every_family_and_option() {
    // The other fixtures differ from these in nothing that the backward pass computes.
    let names = ["llama3", "llama_bias", "mistral", "qwen2", "qwen3", "qwen3_sliding", "rope_yarn"];
    let full = models::policy(models::full(), 3);
    let cases = names.iter().map(|name| (*name, Case::load(name).policy()));
    for (name, policy) in cases.chain([("all options", full)]) {
        let mut random = Random(5);
        let segments = tree(&mut random, policy.architecture().vocab);
        let batch = models::as_trees(&segments);
        let seeds = Seeds { logprobs: random.seeds(batch.targets().len()), ..Seeds::default() };
        let gradient = gradient(&policy, &batch, &Want::default(), &seeds);
        let loss = Loss { segments: &segments, seeds, temperature: 1.0, reference: None };
        let worst = check(name, &policy, &gradient, &loss);
        eprintln!("{name}: {worst:?}");
    }
}

#[test]
fn backward_is_the_derivative_of_entropy_and_of_both_kl_divergences() {
    use KlDirection::{PolicyToReference, ReferenceToPolicy};
    let policy = models::policy(models::full(), 3);
    let reference = models::policy(models::plain(), 4);
    let oracle = Decoder::of(&reference);
    // Each alone, and together: they are computed in one loop or in several.
    for (kl, entropy, temperature) in [
        (Some(ReferenceToPolicy), true, 1.0),
        (Some(ReferenceToPolicy), false, 0.7),
        (Some(PolicyToReference), true, 0.7),
        (Some(PolicyToReference), false, 1.0),
        (None, true, 1.0),
        (None, true, 0.7f32),
    ] {
        let mut random = Random(6);
        let segments = tree(&mut random, policy.architecture().vocab);
        let batch = models::as_trees(&segments);
        let mut some = |wanted: bool| random.seeds(if wanted { batch.targets().len() } else { 0 });
        let seeds = Seeds { logprobs: some(true), entropy: some(entropy), kl: some(kl.is_some()) };
        let want = Want { temperature, entropy, kl: kl.map(|direction| (direction, &reference)) };
        let gradient = gradient(&policy, &batch, &want, &seeds);
        let loss = Loss {
            segments: &segments,
            seeds,
            temperature: f64::from(temperature),
            reference: kl.map(|direction| (direction, &oracle)),
        };
        let what = format!("{kl:?}, entropy {entropy}, temperature {temperature}");
        let worst = check(&what, &policy, &gradient, &loss);
        eprintln!("{what}: {worst:?}");
    }
}

/// DFT (arXiv 2508.05629) weighs each token by its probability, which is a number and not a function: the loss is
/// `-sum sg(p_t) log p_t`. Differentiated through `p_t` it would be another method.
#[test]
fn dft_is_right_with_its_coefficient_frozen_and_differs_without() {
    let policy = models::policy(models::plain(), 8);
    let segments = tree(&mut Random(9), policy.architecture().vocab);
    let batch = models::as_trees(&segments);
    let mut grads = policy.gradients();
    let forward = policy.forward(&batch, Keep::Activations).unwrap();
    let mut coefficients = vec![0.0f32; batch.targets().len()];
    let dft = |stats: &TokenStats, order: &[usize]| {
        let seeds: Vec<f32> = stats.logprobs.iter().map(|logprob| -logprob.exp()).collect();
        order.iter().zip(&seeds).for_each(|(&i, seed)| coefficients[i] = *seed);
        Seeds { logprobs: seeds, ..Seeds::default() }
    };
    policy.backward_with(&batch, forward, &Want::default(), &mut grads, dft).unwrap();
    let gradient = policy.read_gradients(&grads, 0..policy.layout().len);

    let seeds = Seeds { logprobs: coefficients, ..Seeds::default() };
    let frozen = Loss { segments: &segments, seeds, temperature: 1.0, reference: None };
    eprintln!("dft, frozen: {:?}", check("dft", &policy, &gradient, &frozen));

    // The same slopes of -sum p log p, p no longer frozen.
    let free = |decoder: &Decoder| {
        let of_segment = |index| {
            let (tokens, own) = models::path(&segments, index);
            let logprobs = decoder.statistics(&tokens, 1.0, None).logprobs;
            let total = logprobs.len();
            logprobs[total - own.min(total)..].iter().map(|l| -l.exp() * l).sum::<f64>()
        };
        (0..segments.len()).map(of_segment).sum()
    };
    let mut decoder = Decoder::of(&policy);
    let mut random = Random(12);
    for parameter in &policy.layout().parameters {
        let ours = &gradient[parameter.range.clone()];
        let norm = ours.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let mut furthest = 0.0f64;
        for _ in 0..4 {
            let direction: Vec<f64> = ours.iter().map(|_| random.sign()).collect();
            let along: f64 = ours.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
            let slope = difference(&mut decoder, parameter.range.start, &direction, free);
            furthest = furthest.max((along - slope).abs() / norm);
        }
        // With log p near -4 the free gradient is about -3 times the frozen one; a tenth is far above every tolerance.
        assert!(furthest > 0.1, "{}: the stop-gradient makes no difference", parameter.name);
    }
}
