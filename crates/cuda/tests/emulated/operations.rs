//! Each operation against the CPU's, over odd sizes.

use gft_cuda::Precision;
use gft_model::device::{
    AdamWUpdate, Buffer, Chain, ChunkSeeds, ChunkTargets, ChunkWant, Device, HalfFormat, HalfView, Heads,
    KlDirection, MatMul, PAGE, Slot, Strides,
};
use gft_model::random::Stream;
use gft_model::{Batch, Cpu};

use crate::agree;
use crate::compare::{normal, put, room};
use crate::golden::relative_l2;
use crate::machine::Emulated;
use crate::models::{Random, as_trees, segments};

/// Additions, multiplications and copies of single numbers: no rounding differs.
const EXACT: f32 = 0.0;
/// A product of a few numbers, or a function of `exp` and a division: each rounds once or twice.
const FEW: f32 = 4.0;
/// Sums of up to 1000 terms in another order: their rounding grows as the root of their number, a quarter of a unit each.
const SUMS: f32 = 16.0;

/// Scores are sums, probabilities their exponentials, results sums of both; and the backward pass subtracts two sums of the
/// size of `dim`, whose roundings remain where they cancel.
const ATTENTION: f32 = 128.0;

const LENGTHS: [usize; 5] = [1, 31, 256, 1025, 5000];
/// Rows and widths around the blocks of the kernels: warps, 64 rows of a sum, 256 threads, 1024 elements.
const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 33), (65, 64), (2, 1030), (130, 7), (17, 256)];

#[test]
fn elementwise() {
    let mut random = Random(1);
    for len in LENGTHS {
        let (x, y) = (normal(&mut random, len), normal(&mut random, len));
        agree!(EXACT, |device| {
            let (mut a, b) = (put(device, &x), put(device, &y));
            device.add(b.get(), a.set());
            let mut dropped = put(device, &x);
            device.dropout(Stream::new(3).child(5), 0.3, dropped.set());
            let mut copied = room(device, len);
            device.copy(a.get(), copied.set());
            let mut zeroed = put(device, &x);
            device.fill_zero(zeroed.set());
            vec![
                ("add", a.read(device)),
                ("dropout", dropped.read(device)),
                ("copy", copied.read(device)),
                ("fill_zero", zeroed.read(device)),
            ]
        });
    }
}

#[test]
fn rows() {
    let mut random = Random(2);
    for (rows, width) in SHAPES {
        let (x, y) = (normal(&mut random, rows * width), normal(&mut random, width));
        let (first, end) = (width / 3, width - width / 4);
        let picked: Vec<u32> = (0..rows + 3).map(|_| random.below(rows) as u32).collect();
        let permuted: Vec<u32> = (0..rows as u32).rev().collect();
        agree!(EXACT, |device| {
            let (mut biased, bias) = (put(device, &x), put(device, &y));
            device.add_bias(bias.get(), biased.set());
            let mut scaled = put(device, &x);
            device.scale_columns(width, first..end, 1.7, scaled.set());
            let from = put(device, &x);
            let mut gathered = room(device, picked.len() * width);
            device.gather_rows(from.get(), &picked, width, gathered.set());
            let mut scattered = put(device, &vec![0.5; (rows + 2) * width]);
            device.scatter_rows(from.get(), &permuted, width, scattered.set());
            vec![
                ("add_bias", biased.read(device)),
                ("scale_columns", scaled.read(device)),
                ("gather_rows", gathered.read(device)),
                ("scatter_rows", scattered.read(device)),
            ]
        });
        agree!(SUMS, |device| {
            let (dy, mut total) = (put(device, &x), put(device, &y));
            device.bias_backward(dy.get(), total.set());
            vec![("bias_backward", total.read(device))]
        });
    }
}

#[test]
fn norms() {
    let mut random = Random(3);
    for (rows, width) in SHAPES {
        let (x, dy) = (normal(&mut random, rows * width), normal(&mut random, rows * width));
        let weight: Vec<f32> = normal(&mut random, width).iter().map(|x| 1.0 + 0.3 * x).collect();
        let (dx, dweight) = (normal(&mut random, rows * width), normal(&mut random, width));
        agree!(SUMS, |device| {
            let (x, weight, dy) = (put(device, &x), put(device, &weight), put(device, &dy));
            let (mut y, mut inv) = (room(device, rows * width), room(device, rows));
            device.rms_norm(x.get(), weight.get(), 1e-6, y.set(), inv.set());
            let (mut dx, mut dweight) = (put(device, &dx), put(device, &dweight));
            let (input, weights) = (dx.set(), dweight.set());
            device.rms_norm_backward(x.get(), weight.get(), inv.get(), dy.get(), input, weights);
            vec![
                ("rms_norm", y.read(device)),
                ("inv", inv.read(device)),
                ("rms_norm_backward dx", dx.read(device)),
                ("rms_norm_backward dweight", dweight.read(device)),
            ]
        });
    }
}

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

