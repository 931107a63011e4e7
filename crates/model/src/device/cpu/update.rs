//! The optimizer's arithmetic: norms in a fixed order, and AdamW in one pass over memory.

use super::team::Team;
use crate::device::AdamWUpdate;
use crate::vectorized::vectorized;

/// Elements of one partial sum: a constant, so that the order of additions does not depend on the threads.
const BLOCK: usize = 1 << 15;

/// Sum of squares in f64.
pub fn sum_squares(team: &Team, x: &[f32]) -> f64 {
    let block = |i: usize| block_sum_squares(&x[i * BLOCK..((i + 1) * BLOCK).min(x.len())]);
    team.map(x.len().div_ceil(BLOCK), block).iter().sum()
}

/// AdamW with decoupled weight decay (arXiv 1711.05101, algorithm 2), in PyTorch's order of operations.
pub fn adamw(
    team: &Team,
    update: AdamWUpdate,
    grads: &[f32],
    params: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let mut blocks: Vec<_> = params
        .chunks_mut(BLOCK)
        .zip(m.chunks_mut(BLOCK))
        .zip(v.chunks_mut(BLOCK))
        .zip(grads.chunks(BLOCK))
        .collect();
    team.chunks(&mut blocks, 1, |_, block| {
        for (((params, m), v), grads) in block {
            adamw_block(update, grads, params, m, v);
        }
    });
}

vectorized! {
    fn block_sum_squares(block: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 16];
        let chunks = block.chunks_exact(16);
        let tail: f64 = chunks.remainder().iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        for chunk in chunks {
            for i in 0..16 {
                lanes[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
            }
        }
        lanes.iter().sum::<f64>() + tail
    }

    fn adamw_block(u: AdamWUpdate, grads: &[f32], params: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        let keep = 1.0 - u.lr * u.weight_decay;
        let step = u.lr / u.bias_correction1;
        let root = 1.0 / u.bias_correction2.sqrt();
        for (((p, m), v), g) in params.iter_mut().zip(m).zip(v).zip(grads) {
            let g = g * u.gradient_scale;
            *m += (g - *m) * u.one_minus_beta1;
            *v = u.beta2 * *v + u.one_minus_beta2 * g * g;
            *p = *p * keep - step * *m / (v.sqrt() * root + u.eps);
        }
    }
}
