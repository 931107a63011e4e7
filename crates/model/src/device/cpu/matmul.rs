//! Matrix products of training: large, each operand used once, so packed by the `gemm` crate on every call. Of that crate the part
//! for f32, since all of it takes five times as long to compile.

use gemm_common::Parallelism;

use super::super::{MatMul, Strides};
use super::rows;
use super::shared::SharedSlice;
use super::team::Team;

/// Products below this many multiply-adds run on the calling thread.
const PARALLEL_FROM: usize = 1 << 16;
/// Rows or columns of a share at least: more than the sizes for which `gemm` sums in another order.
const SHARE: usize = 96;

/// `out (+)= op(a) op(b)`; see [`MatMul`].
///
/// The team's members take shares of the rows or of the columns of `out`. How an element is summed depends on `k`
/// alone, so results do not depend on the number of shares.
///
/// # Panics
/// When a slice is shorter than its shape: that is an error of the engine, not of its user.
pub fn matmul(team: &Team, op: MatMul, strides: Strides, a: &[f32], b: &[f32], out: &mut [f32]) {
    let MatMul { m, n, k, .. } = op;
    if m == 0 || n == 0 {
        return;
    }
    check(op, strides, a.len(), b.len(), out.len());
    let out = SharedSlice::new(out);
    let whole = Share { first_row: 0, rows: m, first_column: 0, columns: n };
    if m * n * k < PARALLEL_FROM || team.threads() == 1 {
        // SAFETY: nobody else writes `out`.
        unsafe { whole.compute(op, strides, a, b, &out) };
        return;
    }
    // Each share packs its part of one operand and all of the other, so the longer side is cut.
    let by_rows = m >= n;
    let len = if by_rows { m } else { n };
    let shares = team.threads().min(len / SHARE).max(1);
    team.run(shares, |index| {
        let (first, end) = (index * len / shares, (index + 1) * len / shares);
        let share = if by_rows {
            Share { first_row: first, rows: end - first, ..whole }
        } else {
            Share { first_column: first, columns: end - first, ..whole }
        };
        // SAFETY: shares do not overlap.
        unsafe { share.compute(op, strides, a, b, &out) };
    });
}

/// Puts what a product is added to at its place, for products that add to nothing else, and says so in `op`.
///
/// # Panics
/// When it has another shape: an error of the engine.
pub fn begun(team: &Team, op: MatMul, onto: Option<&[f32]>, out: &mut [f32]) -> MatMul {
    let Some(onto) = onto else { return op };
    assert_eq!(onto.len(), out.len(), "{op:?} onto another shape");
    rows::copy(team, onto, out);
    MatMul { accumulate: true, ..op }
}

/// Asserts that the operands hold their shapes.
///
/// # Panics
/// When one does not.
pub fn check(op: MatMul, strides: Strides, a: usize, b: usize, out: usize) {
    let MatMul { m, n, k, transpose_a, transpose_b, .. } = op;
    let holds = |len: usize, rows: usize, columns: usize, stride: usize| {
        rows == 0 || columns == 0 || (stride >= columns && len >= (rows - 1) * stride + columns)
    };
    let (a_rows, a_columns) = if transpose_a { (k, m) } else { (m, k) };
    let (b_rows, b_columns) = if transpose_b { (n, k) } else { (k, n) };
    assert!(
        holds(a, a_rows, a_columns, strides.a)
            && holds(b, b_rows, b_columns, strides.b)
            && holds(out, m, n, strides.out),
        "{op:?}, {strides:?}: operand too short"
    );
}

/// A part of a product's result.
#[derive(Clone, Copy)]
pub struct Share {
    /// First row.
    pub first_row: usize,
    /// Rows.
    pub rows: usize,
    /// First column.
    pub first_column: usize,
    /// Columns.
    pub columns: usize,
}

impl Share {
    /// Computes this part.
    ///
    /// # Safety
    /// The part lies inside of the product, the slices hold its operands, and nobody else touches this part of `out`.
    pub unsafe fn compute(self, op: MatMul, strides: Strides, a: &[f32], b: &[f32], out: &SharedSlice<'_>) {
        let MatMul { k, transpose_a, transpose_b, accumulate, .. } = op;
        let (a_cs, a_rs) = if transpose_a { (strides.a, 1) } else { (1, strides.a) };
        let (b_cs, b_rs) = if transpose_b { (strides.b, 1) } else { (1, strides.b) };
        // SAFETY: strides and shapes describe row-major matrices inside of the slices by the caller's promise; this
        // part of `out` is exclusive and does not overlap `a` or `b`. With `accumulate` false it is not read.
        unsafe {
            // The kernels write columns: the transposed product.
            gemm_f32::gemm::f32::get_gemm_fn()(
                self.columns,
                self.rows,
                k,
                out.as_mut_ptr().add(self.first_row * strides.out + self.first_column),
                strides.out as isize,
                1,
                accumulate,
                b.as_ptr().add(self.first_column * b_cs),
                b_rs as isize,
                b_cs as isize,
                a.as_ptr().add(self.first_row * a_rs),
                a_rs as isize,
                a_cs as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}