#[test]
fn swiglu() {
    let mut random = Random(5);
    for (rows, ffn) in SHAPES {
        let mut gate_up = normal(&mut random, rows * 2 * ffn);
        // Gates at which the sigmoid is 0 or 1 in f32.
        if ffn > 2 {
            (gate_up[0], gate_up[1]) = (-200.0, 200.0);
        }
        let dact = normal(&mut random, rows * ffn);
        agree!(FEW, |device| {
            let (mut both, mut act) = (put(device, &gate_up), room(device, rows * ffn));
            device.swiglu(ffn, both.get(), act.set());
            let mut again = put(device, &dact);
            device.swiglu_backward(ffn, again.set(), both.set());
            vec![
                ("swiglu", act.read(device)),
                ("swiglu_backward", both.read(device)),
                ("swiglu again", again.read(device)),
            ]
        });
    }
}

#[test]
fn embeddings() {
    let mut random = Random(6);
    for (tokens, width, vocab) in [(1, 5, 3), (70, 33, 11), (200, 1030, 50)] {
        let ids = random.tokens(tokens, vocab);
        let mut batch = Batch::new();
        batch.push_sequence(&ids).unwrap();
        let (dy, table) = (normal(&mut random, tokens * width), normal(&mut random, vocab * width));
        agree!(SUMS, |device| {
            let plan = device.plan(&batch, Vec::new(), Vec::new());
            let (dy, mut table) = (put(device, &dy), put(device, &table));
            device.embed_backward(&plan, dy.get(), table.set());
            vec![("embed_backward", table.read(device))]
        });
    }
}

#[test]
fn products() {
    let mut random = Random(7);
    for (m, n, k) in [(1, 1, 1), (5, 7, 3), (17, 33, 65), (4, 130, 9)] {
        for bits in 0..8 {
            let (transpose_a, transpose_b, accumulate) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            let op = MatMul { m, n, k, transpose_a, transpose_b, accumulate };
            let dense = op.dense();
            for extra in [0, 5] {
                let strides = Strides { a: dense.a + extra, b: dense.b + 2 * extra, out: dense.out + extra };
                let a_rows = if transpose_a { k } else { m };
                let b_rows = if transpose_b { n } else { k };
                let a = normal(&mut random, a_rows * strides.a);
                let b = normal(&mut random, b_rows * strides.b);
                let out = normal(&mut random, m * strides.out);
                agree!(SUMS, |device| {
                    let (a, b, mut out) = (put(device, &a), put(device, &b), put(device, &out));
                    device.matmul_within(op, strides, a.get(), b.get(), out.set());
                    vec![("matmul", out.read(device))]
                });
            }
        }
    }
}

fn halves<D: Device>(device: &D, format: HalfFormat, values: &[f32]) -> D::Half {
    let bits: Vec<u16> = values
        .iter()
        .map(|x| match format {
            HalfFormat::F16 => half::f16::from_f32(*x).to_bits(),
            HalfFormat::Bf16 => half::bf16::from_f32(*x).to_bits(),
        })
        .collect();
    let mut halves = device.halves(format, values.len() + 2);
    device.write_half(&bits, 1, &mut halves);
    halves
}

#[test]
fn weights_of_16_bits() {
    let mut random = Random(8);
    for format in [HalfFormat::F16, HalfFormat::Bf16] {
        for (m, n, k) in [(1, 1, 1), (5, 7, 30), (17, 33, 65)] {
            let weight = normal(&mut random, n * k);
            let rows: Vec<u32> = (0..6).map(|_| random.below(n) as u32).collect();
            agree!(EXACT, |device| {
                let weight = halves(device, format, &weight);
                let mut read = vec![f32::NAN; n * k + 2];
                device.read_half(HalfView { buffer: &weight, range: 0..n * k + 2 }, &mut read);
                let mut gathered = room(device, rows.len() * k);
                let table = HalfView { buffer: &weight, range: 1..n * k + 1 };
                device.gather_half(table, &rows, k, gathered.set());
                vec![("read_half", read), ("gather_half", gathered.read(device))]
            });
            // The left operand of a frozen weight is never transposed; the CPU refuses it.
            for bits in 0..4 {
                let (transpose_b, accumulate) = (bits & 1 != 0, bits & 2 != 0);
                let op = MatMul { m, n, k, transpose_a: false, transpose_b, accumulate };
                let (a, out) = (normal(&mut random, m * k), normal(&mut random, m * n));
                agree!(SUMS, |device| {
                    let weight = halves(device, format, &weight);
                    let (a, mut out) = (put(device, &a), put(device, &out));
                    let range = 1..n * k + 1;
                    device.matmul_half(op, a.get(), HalfView { buffer: &weight, range }, out.set());
                    vec![("matmul_half", out.read(device))]
                });
            }
        }
    }
}

