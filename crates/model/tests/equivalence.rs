//! T7 and T8: how sequences are packed, shared, split and kept changes nothing but the order of additions.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod models;
mod reference;

use gft_model::policy::{Keep, Seeds, TokenStats, Want};
use gft_model::{Architecture, Batch, Cpu, Policy};
use models::{
    Random, Segments, Shape, as_sequences, as_trees, furthest, plain, run, segments, worst_gradient,
};
use reference::Decoder;

/// DESIGN.md T8: two units in the last place of an f32 log-prob between 4 and 8, four between 2 and 4.
const LOGPROB: f32 = 1e-6;
/// Four of the former: where a segment begins decides which keys are summed in one block of a matrix unit, so that a tree rounds
/// attention's sums elsewhere than a sequence does.
const TREE_LOGPROB: f32 = 2e-6;
/// An entropy is a sum of `p log p` in which every `log p` carries the rounding of one log-sum-exp, 2^-22 near 4.
const ENTROPY: f32 = 2e-6;
/// DESIGN.md T7: relative, for every parameter's gradient.
const GRADIENT: f64 = 2e-5;

/// Lengths around the attention's block of 48 queries and the 64 rows that one task of the norms works on.
const LENGTHS: [usize; 9] = [1, 2, 47, 48, 49, 64, 97, 150, 3];

fn sequences(random: &mut Random, vocab: usize) -> Segments {
    segments(random, vocab, &LENGTHS.map(|len| (None, len)))
}

#[test]
fn packed_sequences_have_the_log_probs_that_each_has_alone() {
    for arch in [plain(), models::full()] {
        let policy = models::policy(arch, 1);
        let segments = sequences(&mut Random(2), policy.architecture().vocab);
        let want = Want { entropy: true, ..Want::default() };
        let packed = policy.token_stats(&as_trees(&segments), &want).unwrap();
        let mut alone = TokenStats::default();
        for batch in as_sequences(&segments) {
            let found = policy.token_stats(&batch, &want).unwrap();
            alone.logprobs.extend(found.logprobs);
            alone.entropy.extend(found.entropy);
        }
        let (logprobs, entropy) =
            (furthest(&packed.logprobs, &alone.logprobs), furthest(&packed.entropy, &alone.entropy));
        eprintln!("packed against alone: log-prob {logprobs:e}, entropy {entropy:e}");
        assert!(logprobs <= LOGPROB && entropy <= ENTROPY, "{logprobs:e} {entropy:e}");
    }
}

#[test]
fn changing_one_segment_leaves_what_does_not_see_it_bit_equal() {
    let shape = [
        (None, 20),
        (Some(0), 60),
        (Some(0), 5),
        (Some(1), 9),
        (None, 1),
        (Some(4), 50),
        (Some(4), 2),
        (None, 70),
    ];
    for arch in [plain(), models::full()] {
        let policy = models::policy(arch, 1);
        let mut random = Random(3);
        let vocab = policy.architecture().vocab;
        let before = segments(&mut random, vocab, &shape);
        let stats = |segments: &Segments| {
            let batch = as_trees(segments);
            let want = Want { entropy: true, ..Want::default() };
            (policy.token_stats(&batch, &want).unwrap(), batch)
        };
        let (old, batch) = stats(&before);
        for changed in 0..shape.len() {
            let mut after = before.clone();
            for token in &mut after[changed].1 {
                *token = (*token + 1 + random.below(vocab - 1) as u32) % vocab as u32;
            }
            let (new, _) = stats(&after);
            let mut target = 0;
            for (index, (_, tokens)) in before.iter().enumerate() {
                let own = tokens.len() - usize::from(batch.segments()[index].parent.is_none());
                let range = target..target + own;
                target = range.end;
                let sees = batch.chain(index).contains(&changed);
                let same = old.logprobs[range.clone()] == new.logprobs[range.clone()]
                    && old.entropy[range.clone()] == new.entropy[range.clone()];
                if range.is_empty() {
                    continue;
                }
                assert_eq!(same, !sees, "segment {changed} changed, segment {index} sees it: {sees}");
            }
            assert_eq!(target, old.logprobs.len());
        }
    }
}

