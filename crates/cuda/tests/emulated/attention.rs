//! Attention against the CPU's, and what its heads go through before: over a batch of trees and over the cache.

use gft_cuda::Precision;
use gft_model::device::{Chain, Device, Heads, PAGE, Slot};
use gft_model::{Batch, Cpu};

use crate::agree;
use crate::compare::{FEW, SUMS, normal, put, room};
use crate::golden::relative_l2;
use crate::machine::Emulated;
use crate::models::{Random, as_trees, segments};

/// Scores are sums, probabilities their exponentials, results sums of both; and the backward pass subtracts two sums of the
/// size of `dim`, whose roundings remain where they cancel.
const ATTENTION: f32 = 128.0;

/// Heads of all widths that kernels are made for, and of widths between them.
const HEADS: [Heads; 5] = [
    Heads { heads: 4, kv_heads: 2, dim: 8 },
    Heads { heads: 2, kv_heads: 2, dim: 64 },
    Heads { heads: 6, kv_heads: 1, dim: 34 },
    Heads { heads: 2, kv_heads: 1, dim: 128 },
    Heads { heads: 3, kv_heads: 3, dim: 200 },
];

fn rotations(random: &mut Random, len: usize) -> (Vec<f32>, Vec<f32>) {
    let angles: Vec<f64> = (0..len).map(|_| 6.3 * random.unit()).collect();
    (angles.iter().map(|a| a.cos() as f32).collect(), angles.iter().map(|a| a.sin() as f32).collect())
}

#[test]
fn heads() {
    let mut random = Random(4);
    for heads in HEADS {
        for rows in [1, 5, 37] {
            let len = rows * heads.width();
            let (raw, d) = (normal(&mut random, len), normal(&mut random, len));
            let weights: Vec<f32> =
                normal(&mut random, 2 * heads.dim).iter().map(|x| 1.0 + 0.3 * x).collect();
            let dweights = normal(&mut random, 2 * heads.dim);
            agree!(SUMS, |device| {
                let (mut normed, raw) = (put(device, &raw), put(device, &raw));
                let weights = put(device, &weights);
                device.head_norm(heads, weights.get(), 1e-6, normed.set());
                let (mut d, mut dweights) = (put(device, &d), put(device, &dweights));
                device.head_norm_backward(heads, raw.get(), weights.get(), 1e-6, d.set(), dweights.set());
                vec![
                    ("head_norm", normed.read(device)),
                    ("head_norm_backward d", d.read(device)),
                    ("head_norm_backward dweights", dweights.read(device)),
                ]
            });
            let (cos, sin) = rotations(&mut random, rows * heads.dim / 2);
            let mut batch = Batch::new();
            batch.push_sequence(&random.tokens(rows, 9)).unwrap();
            agree!(FEW, |device| {
                let (mut forward, mut back, mut by_row) =
                    (put(device, &raw), put(device, &raw), put(device, &raw));
                let plan = device.plan(&batch, cos.clone(), sin.clone());
                device.rotate(&plan, heads, false, forward.set());
                device.rotate(&plan, heads, true, back.set());
                device.rotate_rows(heads, &cos, &sin, by_row.set());
                vec![
                    ("rotate", forward.read(device)),
                    ("rotate inverse", back.read(device)),
                    ("rotate_rows", by_row.read(device)),
                ]
            });
        }
    }
}

/// A forest with segments around a tile of 64 tokens, three deep, and a tree of one token.
const FOREST: [(Option<usize>, usize); 8] = [
    (None, 70),
    (Some(0), 5),
    (Some(0), 65),
    (Some(1), 64),
    (None, 1),
    (Some(4), 33),
    (Some(4), 2),
    (Some(2), 1),
];

#[test]
fn attention_over_a_forest() {
    let mut random = Random(10);
    let batch = as_trees(&segments(&mut random, 50, &FOREST));
    for heads in HEADS {
        for window in [None, Some(1), Some(7), Some(100)] {
            let (rows, mixed) = (batch.len(), heads.heads * heads.dim);
            let qkv = normal(&mut random, rows * heads.width());
            let dout = normal(&mut random, rows * mixed);
            let (cos, sin) = rotations(&mut random, rows * heads.dim / 2);
            agree!(ATTENTION, |device| {
                let plan = device.plan(&batch, cos.clone(), sin.clone());
                let (qkv, dout) = (put(device, &qkv), put(device, &dout));
                let (mut out, mut lse) = (room(device, rows * mixed), room(device, rows * heads.heads));
                device.attention(&plan, heads, window, qkv.get(), out.set(), lse.set());
                let mut dqkv = room(device, rows * heads.width());
                device.attention_backward(
                    &plan,
                    heads,
                    window,
                    qkv.get(),
                    out.get(),
                    lse.get(),
                    dout.get(),
                    dqkv.set(),
                );
                vec![
                    ("attention", out.read(device)),
                    ("lse", lse.read(device)),
                    ("attention_backward", dqkv.read(device)),
                ]
            });
        }
    }
}

/// What an operand of a matrix unit is: rounded to bf16.
fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect()
}

/// A prompt that eight responses see: more than twice what a tile is seen by on average, so that its tiles are shared out among
/// blocks.
fn tree_of_many() -> Batch {
    let mut segments = vec![(None, 70)];
    segments.extend([(Some(0), 65); 8]);
    as_trees(&self::segments(&mut Random(15), 50, &segments))
}

