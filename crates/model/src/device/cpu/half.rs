//! Weights of 16 bits, as they are on disk: widened block by block while they are multiplied, never as a whole.
//!
//! Every product is one of f32: widening is exact, so that a model kept in 16 bits computes what the same model widened
//! when it was read would compute.

use std::ops::Range;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::super::{HalfFormat, MatMul, Strides};
use super::matmul::{Share, check};
use super::pool::Pool;
use super::shared::SharedSlice;
use super::team::Team;
use crate::vectorized::vectorized;
use std::sync::Arc;

/// Elements of a block that is widened: half a megabyte stays in the second-level cache.
const BLOCK: usize = 1 << 17;
/// Rows of a weight `[n, k]` that are widened together at least: fewer make a product that packs more than it multiplies.
const ROWS: usize = 96;
/// Terms of a sum that are widened together where the sum is over a weight's rows. A constant: sums are added in its order.
const TERMS: usize = 256;
/// Columns that are widened together there at most. A constant too: how `gemm` sums may depend on a product's width.
const COLUMNS: usize = 256;
/// Rows of a table that one task gathers.
const GATHERED: usize = 64;

/// Storage of 16-bit floats.
#[derive(Debug)]
pub struct Halves {
    format: HalfFormat,
    bits: Vec<u16>,
}

/// A part of a storage.
#[derive(Clone, Copy)]
pub struct HalfSlice<'a> {
    /// What the bits mean.
    pub format: HalfFormat,
    /// The elements.
    pub bits: &'a [u16],
}

impl Halves {
    /// Zeros.
    pub fn zeros(format: HalfFormat, len: usize) -> Self {
        Self { format, bits: vec![0; len] }
    }

    /// Copies `bits` to `[at, at + bits.len())`.
    pub fn write(&mut self, bits: &[u16], at: usize) {
        self.bits[at..at + bits.len()].copy_from_slice(bits);
    }

    /// All elements, to write.
    pub fn bits_mut(&mut self) -> &mut [u16] {
        &mut self.bits
    }

    /// A part.
    pub fn slice(&self, range: Range<usize>) -> HalfSlice<'_> {
        HalfSlice { format: self.format, bits: &self.bits[range] }
    }
}

impl<'a> HalfSlice<'a> {
    /// A part of this part.
    pub fn slice(&self, range: Range<usize>) -> HalfSlice<'a> {
        HalfSlice { format: self.format, bits: &self.bits[range] }
    }

    /// The elements as f32, exactly.
    ///
    /// # Panics
    /// When `target` has another length.
    pub fn widen(&self, target: &mut [f32]) {
        assert_eq!(self.bits.len(), target.len(), "as many numbers as there is room for");
        match self.format {
            HalfFormat::Bf16 => widen_bf16(self.bits, target),
            HalfFormat::F16 => self.bits.reinterpret_cast::<half::f16>().convert_to_f32_slice(target),
        }
    }
}

vectorized! {
    /// An f32 whose lower half is zero.
    fn widen_bf16(bits: &[u16], target: &mut [f32]) {
        for (x, bits) in target.iter_mut().zip(bits) {
            *x = f32::from_bits(u32::from(*bits) << 16);
        }
    }
}

/// `out[i] = table[rows[i]]`.
pub fn gather(team: &Team, table: HalfSlice<'_>, rows: &[u32], width: usize, out: &mut [f32]) {
    team.chunks(out, GATHERED * width, |block, out| {
        for (out, &row) in out.chunks_exact_mut(width).zip(&rows[block * GATHERED..]) {
            table.slice(row as usize * width..(row as usize + 1) * width).widen(out);
        }
    });
}

/// `out (+)= a op(b)` with `b` of 16 bits; see [`MatMul`]. `a` is not transposed: no weight stands on the left.
///
/// # Panics
/// When a slice is shorter than its shape, or `a` is transposed: errors of the engine, not of its user.
pub fn matmul(team: &Team, pool: &Arc<Pool>, op: MatMul, a: &[f32], b: HalfSlice<'_>, out: &mut [f32]) {
    assert!(!op.transpose_a, "a weight of 16 bits under a transposed operand");
    if op.m == 0 || op.n == 0 {
        return;
    }
    check(op, op.dense(), a.len(), b.bits.len(), out.len());
    let product = Product { pool, op, a, b, out: SharedSlice::new(out) };
    let width = if op.transpose_b { (BLOCK / op.k.max(1)).max(ROWS) } else { COLUMNS };
    let parts = op.n.div_ceil(width);
    team.run(parts, |i| {
        let columns = i * op.n / parts..(i + 1) * op.n / parts;
        if op.transpose_b { product.by_rows(columns) } else { product.by_terms(columns) }
    });
}

