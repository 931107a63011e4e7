//! Operations on activations kept in bf16 against the CPU's of f32, over odd sizes: the same numbers go in, which bf16 has
//! exactly, and what comes out is rounded once.

use gft_cuda::{Cuda, Precision};
use gft_model::device::{
    Buffer, ChunkSeeds, ChunkTargets, ChunkWant, Device, Heads, KlDirection, MatMul, Strides,
};
use gft_model::{Batch, Cpu};

use crate::compare::{Placed, normal, put, put_activation, room, room_for_activation};
use crate::golden::relative_l2;
use crate::machine::Emulated;
use crate::models::{Random, as_trees, segments};

/// One rounding to bf16, whose mantissa has 8 bits with the hidden one: half a unit in the last place is up to 2^-8 of a
/// number.
const ROUNDING: f32 = 1.0 / 256.0;
/// What differs between the devices before that, in units of f32 as `compare::close` counts: a few operations, or sums of up
/// to 1000 terms.
const FEW: f32 = 4.0;
const SUMS: f32 = 16.0;

/// Elements before a view: one that no wide access begins at, and one that all do.
const BESIDE: [usize; 2] = [3, 8];
/// Rows and widths around the blocks of the kernels: warps, 64 rows of a sum, 256 threads, 1024 elements.
const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 33), (65, 64), (2, 1032), (130, 7), (17, 256)];

const HEADS: [Heads; 4] = [
    Heads { heads: 4, kv_heads: 2, dim: 8 },
    Heads { heads: 2, kv_heads: 2, dim: 64 },
    Heads { heads: 6, kv_heads: 1, dim: 34 },
    Heads { heads: 3, kv_heads: 3, dim: 200 },
];

/// A result's name, its numbers, and whether it is an activation.
type Found = (&'static str, Vec<f32>, bool);

fn to_bf16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect()
}

/// Standard normal numbers that bf16 has.
fn exact(random: &mut Random, len: usize) -> Vec<f32> {
    to_bf16(&normal(random, len))
}

/// Whether bf16 has all of these numbers.
fn in_bf16(values: &[f32]) -> bool {
    values.iter().all(|x| x.to_bits() & 0xffff == 0)
}

/// Compares results with the CPU's: `units` of f32, and for activations one rounding.
fn close(ours: &[Found], expected: &[Found], units: f32) {
    for ((what, ours, activation), (_, expected, _)) in ours.iter().zip(expected) {
        assert_eq!(ours.len(), expected.len(), "{what}: lengths");
        let squares: f64 = expected.iter().map(|x| f64::from(*x).powi(2)).sum();
        let size = (squares / expected.len().max(1) as f64).sqrt() as f32;
        let rounding = if *activation { ROUNDING } else { 0.0 };
        for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
            let allowed = rounding * b.abs() + units * f32::EPSILON * b.abs().max(size);
            assert!((a - b).abs() <= allowed, "{what}[{i}]: {a}, expected {b} within {allowed:e}");
        }
        assert!(!activation || in_bf16(ours), "{what}: kept in other numbers");
    }
}

fn bf16() -> Cuda {
    Emulated::default().device(Precision::Bf16)
}

/// Runs the same code on the CPU and on the emulated device in bf16, with views at both places.
macro_rules! agree {
    ($units:expr, |$device:ident, $beside:ident| $body:block) => {
        for $beside in BESIDE {
            let expected: Vec<Found> = {
                let $device = &Cpu::new();
                $body
            };
            let ours: Vec<Found> = {
                let $device = &bf16();
                $body
            };
            close(&ours, &expected, $units);
        }
    };
}

fn activation<D: Device>(what: &'static str, device: &D, placed: &Placed<D>) -> Found {
    (what, placed.read(device), true)
}

fn single<D: Device>(what: &'static str, device: &D, placed: &Placed<D>) -> Found {
    (what, placed.read(device), false)
}

