//! The optimizer's arithmetic.

use gft_model::device::AdamWUpdate;

use crate::backend::Arg::{F32, Ptr, U64};
use crate::backend::Trouble;
use crate::device::Cuda;
use crate::launch::{Done, elements, grid, number};
use crate::memory::{Mut, Place, Ref, update_both};

/// Elements of one partial sum of squares.
const SUMMED: usize = 8192;
/// Partial sums at most.
const MOST_SUMS: usize = 1024;

pub(crate) fn sum_squares(cuda: &Cuda, x: Ref<'_>) -> Result<f64, Trouble> {
    let n = x.range.len();
    let parts = n.div_ceil(SUMMED).clamp(1, MOST_SUMS);
    let partial = cuda.scratch(8 * parts)?;
    let sum = cuda.scratch(8)?;
    let args = [Ptr(x.at(n)?), Ptr(partial.address()?), U64(n as u64)];
    // SAFETY: `n` elements, and a partial sum for each block.
    unsafe { cuda.launch("sum_squares", grid(parts, 1)?, &args)? };
    let args = [Ptr(partial.address()?), Ptr(sum.address()?), number(parts)?];
    // SAFETY: the same partial sums, and one number.
    unsafe { cuda.launch("sum_squares_finish", grid(1, 1)?, &args)? };
    let mut bytes = [0u8; 8];
    cuda.download_bytes(sum.address()?, &mut bytes)?;
    Ok(f64::from_ne_bytes(bytes))
}

pub(crate) fn adamw(
    cuda: &Cuda,
    u: AdamWUpdate,
    grads: Ref<'_>,
    params: Mut<'_>,
    m: Mut<'_>,
    v: Mut<'_>,
) -> Done {
    let n = params.range.len();
    let (grads, m, v) = (Ptr(grads.at(n)?), Ptr(m.at(n)?), Ptr(v.at(n)?));
    update_both(&params, n, |params, rounded| {
        let args = [
            grads,
            Ptr(params),
            m,
            v,
            Ptr(rounded),
            U64(n as u64),
            F32(1.0 - u.lr * u.weight_decay),
            F32(u.lr / u.bias_correction1),
            F32(1.0 / u.bias_correction2.sqrt()),
            F32(u.one_minus_beta1),
            F32(u.beta2),
            F32(u.one_minus_beta2),
            F32(u.eps),
            F32(u.gradient_scale),
        ];
        // SAFETY: `n` elements in all four, and in the rounded ones where there are any.
        unsafe { cuda.launch("adamw", elements(n)?, &args) }
    })
}