#[test]
fn attention_on_matrix_units() {
    // Operands are given rounded, so that probabilities and their gradients are rounded on the way, and results, each by up to
    // 2^-8 of itself and by 1.6e-3 in the root mean square: three of them one after another by 2.8e-3.
    const ROUNDED: f64 = 1.0 / 256.0;
    let mut random = Random(14);
    let forest = as_trees(&segments(&mut random, 50, &FOREST));
    let shapes = [(64, None), (64, Some(7)), (128, None), (128, Some(100))].map(|shape| (shape, &forest));
    let many = tree_of_many();
    for ((dim, window), batch) in shapes.into_iter().chain([((64, None), &many), ((64, Some(80)), &many)]) {
        let heads = Heads { heads: 4, kv_heads: 2, dim };
        let (rows, mixed) = (batch.len(), heads.heads * heads.dim);
        let qkv = rounded(&normal(&mut random, rows * heads.width()));
        let dout = rounded(&normal(&mut random, rows * mixed));
        fn run<D: Device>(
            device: &D,
            (batch, heads, window): (&Batch, Heads, Option<usize>),
            qkv: &[f32],
            dout: &[f32],
        ) -> [Vec<f32>; 3] {
            let rows = batch.len();
            let plan = device.plan(batch, Vec::new(), Vec::new());
            let (qkv, dout_at) = (put(device, qkv), put(device, dout));
            let (mut out, mut lse) = (room(device, dout.len()), room(device, rows * heads.heads));
            device.attention(&plan, heads, window, qkv.get(), out.set(), lse.set());
            let mut dqkv = room(device, rows * heads.width());
            let (out_at, lse_at, d) = (out.get(), lse.get(), dqkv.set());
            device.attention_backward(&plan, heads, window, qkv.get(), out_at, lse_at, dout_at.get(), d);
            [out.read(device), lse.read(device), dqkv.read(device)]
        }
        let shape = (batch, heads, window);
        let machine = Emulated::default();
        let ours = run(&machine.device(Precision::Bf16), shape, &qkv, &dout);
        let expected = run(&Cpu::new(), shape, &qkv, &dout);
        for (what, (ours, expected)) in
            ["attention", "lse", "attention_backward"].iter().zip(ours.iter().zip(&expected))
        {
            let off = relative_l2(ours, expected);
            assert!(off < ROUNDED, "{what}: {off:e}");
        }
        assert!(ours[0] != expected[0], "the matrix units were not used");
    }
}

#[test]
fn attention_over_the_cache() {
    let mut random = Random(11);
    const LAYERS: usize = 2;
    for heads in HEADS {
        // A prompt of 9 pages and a bit is shared by two completions; a third has a prompt of one token.
        let (prompt, own) = (9 * PAGE + 5, [3, PAGE + 1]);
        let mut slots: Vec<Slot> = Vec::new();
        let mut next = 0u32;
        let mut run = |len: usize| -> Vec<(u32, u32)> {
            let pages: Vec<(u32, u32)> = (0..len.div_ceil(PAGE))
                .map(|i| (next + (i as u32 ^ 1), (len - i * PAGE).min(PAGE) as u32))
                .collect();
            for &(page, tokens) in &pages {
                slots.extend((0..tokens).map(|offset| Slot { page, offset }));
            }
            next += len.div_ceil(PAGE) as u32 + 1;
            pages
        };
        let shared = run(prompt);
        let chains: Vec<Chain> = [Some(own[0]), Some(own[1]), None]
            .map(|own| match own {
                Some(own) => Chain { runs: shared.iter().copied().chain(run(own)).collect() },
                None => Chain { runs: run(1) },
            })
            .into();
        let width = heads.width();
        let stored: Vec<Vec<f32>> = (0..LAYERS).map(|_| normal(&mut random, slots.len() * width)).collect();
        let queries = normal(&mut random, chains.len() * width);
        for window in [None, Some(1), Some(70), Some(5000)] {
            agree!(ATTENTION, |device| {
                let mut cache = device.cache(LAYERS, heads);
                device.reserve_pages(&mut cache, 2);
                device.reserve_pages(&mut cache, next as usize + 1);
                for (layer, stored) in stored.iter().enumerate() {
                    let stored = put(device, stored);
                    device.store(&mut cache, layer, stored.get(), &slots);
                }
                // What is held stays when there are more pages.
                device.reserve_pages(&mut cache, next as usize + 100);
                let queries = put(device, &queries);
                let mut results = Vec::new();
                for layer in 0..LAYERS {
                    let mut out = room(device, chains.len() * heads.heads * heads.dim);
                    device.cached_attention(&cache, layer, window, &chains, queries.get(), out.set());
                    results.push(("cached_attention", out.read(device)));
                }
                // Other chains after those: of other rows, and one of them shorter.
                let mut others = vec![chains[1].clone(), chains[0].clone(), chains[2].clone()];
                others[0].runs.pop();
                let mut out = room(device, chains.len() * heads.heads * heads.dim);
                device.cached_attention(&cache, 0, window, &others, queries.get(), out.set());
                results.push(("other chains", out.read(device)));
                results
            });
        }
    }
}