#[test]
fn the_gradient_of_logits_is_the_one_in_f32_rounded() {
    let mut random = Random(9);
    // A token is the target of a row twice; a row has no target.
    let (offsets, tokens) = ([0, 3, 3, 4], [5, 2, 5, 0]);
    let targets = ChunkTargets { offsets: &offsets, tokens: &tokens };
    for vocab in [7, 3000] {
        let [logits, reference] = [(); 2].map(|()| normal(&mut random, 3 * vocab));
        for kl in [None, Some(KlDirection::ReferenceToPolicy), Some(KlDirection::PolicyToReference)] {
            let want = ChunkWant { temperature: 0.7, entropy: true, kl };
            let mut list = |wanted: bool, len| if wanted { normal(&mut random, len) } else { Vec::new() };
            let seeds = ChunkSeeds {
                logprobs: list(true, 4),
                entropy: list(vocab == 7, 3),
                kl: list(kl.is_some(), 3),
            };
            let backward = |device: &Cuda| {
                let (mut in_place, other) = (put(device, &logits), put(device, &reference));
                let reference = || kl.map(|_| other.get());
                let stats = device.chunk_stats(want, targets, in_place.get(), reference());
                let apart = device.chunk_backward(want, targets, &stats, &seeds, in_place.set(), reference());
                let Some(apart) = apart else { return (in_place.read(device), false) };
                let mut found = vec![f32::NAN; 3 * vocab];
                device.read(apart.all(), &mut found);
                device.status().unwrap();
                (found, true)
            };
            let (expected, apart) = backward(&Emulated::default().device(Precision::F32));
            assert!(!apart);
            assert_eq!(backward(&bf16()), (to_bf16(&expected), true), "{vocab} {kl:?}");
        }
    }
}

#[test]
fn numbers_are_rounded_to_nearest_with_ties_to_even() {
    let mut values = normal(&mut Random(1), 3000);
    // Halfway between two numbers, just beside, the largest, what rounds to infinity, and the smallest.
    let bits = [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff, 0x7f7f_0000, 0x7f7f_8000, 0x0000_8001, 1];
    values.extend(bits.map(f32::from_bits));
    let (len, expected) = (values.len(), to_bf16(&values));
    for beside in BESIDE {
        let device = &bf16();
        let kept = put_activation(device, &values, beside);
        assert_eq!(kept.read(device), expected, "written from the host and read");
        let single = put(device, &values);
        let mut rounded = room_for_activation(device, len, beside);
        let mut again = room_for_activation(device, len, 5);
        let mut widened = room(device, len);
        device.copy(single.get(), rounded.set());
        device.copy(rounded.get(), again.set());
        device.copy(again.get(), widened.set());
        assert_eq!(widened.read(device), expected, "copied between buffers");
        let copy = device.activation_of(single.get()).unwrap();
        let mut read = vec![0.0; len];
        device.read(copy.all(), &mut read);
        assert_eq!(read, expected, "rounded for several products");
        assert!(device.activation_of(copy.all()).is_none(), "rounded what is rounded");
        device.fill_zero(again.set());
        assert_eq!(again.read(device), vec![0.0; len]);
    }
}

#[test]
fn nothing_is_rounded_in_f32() {
    let device = &crate::compare::cuda();
    let values = normal(&mut Random(2), 100);
    let kept = put_activation(device, &values, 3);
    assert_eq!(kept.read(device), values);
    assert!(device.activation_of(kept.get()).is_none());
}

#[test]
fn rows() {
    let mut random = Random(3);
    for (rows, width) in SHAPES {
        let len = rows * width;
        let (x, y, bias) = (exact(&mut random, len), normal(&mut random, len), normal(&mut random, width));
        agree!(FEW, |device, beside| {
            let (mut sum, other) = (put_activation(device, &x, beside), put(device, &y));
            device.add(other.get(), sum.set());
            let (mut biased, bias) = (put_activation(device, &x, beside), put(device, &bias));
            device.add_bias(bias.get(), biased.set());
            vec![activation("add", device, &sum), activation("add_bias", device, &biased)]
        });
        agree!(SUMS, |device, beside| {
            let (dy, mut total) = (put_activation(device, &x, beside), put(device, &bias));
            device.bias_backward(dy.get(), total.set());
            vec![single("bias_backward", device, &total)]
        });
    }
}

