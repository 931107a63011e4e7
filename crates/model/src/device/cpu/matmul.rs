//! Matrix products of training: large, each operand used once, so packed by the `gemm` crate on every call.

use super::super::MatMul;

/// Products below this many multiply-adds run on the calling thread.
const PARALLEL_FROM: usize = 1 << 16;

/// `out (+)= op(a) op(b)`; see [`MatMul`].
///
/// # Panics
/// When a slice is shorter than its shape: that is an error of the engine, not of its user.
pub fn matmul(op: MatMul, a: &[f32], b: &[f32], out: &mut [f32]) {
    let MatMul { m, n, k, transpose_a, transpose_b, accumulate } = op;
    assert!(a.len() >= m * k && b.len() >= k * n && out.len() >= m * n, "{op:?}: operand too short");
    if m == 0 || n == 0 {
        return;
    }
    let (a_cs, a_rs) = if transpose_a { (m, 1) } else { (1, k) };
    let (b_cs, b_rs) = if transpose_b { (k, 1) } else { (1, n) };
    let threads =
        if m * n * k < PARALLEL_FROM { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(0) };
    // SAFETY: strides and shapes describe row-major matrices inside of the slices, as asserted above; `out` is
    // exclusive and does not overlap `a` or `b`. With `accumulate` false `out` is not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.as_ptr(),
            a_cs as isize,
            a_rs as isize,
            b.as_ptr(),
            b_cs as isize,
            b_rs as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}