#[test]
fn changing_a_token_leaves_all_before_it_bit_equal() {
    for arch in [plain(), models::full()] {
        let policy = models::policy(arch, 1);
        let vocab = policy.architecture().vocab;
        let tokens = Random(4).tokens(120, vocab);
        let logprobs = |tokens: &[u32]| {
            let mut batch = Batch::new();
            batch.push_sequence(tokens).unwrap();
            policy.token_stats(&batch, &Want::default()).unwrap().logprobs
        };
        let old = logprobs(&tokens);
        for at in [0, 1, 47, 48, 60, 119] {
            let mut changed = tokens.clone();
            changed[at] = (changed[at] + 1) % vocab as u32;
            let new = logprobs(&changed);
            // Target i is token i + 1: those up to token `at - 1` are predicted from unchanged tokens alone.
            let untouched = at.saturating_sub(1);
            assert!(old[..untouched] == new[..untouched], "token {at} was seen before its place");
            assert!(old[untouched..] != new[untouched..], "token {at} is seen by nobody");
        }
    }
}

/// Trees of each kind that a group or a longer conversation makes.
fn forests() -> Vec<(&'static str, Shape)> {
    let group = |prompt: usize, responses: &[usize]| {
        let mut shape = vec![(None, prompt)];
        shape.extend(responses.iter().map(|&len| (Some(0), len)));
        shape
    };
    let nested =
        vec![(None, 7), (Some(0), 50), (Some(1), 3), (Some(1), 60), (Some(0), 2), (Some(4), 1), (Some(5), 6)];
    let mut several = group(10, &[3, 4]);
    several.extend([(None, 5), (Some(3), 2), (None, 1), (Some(5), 4), (Some(3), 1)]);
    vec![
        ("a prompt and three responses", group(20, &[5, 17, 9])),
        ("eight responses", group(30, &[1, 2, 3, 49, 5, 33, 7, 8])),
        ("a prompt of one token", group(1, &[4, 1, 60])),
        ("segments longer than a block", group(100, &[130, 48, 96])),
        ("nested, three deep", nested),
        ("several trees, one interleaved", several),
    ]
}

/// Log-probs and gradients of a forest against each of its segments computed alone after its ancestors.
fn check_forest(what: &str, policy: &Policy<Cpu>, segments: &Segments) -> (f32, f64) {
    let batch = as_trees(segments);
    let seeds = Random(5).seeds(batch.targets().len());
    let (tree, tree_gradient) = run(policy, &[batch], &seeds, Keep::Activations);
    let (alone, gradient) = run(policy, &as_sequences(segments), &seeds, Keep::Activations);
    let logprobs = furthest(&tree.logprobs, &alone.logprobs);
    let (gradients, parameter) = worst_gradient(policy, &tree_gradient, &gradient);
    assert!(logprobs <= TREE_LOGPROB, "{what}: log-probs differ by {logprobs:e}");
    assert!(gradients <= GRADIENT, "{what}: {parameter} differs by {gradients:e}");
    (logprobs, gradients)
}

#[test]
fn trees_are_their_sequences() {
    let mut worst = (0.0f32, 0.0f64);
    for (arch, kind) in [(plain(), "plain"), (models::full(), "full")] {
        let policy = models::policy(arch, 6);
        for (what, shape) in forests() {
            let segments = segments(&mut Random(7), policy.architecture().vocab, &shape);
            let found = check_forest(&format!("{what}, {kind}"), &policy, &segments);
            worst = (worst.0.max(found.0), worst.1.max(found.1));
        }
    }
    eprintln!("trees against sequences: {worst:?}");
}

