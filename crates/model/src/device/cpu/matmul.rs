//! Matrix products of training: large, each operand used once, so packed by the `gemm` crate on every call.

use super::super::MatMul;
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
pub fn matmul(team: &Team, op: MatMul, a: &[f32], b: &[f32], out: &mut [f32]) {
    let MatMul { m, n, k, .. } = op;
    assert!(a.len() >= m * k && b.len() >= k * n && out.len() >= m * n, "{op:?}: operand too short");
    if m == 0 || n == 0 {
        return;
    }
    let out = SharedSlice::new(out);
    let whole = Share { first_row: 0, rows: m, first_column: 0, columns: n };
    if m * n * k < PARALLEL_FROM || team.threads() == 1 {
        // SAFETY: nobody else writes `out`.
        unsafe { whole.compute(op, a, b, &out) };
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
        unsafe { share.compute(op, a, b, &out) };
    });
}

/// A part of a product's result.
#[derive(Clone, Copy)]
struct Share {
    first_row: usize,
    rows: usize,
    first_column: usize,
    columns: usize,
}

impl Share {
    /// Computes this part.
    ///
    /// # Safety
    /// The part lies inside of the product, the slices hold its operands, and nobody else touches this part of `out`.
    unsafe fn compute(self, op: MatMul, a: &[f32], b: &[f32], out: &SharedSlice<'_>) {
        let MatMul { m, n, k, transpose_a, transpose_b, accumulate } = op;
        let (a_cs, a_rs) = if transpose_a { (m, 1) } else { (1, k) };
        let (b_cs, b_rs) = if transpose_b { (k, 1) } else { (1, n) };
        // SAFETY: strides and shapes describe row-major matrices inside of the slices by the caller's promise; this
        // part of `out` is exclusive and does not overlap `a` or `b`. With `accumulate` false it is not read.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                k,
                out.as_mut_ptr().add(self.first_row * n + self.first_column),
                1,
                n as isize,
                accumulate,
                a.as_ptr().add(self.first_row * a_rs),
                a_cs as isize,
                a_rs as isize,
                b.as_ptr().add(self.first_column * b_cs),
                b_cs as isize,
                b_rs as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}
