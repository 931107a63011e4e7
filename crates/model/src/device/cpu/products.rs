//! Which unit of the processor computes the products of training.

use std::sync::Arc;

use super::super::{HalfFormat, MatMul, Strides};
use super::half::HalfSlice;
#[cfg(target_arch = "x86_64")]
use super::operand::{Elements, Operand};
use super::pool::Pool;
use super::team::Team;
#[cfg(target_arch = "x86_64")]
use super::{amx, bf16};
use super::{half, matmul};

/// Products of fewer multiply-adds are left to vectors: a matrix unit computes blocks of 32 x 32 x 32.
#[cfg(target_arch = "x86_64")]
const TILES_FROM: usize = 1 << 15;

/// How products of training are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// f32 by multiply-adds of vectors.
    Vectors,
    /// Operands rounded to bf16, by dot products of pairs in vectors (AVX512_BF16).
    #[cfg(target_arch = "x86_64")]
    RoundedPairs,
    /// f32 on a matrix unit for bf16 (AMX), each operand as the sum of three.
    #[cfg(target_arch = "x86_64")]
    Tiles,
    /// Operands rounded to bf16, on that unit.
    #[cfg(target_arch = "x86_64")]
    RoundedTiles,
}

impl Products {
    /// The fastest products of f32 that this processor has.
    pub fn single() -> Self {
        #[cfg(target_arch = "x86_64")]
        if amx::available() {
            return Self::Tiles;
        }
        Self::Vectors
    }