struct Product<'a> {
    pool: &'a Arc<Pool>,
    op: MatMul,
    a: &'a [f32],
    b: HalfSlice<'a>,
    out: SharedSlice<'a>,
}

impl Product<'_> {
    /// Columns `columns` of `out`, which are rows of `b [n, k]`.
    fn by_rows(&self, columns: Range<usize>) {
        let MatMul { m, n, k, .. } = self.op;
        let mut block = self.pool.take(columns.len() * k);
        self.b.slice(columns.start * k..columns.end * k).widen(&mut block);
        let share = Share { first_row: 0, rows: m, first_column: 0, columns: columns.len() };
        let strides = Strides { a: k, b: k, out: n };
        // SAFETY: `matmul` checked the shapes; these columns of `out` belong to this task alone.
        unsafe { share.compute(self.op, strides, self.a, &block, &self.out.after(columns.start)) };
    }

    /// Columns `columns` of `out`, summed over the rows of `b [k, n]` in blocks of [`TERMS`].
    fn by_terms(&self, columns: Range<usize>) {
        let MatMul { m, n, k, accumulate, .. } = self.op;
        let width = columns.len();
        let mut block = self.pool.take(TERMS.min(k) * width);
        let share = Share { first_row: 0, rows: m, first_column: 0, columns: width };
        let strides = Strides { a: k, b: width, out: n };
        for first in (0..k).step_by(TERMS) {
            let terms = TERMS.min(k - first);
            for (p, row) in block.chunks_exact_mut(width).take(terms).enumerate() {
                let start = (first + p) * n + columns.start;
                self.b.slice(start..start + width).widen(row);
            }
            let op = MatMul { k: terms, accumulate: accumulate || first > 0, ..self.op };
            // SAFETY: as in `by_rows`; `a` is read from column `first` on.
            unsafe { share.compute(op, strides, &self.a[first..], &block, &self.out.after(columns.start)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0
    }

    fn halves(format: HalfFormat, len: usize) -> Halves {
        let mut halves = Halves::zeros(format, len);
        let bits: Vec<u16> = (0..len)
            .map(|i| match format {
                HalfFormat::Bf16 => half::bf16::from_f32(value(i)).to_bits(),
                HalfFormat::F16 => half::f16::from_f32(value(i)).to_bits(),
            })
            .collect();
        halves.write(&bits, 0);
        halves
    }

    #[test]
    fn every_16_bits_widen_exactly() {
        for format in [HalfFormat::Bf16, HalfFormat::F16] {
            let mut all = Halves::zeros(format, 1 << 16);
            all.bits_mut().iter_mut().enumerate().for_each(|(i, bits)| *bits = i as u16);
            let mut wide = vec![0.0f32; 1 << 16];
            all.slice(0..1 << 16).widen(&mut wide);
            for (bits, x) in (0..=u16::MAX).zip(wide) {
                let exact = match format {
                    HalfFormat::Bf16 => half::bf16::from_bits(bits).to_f64(),
                    HalfFormat::F16 => half::f16::from_bits(bits).to_f64(),
                };
                assert!(f64::from(x) == exact || (exact.is_nan() && x.is_nan()), "{format:?} {bits:#x}");
            }
        }
    }

    #[test]
    fn products_are_those_of_the_widened_weight_on_any_number_of_threads() {
        let pool = Arc::default();
        for (m, n, k) in [(1, 5, 7), (33, 700, 300), (3, 1100, 520)] {
            for (transpose_b, accumulate) in [(true, false), (false, true), (false, false), (true, true)] {
                let weight = halves(HalfFormat::Bf16, n * k);
                let mut wide = vec![0.0; n * k];
                weight.slice(0..n * k).widen(&mut wide);
                let a: Vec<f32> = (0..m * k).map(|i| value(i + 5)).collect();
                let op = MatMul { m, n, k, transpose_a: false, transpose_b, accumulate };
                let mut out = vec![0.5f32; m * n];
                matmul(&Team::current(), &pool, op, &a, weight.slice(0..n * k), &mut out);
                for i in 0..m {
                    for j in 0..n {
                        let b = |p: usize| if transpose_b { wide[j * k + p] } else { wide[p * n + j] };
                        let exact: f64 = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b(p))).sum();
                        let exact = exact + if accumulate { 0.5 } else { 0.0 };
                        // 520 terms of at most 1 with partial sums of about 20: 520 * 20 * 2^-24.
                        assert!((f64::from(out[i * n + j]) - exact).abs() < 6.2e-4, "{op:?} at {i},{j}");
                    }
                }
                for threads in [1, 3] {
                    let pool_of = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let team = pool_of.install(Team::current);
                    let mut again = vec![0.5f32; m * n];
                    matmul(&team, &pool, op, &a, weight.slice(0..n * k), &mut again);
                    assert_eq!(out, again, "{op:?} on {threads} threads");
                }
            }
        }
    }
}