#[test]
fn trees_are_their_sequences_for_every_head_width() {
    let mut worst = (0.0f32, 0.0f64, 0.0f64);
    for head_dim in [2, 8, 16, 64, 80, 96] {
        for (heads, kv_heads) in [(4, 2), (3, 1), (2, 2)] {
            let policy = models::policy(Architecture { head_dim, heads, kv_heads, ..plain() }, 8);
            let shape = [(None, 9), (Some(0), 50), (Some(0), 3), (Some(2), 4)];
            let segments = segments(&mut Random(9), policy.architecture().vocab, &shape);
            let what = format!("{heads}/{kv_heads} heads of {head_dim}");
            let found = check_forest(&what, &policy, &segments);
            // And right, not only the same: the oracle's log-probs of the longest path.
            let (tokens, own) = models::path(&segments, 1);
            let exact = Decoder::of(&policy).statistics(&tokens, 1.0, None).logprobs;
            let ours = policy.token_stats(&as_trees(&segments), &Want::default()).unwrap().logprobs;
            for (a, b) in ours[8..8 + own].iter().zip(&exact[exact.len() - own..]) {
                let error = (f64::from(*a) - b).abs();
                // DESIGN.md T9's bar for log-probs.
                assert!(error < 1e-5, "{what}: {a}, expected {b}");
                worst.2 = worst.2.max(error);
            }
            worst = (worst.0.max(found.0), worst.1.max(found.1), worst.2);
        }
    }
    eprintln!("head widths: {worst:?}");
}

#[test]
fn sliding_windows_end_where_they_do_without_sharing() {
    let mut worst = (0.0f32, 0.0f64);
    let shape = [(None, 60), (Some(0), 70), (Some(0), 5), (Some(2), 50), (Some(0), 1)];
    // Windows that end inside the response, inside the prompt, in another block, and beyond everything.
    for window in [1, 2, 5, 47, 48, 49, 64, 100, 500] {
        let policy = models::policy(Architecture { windows: vec![Some(window), None], ..plain() }, 10);
        let segments = segments(&mut Random(11), policy.architecture().vocab, &shape);
        // In a window of one token the softmax has one term and the gradient of queries and keys is 0.
        if window > 1 {
            let found = check_forest(&format!("window {window}"), &policy, &segments);
            worst = (worst.0.max(found.0), worst.1.max(found.1));
        }
        let (tokens, own) = models::path(&segments, 3);
        let exact = Decoder::of(&policy).statistics(&tokens, 1.0, None).logprobs;
        let batch = as_trees(&segments);
        let ours = policy.token_stats(&batch, &Want::default()).unwrap().logprobs;
        let first = 59 + 70 + 5;
        for (a, b) in ours[first..first + own].iter().zip(&exact[exact.len() - own..]) {
            // DESIGN.md T9's bar for log-probs.
            assert!((f64::from(*a) - b).abs() < 1e-5, "window {window}: {a}, expected {b}");
        }
    }
    eprintln!("windows: {worst:?}");
}

#[test]
fn recomputed_layers_are_bit_equal_to_kept_ones() {
    for arch in [plain(), models::full()] {
        let policy = models::policy(arch, 12);
        let segments = sequences(&mut Random(13), policy.architecture().vocab);
        let batch = as_trees(&segments);
        let seeds = Random(14).seeds(batch.targets().len());
        let kept = run(&policy, std::slice::from_ref(&batch), &seeds, Keep::Activations);
        let recomputed = run(&policy, &[batch], &seeds, Keep::LayerInputs);
        assert!(kept == recomputed);
    }
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let mut worst = 0.0f64;
    for arch in [plain(), models::full()] {
        let policy = models::policy(arch, 15);
        let segments = sequences(&mut Random(16), policy.architecture().vocab);
        let whole = as_trees(&segments);
        let seeds = Random(17).seeds(whole.targets().len());
        let (stats, gradient) = run(&policy, &[whole], &seeds, Keep::Activations);
        for size in [1, 2, 4] {
            let parts: Vec<Batch> = segments.chunks(size).map(|part| as_trees(&part.to_vec())).collect();
            let (part_stats, part_gradient) = run(&policy, &parts, &seeds, Keep::Activations);
            let logprobs = furthest(&part_stats.logprobs, &stats.logprobs);
            assert!(logprobs <= LOGPROB, "micro-batches of {size}: log-probs differ by {logprobs:e}");
            let (error, parameter) = worst_gradient(&policy, &part_gradient, &gradient);
            assert!(error <= GRADIENT, "micro-batches of {size}: {parameter} differs by {error:e}");
            worst = worst.max(error);
        }
    }
    eprintln!("micro-batches: {worst:e}");
}

