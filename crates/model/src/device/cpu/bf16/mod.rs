//! Products of operands rounded to bf16, with sums in f32: AVX-512's dot products of pairs, twice the multiply-adds of f32.
//!
//! Both operands are rounded while they are arranged in panels for the tile, block by block. An element is summed over blocks
//! of [`TERMS`] terms in their order, so that it does not depend on the number of threads.

mod pack;
mod tile;

use std::ops::Range;
use std::sync::Arc;

use super::super::MatMul;
use super::pool::Pool;
use super::shared::SharedSlice;
use super::team::Team;
pub use pack::{Elements, Operand};
use tile::{COLUMNS, Place, ROWS};

/// Terms of a block: a panel of the right operand is 16 KiB then, half of the first-level cache.
const TERMS: usize = 256;
/// Rows of a block of the left operand, arranged: a quarter of a megabyte of the second-level cache.
const BLOCK_ROWS: usize = 36 * ROWS;
/// Columns of a block of the right operand, arranged: half a megabyte.
const BLOCK_COLUMNS: usize = 1024;

/// Whether this processor has the products.
pub fn available() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512bw") && has!("avx512bf16")
}

/// `out (+)= op(a) op(b)`, rows of `out` so far `apart`; see [`MatMul`].
///
/// # Panics
/// When the processor lacks the instructions, or an operand is shorter than its shape: errors of the engine.
pub fn matmul(
    team: &Team,
    pool: &Arc<Pool>,
    op: MatMul,
    a: Operand<'_>,
    b: Operand<'_>,
    out: &mut [f32],
    apart: usize,
) {
    let MatMul { m, n, k, accumulate, .. } = op;
    if m == 0 || n == 0 {
        return;
    }
    assert!(available(), "products of bf16 without instructions for them");
    let room = apart >= n && out.len() >= (m - 1) * apart + n;
    assert!(a.holds(m, k) && b.holds(n, k) && room, "{op:?}, rows {apart} apart: operand too short");
    let product = Product { pool, k, accumulate, a, b, out: SharedSlice::new(out), apart };
    // Each share arranges its part of one operand and all of the other, so the longer side is cut.
    let (len, unit) = if m >= n { (m, ROWS) } else { (n, COLUMNS) };
    let units = len.div_ceil(unit);
    let shares = team.threads().min(units);
    team.run(shares, |index| {
        let part = index * units / shares * unit..((index + 1) * units / shares * unit).min(len);
        let (rows, columns) = if m >= n { (part, 0..n) } else { (0..m, part) };
        // SAFETY: the processor has the instructions, the operands hold their shapes, shares do not overlap.
        unsafe { product.compute(rows, columns) };
    });
}

struct Product<'a> {
    pool: &'a Arc<Pool>,
    k: usize,
    accumulate: bool,
    a: Operand<'a>,
    b: Operand<'a>,
    out: SharedSlice<'a>,
    apart: usize,
}

impl Product<'_> {
    /// A part of the result.
    ///
    /// # Safety
    /// The processor has the instructions; operands and result hold the part, and nobody else touches it.
    unsafe fn compute(&self, rows: Range<usize>, columns: Range<usize>) {
        let room = |lines: usize, most: usize, unit: usize| {
            self.pool.take(lines.min(most).next_multiple_of(unit) * TERMS.min(self.k.next_multiple_of(2)) / 2)
        };
        let mut left = room(rows.len(), BLOCK_ROWS, ROWS);
        let mut right = room(columns.len(), BLOCK_COLUMNS, COLUMNS);
        if self.k == 0 {
            // SAFETY: by the caller's promise.
            unsafe { self.without_terms(rows, columns) };
            return;
        }
        for columns in blocks(columns, BLOCK_COLUMNS) {
            for terms in blocks(0..self.k, TERMS) {
                // SAFETY: by the caller's promise.
                unsafe { self.b.arrange(columns.clone(), terms.clone(), COLUMNS, &mut right) };
                for rows in blocks(rows.clone(), BLOCK_ROWS) {
                    // SAFETY: by the caller's promise.
                    unsafe {
                        self.a.arrange(rows.clone(), terms.clone(), ROWS, &mut left);
                        self.block(rows, columns.clone(), &terms, &left, &right);
                    }
                }
            }
        }
    }

    /// The tiles of one block.
    ///
    /// # Safety
    /// As for [`Product::compute`].
    unsafe fn block(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        terms: &Range<usize>,
        left: &[f32],
        right: &[f32],
    ) {
        let pairs = terms.len().div_ceil(2);
        let accumulate = self.accumulate || terms.start > 0;
        for (column, b) in columns.clone().step_by(COLUMNS).zip(right.chunks_exact(pairs * COLUMNS)) {
            for (row, a) in rows.clone().step_by(ROWS).zip(left.chunks_exact(pairs * ROWS)) {
                // SAFETY: the element is inside of the result, and the place ends with the part, by the caller's promise.
                unsafe {
                    let place = Place {
                        start: self.out.as_mut_ptr().add(row * self.apart + column),
                        apart: self.apart,
                        rows: ROWS.min(rows.end - row),
                        columns: COLUMNS.min(columns.end - column),
                    };
                    tile::multiply(pairs, a, b, &place, accumulate);
                }
            }
        }
    }

    /// Sums without terms are zero.
    ///
    /// # Safety
    /// As for [`Product::compute`].
    unsafe fn without_terms(&self, rows: Range<usize>, columns: Range<usize>) {
        if !self.accumulate {
            let zeros = vec![0.0; columns.len()];
            for row in rows {
                // SAFETY: by the caller's promise.
                unsafe { self.out.write(row * self.apart + columns.start, &zeros) };
            }
        }
    }
}