    /// What this processor computes training's products with, for people.
    pub fn in_words() -> &'static str {
        match (Self::single(), Self::rounded()) {
            #[cfg(target_arch = "x86_64")]
            (Self::Tiles, _) => "products of f32 and of bf16 on its matrix unit (AMX)",
            (_, Some(_)) => "products of f32, and of bf16 with --precision bf16 (AVX512_BF16)",
            #[cfg(target_arch = "x86_64")]
            _ if amx::left_out() => "products of f32, none of bf16: GFT_AMX leaves its matrix unit out",
            _ => "products of f32, none of bf16",
        }
    }

    /// The fastest products of operands rounded to bf16, if the processor has any that are faster than those of f32.
    pub fn rounded() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if amx::available() {
            return Some(Self::RoundedTiles);
        }
        #[cfg(target_arch = "x86_64")]
        if bf16::available() && bf16::pays() {
            return Some(Self::RoundedPairs);
        }
        None
    }

    /// `out (+)= op(a) op(b)`, or `out = onto + op(a) op(b)`, both dense then; see [`MatMul`].
    #[allow(clippy::too_many_arguments)]
    pub fn matmul(
        self,
        team: &Team,
        pool: &Arc<Pool>,
        op: MatMul,
        strides: Strides,
        a: &[f32],
        b: &[f32],
        onto: Option<&[f32]>,
        out: &mut [f32],
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.by_operands(op) {
            let b = Elements::Single(b);
            return self.of_operands(team, pool, op, strides, Elements::Single(a), b, onto, out);
        }
        matmul::matmul(team, matmul::begun(team, op, onto, out), strides, a, b, out);
    }

    /// The same with `b` of 16 bits, dense. `a` is not transposed: no weight stands on the left.
    #[allow(clippy::too_many_arguments)]
    pub fn matmul_half(
        self,
        team: &Team,
        pool: &Arc<Pool>,
        op: MatMul,
        a: &[f32],
        b: HalfSlice<'_>,
        onto: Option<&[f32]>,
        out: &mut [f32],
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.by_operands(op) && (b.format == HalfFormat::Bf16 || self != Self::RoundedPairs) {
            let b = match b.format {
                HalfFormat::Bf16 => Elements::Bf16(b.bits),
                HalfFormat::F16 => Elements::F16(b.bits),
            };
            return self.of_operands(team, pool, op, op.dense(), Elements::Single(a), b, onto, out);
        }
        half::matmul(team, pool, matmul::begun(team, op, onto, out), a, b, out);
    }

    /// Whether a product is computed from operands in whatever arrangement they have.
    #[cfg(target_arch = "x86_64")]
    fn by_operands(self, op: MatMul) -> bool {
        match self {
            Self::Vectors => false,
            Self::Tiles => op.m * op.n * op.k >= TILES_FROM,
            // What is rounded does not depend on a product's size; sums without terms are zero everywhere.
            Self::RoundedPairs | Self::RoundedTiles => op.k > 0,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(clippy::too_many_arguments)]
    fn of_operands(
        self,
        team: &Team,
        pool: &Arc<Pool>,
        op: MatMul,
        strides: Strides,
        a: Elements<'_>,
        b: Elements<'_>,
        onto: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let a = Operand { elements: a, apart: strides.a, by_terms: op.transpose_a };
        let b = Operand { elements: b, apart: strides.b, by_terms: !op.transpose_b };
        match self {
            Self::RoundedPairs => {
                bf16::matmul(team, pool, matmul::begun(team, op, onto, out), a, b, out, strides.out);
            }
            rounded => {
                amx::matmul(team, pool, op, rounded == Self::RoundedTiles, a, b, onto, out, strides.out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::aligned::AlignedVec;
    use super::*;

    fn value(i: usize) -> f32 {
        let hash = (i as u32).wrapping_mul(2_654_435_761);
        (hash ^ (hash >> 15)) as f32 / (1u32 << 31) as f32 - 1.0
    }

    /// What this processor has. On one without a matrix unit its products are not tested.
    fn all() -> Vec<Products> {
        let mut all = vec![Products::Vectors];
        #[cfg(target_arch = "x86_64")]
        {
            if bf16::available() {
                all.push(Products::RoundedPairs);
            }
            if amx::available() {
                all.extend([Products::Tiles, Products::RoundedTiles]);
            }
        }
        assert!(all.contains(&Products::single()), "the default is one of them");
        assert!(Products::rounded().is_none_or(|rounded| all.contains(&rounded)), "{all:?}");
        all
    }

    /// An operand as the products see it.
    fn seen(products: Products, x: f32) -> f64 {
        match products {
            #[cfg(target_arch = "x86_64")]
            Products::RoundedPairs | Products::RoundedTiles => ::half::bf16::from_f32(x).to_f64(),
            _ => f64::from(x),
        }
    }

    /// A product's left and right elements `(i, p)` and `(p, j)`.
    struct Exact<'a> {
        left: &'a dyn Fn(usize, usize) -> f32,
        right: &'a dyn Fn(usize, usize) -> f32,
    }

    impl Exact<'_> {
        fn assert(&self, products: Products, op: MatMul, out: &[f32], apart: usize) {
            let MatMul { m, n, k, .. } = op;
            let right: Vec<f64> = (0..k * n).map(|at| seen(products, (self.right)(at / n, at % n))).collect();
            for i in 0..m {
                let mut sums = vec![if op.accumulate { 0.5 } else { 0.0 }; n];
                let mut magnitudes: Vec<f64> = sums.clone();
                for p in 0..k {
                    let left = seen(products, (self.left)(i, p));
                    let right = &right[p * n..(p + 1) * n];
                    for ((sum, magnitude), right) in sums.iter_mut().zip(&mut magnitudes).zip(right) {
                        *sum += left * right;
                        *magnitude += (left * right).abs();
                    }
                }
                for (j, (sum, magnitude)) in sums.iter().zip(&magnitudes).enumerate() {
                    let found = f64::from(out[i * apart + j]);
                    // Sums of at most 700 terms, each addition off by 2^-24 of a partial sum that is seldom above a tenth of
                    // the terms' magnitudes; one product of pieces left out would be off by 2^-16 of them.
                    let bound = magnitude * 70.0 * 2f64.powi(-24);
                    assert!(
                        (found - sum).abs() <= bound,
                        "{products:?} {op:?} at {i},{j}: {found} for {sum}"
                    );
                }
            }
        }
    }

    /// A matrix wider than it says, whose other elements would show.
    fn matrix(rows: usize, columns: usize, stride: usize, seed: usize) -> Vec<f32> {
        let at = |i: usize| if i % stride < columns { value(i + seed) } else { f32::NAN };
        (0..rows * stride).map(at).collect()
    }

    #[test]
    fn every_unit_multiplies_what_it_sees_in_every_layout_on_any_number_of_threads() {
        for (m, n, k) in [
            (1, 5, 7),
            (33, 560, 300),
            (520, 34, 600),
            (600, 20, 700),
            (224, 192, 600),
            (14, 32, 1),
            (64, 96, 100),
            (200, 94, 40),
            (3, 4, 0),
        ] {
            for bits in 0..8 {
                let [transpose_a, transpose_b, accumulate] = [1, 2, 4].map(|bit| bits & bit != 0);
                let op = MatMul { m, n, k, transpose_a, transpose_b, accumulate };
                let dense = op.dense();
                let strides = Strides { a: dense.a + 3, b: dense.b + 5, out: n + 2 };
                let (a_rows, b_rows) = (if transpose_a { k } else { m }, if transpose_b { n } else { k });
                let a = matrix(a_rows, dense.a, strides.a, 5);
                let b = matrix(b_rows, dense.b, strides.b, 11);
                let exact = Exact {
                    left: &|i, p| if transpose_a { a[p * strides.a + i] } else { a[i * strides.a + p] },
                    right: &|p, j| if transpose_b { b[j * strides.b + p] } else { b[p * strides.b + j] },
                };
                for products in all() {
                    let mut first: Option<Vec<f32>> = None;
                    for threads in [1, 3, 4] {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        let team = pool.install(Team::current);
                        let mut out = AlignedVec::from(&vec![0.5f32; m * strides.out][..]);
                        products.matmul(&team, &Arc::default(), op, strides, &a, &b, None, &mut out);
                        if first.is_none() {
                            exact.assert(products, op, &out, strides.out);
                        }
                        let mut beside = out.iter().enumerate().filter(|(i, _)| i % strides.out >= n);
                        assert!(
                            beside.all(|(_, x)| *x == 0.5),
                            "{products:?} {op:?}: written beside the result"
                        );
                        let first = first.get_or_insert_with(|| out.to_vec());
                        assert_eq!(&out[..], first, "{products:?} {op:?} on {threads} threads");
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_onto_another_matrix_is_what_it_adds_to_a_copy_of_it() {
        let (m, n, k) = (70, 45, 600);
        let [a, b, onto] = [(m * k, 1), (n * k, 7), (m * n, 3)]
            .map(|(len, seed)| (0..len).map(|i| value(i + seed)).collect::<Vec<f32>>());
        let bits: Vec<u16> = b.iter().map(|x| ::half::bf16::from_f32(*x).to_bits()).collect();
        let half = HalfSlice { format: HalfFormat::Bf16, bits: &bits };
        let adding = MatMul { m, n, k, transpose_a: false, transpose_b: true, accumulate: true };
        let op = MatMul { accumulate: false, ..adding };
        let (team, pool) = (Team::current(), Arc::default());
        for products in all() {
            let run = |op: MatMul, onto: Option<&[f32]>, start: &[f32]| {
                let mut out = [AlignedVec::from(start), AlignedVec::from(start)];
                products.matmul(&team, &pool, op, op.dense(), &a, &b, onto, &mut out[0]);
                products.matmul_half(&team, &pool, op, &a, half, onto, &mut out[1]);
                out.map(|out| out.to_vec())
            };
            let copied = run(adding, None, &onto);
            assert_eq!(run(op, Some(&onto), &vec![f32::NAN; m * n]), copied, "{products:?}");
            assert!(copied.iter().all(|out| *out != onto), "{products:?}: nothing added");
        }
    }

    #[test]
    fn weights_of_16_bits_are_multiplied_as_they_are() {
        let (m, n, k) = (33, 70, 300);
        for format in [HalfFormat::Bf16, HalfFormat::F16] {
            let bits = |x: f32| match format {
                HalfFormat::Bf16 => ::half::bf16::from_f32(x).to_bits(),
                HalfFormat::F16 => ::half::f16::from_f32(x).to_bits(),
            };
            let weight: Vec<u16> = (0..n * k).map(|i| bits(value(i))).collect();
            let b = HalfSlice { format, bits: &weight };
            let mut wide = vec![0.0; n * k];
            b.widen(&mut wide);
            let a: Vec<f32> = (0..m * k).map(|i| value(i + 3)).collect();
            for products in all() {
                for transpose_b in [true, false] {
                    let op = MatMul { m, n, k, transpose_a: false, transpose_b, accumulate: false };
                    let mut out = vec![f32::NAN; m * n];
                    products.matmul_half(&Team::current(), &Arc::default(), op, &a, b, None, &mut out);
                    let exact = Exact {
                        left: &|i, p| a[i * k + p],
                        right: &|p, j| if transpose_b { wide[j * k + p] } else { wide[p * n + j] },
                    };
                    // Pairs have no products of f16: the operands are not rounded then.
                    #[cfg(target_arch = "x86_64")]
                    let products = if products == Products::RoundedPairs && format == HalfFormat::F16 {
                        Products::Vectors
                    } else {
                        products
                    };
                    exact.assert(products, op, &out, n);
                }
            }
        }
    }

    /// What multiplying rows of one number by 1 gives, all of the same product of 32 terms, the others zero.
    fn times_one(products: Products, x: f32) -> f32 {
        let (m, n, k) = (32, 32, 32);
        let op = MatMul { m, n, k, transpose_a: false, transpose_b: true, accumulate: false };
        let mut a = vec![0.0; m * k];
        a.iter_mut().step_by(k).for_each(|first| *first = x);
        let mut out = vec![0.0; m * n];
        products.matmul(
            &Team::current(),
            &Arc::default(),
            op,
            op.dense(),
            &a,
            &vec![1.0; n * k],
            None,
            &mut out,
        );
        assert!(out.iter().all(|y| y.to_bits() == out[0].to_bits()), "{products:?} {x}: {out:?}");
        out[0]
    }

    #[test]
    fn a_number_times_one_is_itself_or_what_it_rounds_to() {
        for products in all() {
            let mut x = f32::MIN_POSITIVE;
            while x < 3e38 {
                for x in [x, -x] {
                    // A piece under the smallest normal number is taken for zero: the last place of numbers under 2^-103.
                    let bound = if x.abs() < 2f32.powi(-103) { f64::from(f32::MIN_POSITIVE) } else { 0.0 };
                    let found = f64::from(times_one(products, x));
                    assert!((found - seen(products, x)).abs() <= bound, "{products:?} {x}: {found}");
                }
                x *= 1.732_050_8;
            }
        }
    }

    #[test]
    fn products_of_f32_are_off_by_no_more_than_a_last_place() {
        let (m, n, k) = (320, 320, 32);
        let op = MatMul { m, n, k, transpose_a: false, transpose_b: true, accumulate: false };
        let [a, b] = [1, 100_003].map(|seed| {
            let mut x = vec![0.0; m * k];
            x.iter_mut().step_by(k).enumerate().for_each(|(i, first)| *first = value(i + seed));
            x
        });
        let mut out = vec![0.0; m * n];
        Products::single().matmul(&Team::current(), &Arc::default(), op, op.dense(), &a, &b, None, &mut out);
        for (i, row) in out.chunks_exact(n).enumerate() {
            for (j, found) in row.iter().enumerate() {
                let exact = f64::from(a[i * k]) * f64::from(b[j * k]);
                // What six of the nine products of pieces leave out is 2^-24 of the whole at most, and their sum is rounded
                // five times, to 2^-24 once and to less where the sum is of small pieces. Truncated pieces are off by 2^-22.
                let off = (f64::from(*found) - exact).abs() / exact.abs();
                assert!(off <= 2f64.powi(-23), "{exact} at {i},{j}: {found}, off by {}", off.log2());
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none_and_what_is_infinite_is_never_finite() {
        for products in all() {
            for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff), f32::from_bits(0x7f80_0001)] {
                assert!(times_one(products, nan).is_nan(), "{products:?} {:#x}", nan.to_bits());
            }
            for infinite in [f32::INFINITY, f32::NEG_INFINITY] {
                assert!(!times_one(products, infinite).is_finite(), "{products:?} {infinite}");
            }
        }
    }
}