/// A vocabulary so large that the head works on several chunks of rows, and targets that share rows across them.
fn many_chunks(tied: bool) -> (Policy<Cpu>, Segments) {
    let arch = Architecture { vocab: 9000, hidden: 16, layers: 1, windows: vec![None], tied, ..plain() };
    let segments = segments(
        &mut Random(18),
        arch.vocab,
        &[(None, 4), (Some(0), 150), (None, 200), (Some(0), 180), (Some(0), 3)],
    );
    (models::policy(arch, 19), segments)
}

#[test]
fn two_phases_and_one_sweep_are_bit_equal() {
    let small = models::policy(models::full(), 20);
    let small_segments = sequences(&mut Random(21), small.architecture().vocab);
    for (policy, segments) in [many_chunks(true), many_chunks(false), (small, small_segments)] {
        let batch = as_trees(&segments);
        let want = Want { temperature: 0.8, entropy: true, kl: None };
        let targets = batch.targets().len();
        let mut random = Random(22);
        let given = Seeds { logprobs: random.seeds(targets), entropy: random.seeds(targets), kl: Vec::new() };

        let forward = policy.forward(&batch, Keep::Activations).unwrap();
        let stats = policy.stats(&batch, &forward, &want).unwrap();
        let mut grads = policy.gradients();
        policy.backward(&batch, forward, &want, &given, &mut grads).unwrap();
        let two_phases = policy.read_gradients(&grads, 0..policy.layout().len);

        let forward = policy.forward(&batch, Keep::Activations).unwrap();
        grads.reset();
        let (mut calls, mut seen) = (0, vec![0; targets]);
        let swept = policy
            .backward_with(&batch, forward, &want, &mut grads, |part, order| {
                calls += 1;
                assert!(part.logprobs.len() == order.len() && part.entropy.len() == order.len());
                for (at, &i) in order.iter().enumerate() {
                    seen[i] += 1;
                    assert!(part.logprobs[at] == stats.logprobs[i] && part.entropy[at] == stats.entropy[i]);
                }
                let pick = |x: &[f32]| order.iter().map(|&i| x[i]).collect();
                Seeds { logprobs: pick(&given.logprobs), entropy: pick(&given.entropy), kl: Vec::new() }
            })
            .unwrap();
        assert!(swept == stats, "statistics of the two ways differ");
        assert!(seen.iter().all(|&times| times == 1), "a target was asked for twice or never");
        assert_eq!(calls > 1, policy.architecture().vocab == 9000, "{calls} chunks");
        assert!(two_phases == policy.read_gradients(&grads, 0..policy.layout().len));
    }
}

#[test]
fn chunks_of_the_head_are_right() {
    for tied in [true, false] {
        let (policy, segments) = many_chunks(tied);
        let (error, gradient) = check_forest("several chunks", &policy, &segments);
        eprintln!("chunks, tied {tied}: {error:e} {gradient:e}");
    }
}

