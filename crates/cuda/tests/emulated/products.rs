//! Products of matrices against the CPU's: plain ones, and those with weights of 16 bits or arranged ahead.

use gft_model::device::{Device, HalfFormat, HalfView, MatMul, Strides};

use crate::agree;
use crate::compare::{EXACT, SUMS, normal, put, room};
use crate::models::Random;

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

/// A product added to numbers that lie elsewhere, which stay: those of a layer's input.
#[test]
fn products_onto_other_numbers() {
    let mut random = Random(17);
    for (m, n, k) in [(1, 1, 1), (5, 7, 30), (17, 33, 65), (3, 4, 0)] {
        for transpose_b in [false, true] {
            // Whatever it says of adding.
            let op = MatMul { m, n, k, transpose_a: false, transpose_b, accumulate: transpose_b };
            let [a, weight, onto, out] = [m * k, n * k, m * n, m * n].map(|len| normal(&mut random, len));
            agree!(SUMS, |device| {
                let (a, onto, single) = (put(device, &a), put(device, &onto), put(device, &weight));
                let half = halves(device, HalfFormat::Bf16, &weight);
                let half = HalfView { buffer: &half, range: 1..n * k + 1 };
                let (mut by_weight, mut by_half) = (put(device, &out), put(device, &out));
                device.matmul_weight_onto(op, a.get(), single.get(), onto.get(), by_weight.set());
                if k > 0 {
                    device.matmul_half_onto(op, a.get(), half, onto.get(), by_half.set());
                }
                let mut results = vec![
                    ("matmul_weight_onto", by_weight.read(device)),
                    ("matmul_half_onto", by_half.read(device)),
                    ("onto", onto.read(device)),
                ];
                if transpose_b && k > 0 {
                    let packed = device.pack(single.get(), n, k);
                    let mut linear = put(device, &out);
                    device.linear_onto(&packed, m, a.get(), onto.get(), linear.set());
                    results.push(("linear_onto", linear.read(device)));
                }
                results
            });
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