#[test]
fn packed_weights() {
    let mut random = Random(9);
    for (n, k) in [(1, 1), (7, 30), (33, 65)] {
        let weight = normal(&mut random, n * k);
        for rows in [1, 2, 3, 7] {
            for (accumulate, apart) in [(false, None), (true, None), (true, Some((k + 2, n + 3)))] {
                let (x_stride, out_stride) = apart.unwrap_or((k, n));
                let (x, out) = (normal(&mut random, rows * x_stride), normal(&mut random, rows * out_stride));
                agree!(SUMS, |device| {
                    let from = put(device, &weight);
                    let packed = device.pack(from.get(), n, k);
                    let (x, mut first) = (put(device, &x), put(device, &out));
                    device.linear_within(&packed, rows, apart, accumulate, x.get(), first.set());
                    let mut results = vec![("pack", first.read(device))];
                    for format in [HalfFormat::F16, HalfFormat::Bf16] {
                        let from = halves(device, format, &weight);
                        let range = 1..n * k + 1;
                        let packed = device.pack_half(HalfView { buffer: &from, range }, n, k);
                        let mut out = put(device, &out);
                        device.linear_within(&packed, rows, apart, accumulate, x.get(), out.set());
                        results.push(("pack_half", out.read(device)));
                    }
                    results
                });
            }
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

#[test]
fn attention_on_matrix_units() {
    // Operands are given rounded, so that only probabilities and their gradients are rounded on the way, each by up to 2^-9
    // of itself: the results as a whole are off by no more than two such roundings.
    const ROUNDED: f64 = 1.0 / 256.0;
    let mut random = Random(14);
    let batch = as_trees(&segments(&mut random, 50, &FOREST));
    for (dim, window) in [(64, None), (64, Some(7)), (128, None), (128, Some(100))] {
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
        let shape = (&batch, heads, window);
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
                results
            });
        }
    }
}

#[test]
fn vocabulary() {
    let mut random = Random(12);
    for (counts, vocab) in [(vec![1], 3), (vec![2, 1, 3, 1], 513), (vec![1, 1, 4], 3000)] {
        let rows = counts.len();
        let mut offsets = vec![0];
        counts.iter().for_each(|count| offsets.push(offsets.last().unwrap() + count));
        let tokens = random.tokens(*offsets.last().unwrap(), vocab);
        let logits: Vec<f32> = normal(&mut random, rows * vocab).iter().map(|x| 3.0 * x).collect();
        let reference: Vec<f32> = normal(&mut random, rows * vocab).iter().map(|x| 3.0 * x).collect();
        let seeds = ChunkSeeds {
            logprobs: normal(&mut random, tokens.len()),
            entropy: normal(&mut random, rows),
            kl: normal(&mut random, rows),
        };
        let directions = [None, Some(KlDirection::ReferenceToPolicy), Some(KlDirection::PolicyToReference)];
        for (entropy, kl) in [false, true].into_iter().flat_map(|e| directions.map(|kl| (e, kl))) {
            let want = ChunkWant { temperature: 0.7, entropy, kl };
            let mut seeds = seeds.clone();
            if !entropy {
                seeds.entropy.clear();
            }
            if kl.is_none() {
                seeds.kl.clear();
            }
            agree!(SUMS, |device| {
                let targets = ChunkTargets { offsets: &offsets, tokens: &tokens };
                let (mut logits, reference) = (put(device, &logits), put(device, &reference));
                let reference = || kl.map(|_| reference.get());
                let stats = device.chunk_stats(want, targets, logits.get(), reference());
                device.chunk_backward(want, targets, &stats, &seeds, logits.set(), reference());
                vec![
                    ("lse", stats.lse),
                    ("reference_lse", stats.reference_lse),
                    ("logprobs", stats.logprobs),
                    ("entropy", stats.entropy),
                    ("kl", stats.kl),
                    ("chunk_backward", logits.read(device)),
                ]
            });
        }
    }
}

#[test]
fn optimizer() {
    let mut random = Random(13);
    for len in LENGTHS.into_iter().chain([300_000]) {
        let [grads, params, m] = [0; 3].map(|_| normal(&mut random, len));
        let v: Vec<f32> = normal(&mut random, len).iter().map(|x| x * x).collect();
        let update = AdamWUpdate {
            lr: 1e-3,
            one_minus_beta1: 0.1,
            beta2: 0.999,
            one_minus_beta2: 0.001,
            eps: 1e-8,
            weight_decay: 0.01,
            bias_correction1: 0.19,
            bias_correction2: 0.002,
            gradient_scale: 0.7,
        };
        agree!(FEW, |device| {
            let (grads, mut params) = (put(device, &grads), put(device, &params));
            let (mut m, mut v) = (put(device, &m), put(device, &v));
            device.adamw(update, grads.get(), params.set(), m.set(), v.set());
            // f64, where the order of additions is far below what f32 shows.
            let squares = device.sum_squares(grads.get()) as f32;
            vec![
                ("params", params.read(device)),
                ("m", m.read(device)),
                ("v", v.read(device)),
                ("sum_squares", vec![squares]),
            ]
        });
    }
}

#[test]
fn buffers() {
    agree!(EXACT, |device| {
        let zeros = device.zeros(5);
        let mut read = vec![f32::NAN; 5];
        device.read(zeros.all(), &mut read);
        vec![("zeros", read)]
    });
}