#[test]
fn without_targets_the_gradient_stays_as_it_was() {
    let policy = models::policy(models::full(), 23);
    let mut silent = Batch::new();
    silent.push(None, &[1, 2, 3], |_| false).unwrap();
    silent.push(None, &[4], |_| true).unwrap();
    let mut grads = policy.gradients();
    let add = |batch: &Batch, grads: &mut _| {
        let forward = policy.forward(batch, Keep::Activations).unwrap();
        let seeds = Seeds { logprobs: vec![0.5; batch.targets().len()], ..Seeds::default() };
        policy.backward(batch, forward, &Want::default(), &seeds, grads).unwrap();
    };
    add(&silent, &mut grads);
    assert!(grads.is_empty());
    assert!(policy.read_gradients(&grads, 0..policy.layout().len).iter().all(|g| *g == 0.0));
    assert_eq!(gft_model::optimizer::gradient_norm(&policy, &grads).unwrap(), 0.0);

    let mut loud = Batch::new();
    loud.push_sequence(&[1, 2, 3, 4]).unwrap();
    add(&loud, &mut grads);
    let before = policy.read_gradients(&grads, 0..policy.layout().len);
    assert!(!grads.is_empty() && before.iter().any(|g| *g != 0.0));
    add(&silent, &mut grads);
    assert!(before == policy.read_gradients(&grads, 0..policy.layout().len));

    // Adding the same twice doubles every element exactly; after a reset the buffer's old contents are gone.
    add(&loud, &mut grads);
    let twice = policy.read_gradients(&grads, 0..policy.layout().len);
    let scale = before.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    // Each addition rounds once: 2^-24 of the sum, and the sums of a product may round in another order.
    assert!(before.iter().zip(&twice).all(|(one, two)| (2.0 * one - two).abs() <= 1e-6 * scale));
    grads.reset();
    add(&loud, &mut grads);
    assert!(before == policy.read_gradients(&grads, 0..policy.layout().len));
}

/// DESIGN.md T7: fifty steps in each class of packing, mean residual of the loss.
#[test]
fn fifty_steps_of_training_stay_together_however_batches_are_cut() {
    use gft_model::optimizer::{AdamW, AdamWConfig, clip_scale, gradient_norm};
    let shape = [(None, 12), (Some(0), 7), (Some(0), 9), (Some(0), 3), (None, 8), (Some(4), 6), (Some(4), 5)];
    let segments = segments(&mut Random(24), plain().vocab, &shape);
    let train = |batches: &dyn Fn() -> Vec<Batch>, keep: Keep| {
        let mut policy = models::policy(models::full(), 25);
        let mut optimizer = AdamW::new(&policy, AdamWConfig::default());
        let mut grads = policy.gradients();
        let targets: usize = batches().iter().map(|batch| batch.targets().len()).sum();
        let seed = -1.0 / targets as f32;
        let step = |_| {
            grads.reset();
            let mut loss = 0.0;
            for batch in batches() {
                let forward = policy.forward(&batch, keep).unwrap();
                let stats = policy
                    .backward_with(&batch, forward, &Want::default(), &mut grads, |_, order| Seeds {
                        logprobs: vec![seed; order.len()],
                        ..Seeds::default()
                    })
                    .unwrap();
                loss -= stats.logprobs.iter().map(|x| f64::from(*x)).sum::<f64>() / targets as f64;
            }
            let scale = clip_scale(gradient_norm(&policy, &grads).unwrap(), 1.0);
            optimizer.update(&mut policy, &grads, 3e-4, scale).unwrap();
            loss
        };
        (0..50).map(step).collect::<Vec<f64>>()
    };
    let whole = || vec![as_trees(&segments)];
    let halves = || vec![as_trees(&segments[..4].to_vec()), second_half(&segments)];
    let alone = || as_sequences(&segments);
    let first = train(&whole, Keep::Activations);
    assert!(first[49] < 0.8 * first[0], "it does not learn: {} to {}", first[0], first[49]);
    assert!(first == train(&whole, Keep::LayerInputs));
    for (what, batches) in [("halves", &halves as &dyn Fn() -> Vec<Batch>), ("alone", &alone)] {
        let other = train(batches, Keep::Activations);
        let mean = first.iter().zip(&other).map(|(a, b)| (a - b).abs()).sum::<f64>() / 50.0;
        eprintln!("fifty steps, {what}: mean residual {mean:e}");
        assert!(mean <= 1e-6, "{what}: mean residual {mean:e}");
    }
}

fn second_half(segments: &Segments) -> Batch {
    let moved: Segments =
        segments[4..].iter().map(|(parent, tokens)| (parent.map(|p| p - 4), tokens.clone())).collect();
    as_trees(&moved)
}