/// A range cut into parts of at most `len`.
fn blocks(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(len).map(move |start| start..(start + len).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0
    }

    fn rounded(x: f32) -> f64 {
        half::bf16::from_f32(x).to_f64()
    }

    /// `out` where row `i` of the left operand has `left(i, p)` and column `j` of the right one `right(p, j)`.
    fn assert_product(
        what: &str,
        op: MatMul,
        (out, apart): (&[f32], usize),
        left: impl Fn(usize, usize) -> f32,
        right: impl Fn(usize, usize) -> f32,
    ) {
        for i in 0..op.m {
            for j in 0..op.n {
                let terms = (0..op.k).map(|p| rounded(left(i, p)) * rounded(right(p, j)));
                let exact: f64 = terms.sum::<f64>() + if op.accumulate { 0.5 } else { 0.0 };
                // 700 terms of at most 1 with partial sums of about 30: 700 * 30 * 2^-24.
                let found = f64::from(out[i * apart + j]);
                assert!((found - exact).abs() < 1.3e-3, "{what} {op:?} at {i},{j}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn products_are_those_of_the_rounded_operands_in_every_layout_on_any_number_of_threads() {
        if !available() {
            return assert!(crate::Cpu::with_bf16_products().is_none());
        }
        let pool = Arc::default();
        for (m, n, k) in [(1, 5, 7), (33, 1100, 300), (520, 34, 700), (14, 32, 1), (3, 4, 0)] {
            for bits in 0..8 {
                let [transpose_a, transpose_b, accumulate] = [1, 2, 4].map(|bit| bits & bit != 0);
                let op = MatMul { m, n, k, transpose_a, transpose_b, accumulate };
                // Wider matrices than the operands, whose other elements would show.
                let dense = op.dense();
                let strides = [dense.a + 3, dense.b + 5, n + 2];
                let matrix = |rows: usize, columns: usize, stride: usize, seed: usize| -> Vec<f32> {
                    let at = |i: usize| if i % stride < columns { value(i + seed) } else { f32::NAN };
                    (0..rows * stride).map(at).collect()
                };
                let (a_rows, b_rows) = (if transpose_a { k } else { m }, if transpose_b { n } else { k });
                let a = matrix(a_rows, dense.a, strides[0], 5);
                let b = matrix(b_rows, dense.b, strides[1], 11);
                let b_bits: Vec<u16> = b.iter().map(|x| half::bf16::from_f32(*x).to_bits()).collect();
                let left = |i: usize, p: usize| {
                    if transpose_a { a[p * strides[0] + i] } else { a[i * strides[0] + p] }
                };
                let right = |p: usize, j: usize| {
                    if transpose_b { b[j * strides[1] + p] } else { b[p * strides[1] + j] }
                };
                let mut first: Option<Vec<f32>> = None;
                for (threads, elements) in [(1, Elements::Single(&b)), (3, Elements::Bf16(&b_bits))] {
                    let pool_of = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let team = pool_of.install(Team::current);
                    let left_operand =
                        Operand { elements: Elements::Single(&a), apart: strides[0], by_terms: transpose_a };
                    let right_operand = Operand { elements, apart: strides[1], by_terms: !transpose_b };
                    let mut out = vec![0.5f32; m * strides[2]];
                    matmul(&team, &pool, op, left_operand, right_operand, &mut out, strides[2]);
                    assert_product("on threads", op, (&out, strides[2]), left, right);
                    let beside = out.iter().enumerate().filter(|(i, _)| i % strides[2] >= n);
                    assert!(beside.clone().all(|(_, x)| *x == 0.5), "{op:?}: written beside the result");
                    assert_eq!(&out, first.get_or_insert_with(|| out.clone()), "{op:?} on {threads} threads");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none_and_infinities_stay() {
        if !available() {
            return;
        }
        let a = [f32::NAN, f32::INFINITY, f32::from_bits(0x7fff_ffff), f32::MAX];
        let op = MatMul { m: 4, n: 1, k: 1, transpose_a: false, transpose_b: true, accumulate: false };
        let operand = |elements| Operand { elements: Elements::Single(elements), apart: 1, by_terms: false };
        let mut out = [0.0f32; 4];
        matmul(&Team::current(), &Arc::default(), op, operand(&a), operand(&[1.0]), &mut out, 1);
        // The largest f32 is nearer to 2^128 than to the largest bf16.
        assert!(
            out[0].is_nan() && out[1] == f32::INFINITY && out[2].is_nan() && out[3] == f32::INFINITY,
            "{out:?}"
        );
    }
}