#[test]
fn norms() {
    let mut random = Random(4);
    for (rows, width) in SHAPES {
        let (x, dy) = (normal(&mut random, rows * width), exact(&mut random, rows * width));
        let weight: Vec<f32> = normal(&mut random, width).iter().map(|x| 1.0 + 0.3 * x).collect();
        let (dx, dweight) = (normal(&mut random, rows * width), normal(&mut random, width));
        agree!(SUMS, |device, beside| {
            let (x, weight) = (put(device, &x), put(device, &weight));
            let (mut y, mut inv) = (room_for_activation(device, rows * width, beside), room(device, rows));
            device.rms_norm(x.get(), weight.get(), 1e-6, y.set(), inv.set());
            let dy = put_activation(device, &dy, beside);
            let (mut dx, mut dweight) = (put(device, &dx), put(device, &dweight));
            let (input, weights) = (dx.set(), dweight.set());
            device.rms_norm_backward(x.get(), weight.get(), inv.get(), dy.get(), input, weights);
            vec![
                activation("rms_norm", device, &y),
                single("inv", device, &inv),
                single("rms_norm_backward dx", device, &dx),
                single("rms_norm_backward dweight", device, &dweight),
            ]
        });
    }
}

#[test]
fn heads() {
    let mut random = Random(5);
    for heads in HEADS {
        for rows in [1, 5, 37] {
            let len = rows * heads.width();
            let (raw, d) = (exact(&mut random, len), exact(&mut random, len));
            let weights: Vec<f32> =
                normal(&mut random, 2 * heads.dim).iter().map(|x| 1.0 + 0.3 * x).collect();
            let dweights = normal(&mut random, 2 * heads.dim);
            let angles: Vec<f64> = (0..rows * heads.dim / 2).map(|_| 6.3 * random.unit()).collect();
            let cos: Vec<f32> = angles.iter().map(|a| a.cos() as f32).collect();
            let sin: Vec<f32> = angles.iter().map(|a| a.sin() as f32).collect();
            let mut batch = Batch::new();
            batch.push_sequence(&random.tokens(rows, 9)).unwrap();
            agree!(SUMS, |device, beside| {
                let [mut normed, mut turned, mut back] = [0; 3].map(|_| put_activation(device, &raw, beside));
                let (raw, weights) = (put_activation(device, &raw, beside), put(device, &weights));
                device.head_norm(heads, weights.get(), 1e-6, normed.set());
                let (mut d, mut dweights) = (put_activation(device, &d, beside), put(device, &dweights));
                device.head_norm_backward(heads, raw.get(), weights.get(), 1e-6, d.set(), dweights.set());
                let plan = device.plan(&batch, cos.clone(), sin.clone());
                device.rotate(&plan, heads, false, turned.set());
                device.rotate(&plan, heads, true, back.set());
                vec![
                    activation("head_norm", device, &normed),
                    activation("head_norm_backward d", device, &d),
                    single("head_norm_backward dweights", device, &dweights),
                    activation("rotate", device, &turned),
                    activation("rotate inverse", device, &back),
                ]
            });
        }
    }
}

#[test]
fn swiglu() {
    let mut random = Random(6);
    // Eight elements a thread: the last begins a second block.
    for (rows, ffn) in SHAPES.into_iter().chain([(2, 2056)]) {
        let gate_up: Vec<f32> = exact(&mut random, 2 * rows * ffn).iter().map(|x| 4.0 * x).collect();
        let dact = exact(&mut random, rows * ffn);
        agree!(SUMS, |device, beside| {
            let mut gate_up = put_activation(device, &gate_up, beside);
            let mut act = room_for_activation(device, rows * ffn, beside);
            device.swiglu(ffn, gate_up.get(), act.set());
            let mut gradient = put_activation(device, &dact, beside);
            device.swiglu_backward(ffn, gradient.set(), gate_up.set());
            assert_eq!(gradient.read(device), act.read(device), "the output is computed otherwise backward");
            vec![activation("swiglu", device, &act), activation("swiglu_backward", device, &gate_up)]
        });
    }
}

