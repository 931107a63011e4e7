//! Products of operands rounded to bf16, with sums in f32: AVX-512's dot products of pairs, twice the multiply-adds of f32.
//!
//! Both operands are rounded while they are arranged in panels for the tile, block by block. An element is summed over blocks
//! of [`TERMS`] terms in their order, so that it does not depend on the number of threads.

mod pack;
mod tile;

use std::ops::Range;
use std::sync::Arc;

use super::super::MatMul;
use super::operand::{Operand, blocks};
use super::pool::Pool;
use super::shared::SharedSlice;
use super::team::Team;
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

/// Whether they are faster than products of f32. Intel's processors compute them at half the rate of f32 (measured with
/// `bench/peak.c` on one with AMX), AMD's at twice.
pub fn pays() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() != b"GenuineIntel"
}

/// `out (+)= op(a) op(b)`, rows of `out` so far `apart`; see [`MatMul`].
///
/// # Panics
/// When there are no terms, the processor lacks the instructions, or an operand is shorter than its shape: errors of the engine.
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
    assert!(k > 0, "{op:?}: sums without terms are not for this unit");
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
        for columns in blocks(columns, BLOCK_COLUMNS) {
            for terms in blocks(0..self.k, TERMS) {
                // SAFETY: by the caller's promise.
                unsafe { pack::arrange(&self.b, columns.clone(), terms.clone(), COLUMNS, &mut right) };
                for rows in blocks(rows.clone(), BLOCK_ROWS) {
                    // SAFETY: by the caller's promise.
                    unsafe {
                        pack::arrange(&self.a, rows.clone(), terms.clone(), ROWS, &mut left);
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
}
