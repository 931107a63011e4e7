//! Each operation but products and attention against the CPU's, over odd sizes.

use gft_model::Batch;
use gft_model::device::{AdamWUpdate, Buffer, ChunkSeeds, ChunkTargets, ChunkWant, Device, KlDirection};
use gft_model::random::Stream;

use crate::agree;
use crate::compare::{EXACT, FEW, SUMS, normal, put, room};
use crate::models::Random;

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

#[test]
fn swiglu() {
    let mut random = Random(5);
    // Eight elements a thread: the last begins a second block.
    for (rows, ffn) in SHAPES.into_iter().chain([(2, 2056)]) {
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
                let apart = device.chunk_backward(want, targets, &stats, &seeds, logits.set(), reference());
                assert!(apart.is_none());
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