#[test]
fn products_of_operands_and_results_of_both_kinds() {
    let mut random = Random(7);
    for (m, n, k) in [(1, 1, 1), (5, 7, 3), (17, 33, 65), (4, 130, 8), (3, 2, 0)] {
        for bits in 0..64 {
            let bit = |at: usize| bits >> at & 1 != 0;
            let (transpose_a, transpose_b, accumulate) = (bit(0), bit(1), bit(2));
            let op = MatMul { m, n, k, transpose_a, transpose_b, accumulate };
            let (dense, extra) = (op.dense(), bits % 3);
            let strides = Strides { a: dense.a + extra, b: dense.b + 2 * extra, out: dense.out + extra };
            let (a_rows, b_rows) = (if transpose_a { k } else { m }, if transpose_b { n } else { k });
            let a = exact(&mut random, a_rows * strides.a);
            let b = exact(&mut random, b_rows * strides.b);
            let out = exact(&mut random, m * strides.out);
            fn put_either<D: Device>(device: &D, values: &[f32], kept: bool, beside: usize) -> Placed<D> {
                if kept { put_activation(device, values, beside) } else { put(device, values) }
            }
            agree!(SUMS, |device, beside| {
                let (a, b) = (put_either(device, &a, bit(3), beside), put_either(device, &b, bit(4), beside));
                let mut out = put_either(device, &out, bit(5), beside);
                device.matmul_within(op, strides, a.get(), b.get(), out.set());
                vec![("matmul", out.read(device), bit(5))]
            });
        }
    }
}

#[test]
fn attention() {
    // Where heads are 64 or 128 wide, probabilities and their gradients are rounded on the way, results are, and the backward
    // pass reads rounded ones of the forward pass; of other widths results alone are. A rounding is off by up to 2^-8, by 1.6e-3
    // in the root mean square; three of them one after another by 2.8e-3, below one at its largest.
    const ROUNDED: f64 = 1.0 / 256.0;
    let mut random = Random(8);
    let shape = [(None, 70), (Some(0), 5), (Some(0), 65), (Some(1), 64), (None, 1), (Some(4), 33)];
    let batch = as_trees(&segments(&mut random, 50, &shape));
    fn run<D: Device>(
        device: &D,
        (batch, heads, window): (&Batch, Heads, Option<usize>),
        [qkv, dout]: [&[f32]; 2],
        beside: usize,
    ) -> [Vec<f32>; 3] {
        let (rows, plan) = (batch.len(), device.plan(batch, Vec::new(), Vec::new()));
        let (qkv, dout) = (put_activation(device, qkv, beside), put_activation(device, dout, beside));
        let mut out = room_for_activation(device, rows * heads.heads * heads.dim, beside);
        let (mut lse, mut dqkv) =
            (room(device, rows * heads.heads), room_for_activation(device, rows * heads.width(), beside));
        device.attention(&plan, heads, window, qkv.get(), out.set(), lse.set());
        let (out_at, lse_at) = (out.get(), lse.get());
        device.attention_backward(&plan, heads, window, qkv.get(), out_at, lse_at, dout.get(), dqkv.set());
        [out.read(device), lse.read(device), dqkv.read(device)]
    }
    for (heads, kv_heads, dim) in [(4, 2, 64), (2, 1, 128), (6, 1, 34), (4, 2, 8)] {
        for (window, beside) in [(None, 8), (Some(7), 3), (Some(100), 8)] {
            let heads = Heads { heads, kv_heads, dim };
            let qkv = exact(&mut random, batch.len() * heads.width());
            let dout = exact(&mut random, batch.len() * heads.heads * dim);
            let shape = (&batch, heads, window);
            let ours = run(&bf16(), shape, [&qkv, &dout], beside);
            let expected = run(&Cpu::new(), shape, [&qkv, &dout], beside);
            for (what, (ours, expected)) in
                ["attention", "lse", "attention_backward"].iter().zip(ours.iter().zip(&expected))
            {
                let off = relative_l2(ours, expected);
                assert!(off < ROUNDED, "{what} of {dim}, {window:?}: {off:e}");
                assert_eq!(in_bf16(ours), *what != "lse", "{what} of {dim}: kept in other numbers");
            }
        }
    }
}

#[test]
fn what_no_kernel_takes_is_an_error_before_any_launch() {
    let heads = Heads { heads: 2, kv_heads: 1, dim: 2 };
    // Two buffers of activations and two of f32.
    let refused = |what: &str, run: &dyn Fn(&Cuda, &mut [gft_cuda::CudaBuffer; 4])| {
        let machine = Emulated::default();
        let device = machine.device(Precision::Bf16);
        let mut buffers = [true, true, false, false]
            .map(|kept| if kept { device.alloc_activation(64) } else { device.alloc(64) });
        run(&device, &mut buffers);
        let error = device.status().expect_err(what).to_string();
        let wanted = [
            format!("{what}: numbers of bf16 where it takes f32"),
            format!("{what}: numbers of f32 where it takes bf16"),
        ];
        assert!(wanted.iter().any(|wanted| error.ends_with(wanted)), "{what}: {error}");
        assert_eq!(machine.launches(), 0, "{what}: a kernel ran all the same");
    };
    refused("add", &|device, [x, y, ..]| device.add(x.all(), y.all_mut()));
    refused("add_bias", &|device, [x, _, y, _]| device.add_bias(x.part(0..8), y.all_mut()));
    refused("dropout", &|device, [x, ..]| {
        device.dropout(gft_model::random::Stream::new(1), 0.5, x.all_mut());
    });
    refused("scale_columns", &|device, [x, ..]| device.scale_columns(8, 0..4, 2.0, x.all_mut()));
    refused("bias_backward", &|device, [x, y, ..]| device.bias_backward(x.all(), y.part_mut(0..8)));
    refused("gather_rows", &|device, [x, y, ..]| device.gather_rows(x.all(), &[0, 1], 8, y.part_mut(0..16)));
    refused("scatter_rows", &|device, [x, _, y, _]| {
        device.scatter_rows(x.part(0..16), &[0, 1], 8, y.all_mut());
    });
    refused("rms_norm", &|device, [x, _, y, z]| {
        device.rms_norm(x.all(), y.part(0..8), 1e-6, z.all_mut(), device.zeros(8).all_mut());
    });
    refused("rms_norm_backward", &|device, [x, y, z, _]| {
        let [inv, weight] = [0; 2].map(|_| device.zeros(8));
        let mut gradient = device.zeros(8);
        let (input, to) = (y.all_mut(), gradient.all_mut());
        device.rms_norm_backward(z.all(), weight.all(), inv.all(), x.all(), input, to);
    });
    refused("head_norm_backward", &|device, [x, _, y, z]| {
        let mut gradient = device.zeros(4);
        let (d, to) = (z.all_mut(), gradient.all_mut());
        device.head_norm_backward(heads, x.all(), y.part(0..4), 1e-6, d, to);
    });
    refused("swiglu", &|device, [x, _, y, _]| device.swiglu(8, x.all(), y.part_mut(0..32)));
    refused("swiglu_backward", &|device, [x, _, y, _]| {
        device.swiglu_backward(8, y.part_mut(0..32), x.all_mut());
    });
    refused("matmul", &|device, [x, y, z, _]| {
        let op = MatMul { m: 2, n: 2, k: 8, transpose_a: false, transpose_b: true, accumulate: false };
        device.matmul_weight(op, x.part(0..16), y.part(0..16), z.part_mut(0..4));
    });
    refused("pack", &|device, [x, ..]| drop(device.pack(x.part(0..16), 2, 8)));
    refused("sum_squares", &|device, [x, ..]| assert!(device.sum_squares(x.all()).is_nan()));
}

#[test]
fn products_of_generation_take_f32_alone() {
    let device = bf16();
    let (weight, mut out) = (put(&device, &[1.0; 16]), room(&device, 6));
    let packed = device.pack(weight.get(), 2, 8);
    device.linear(&packed, 3, false, device.alloc_activation(24).all(), out.set());
    let error = device.status().unwrap_err().to_string();
    assert!(error.ends_with("linear: numbers of bf16 where it takes f32"), "{error}");
}
