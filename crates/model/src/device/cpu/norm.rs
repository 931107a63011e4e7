//! RMSNorm of rows (the residual stream) and of heads (Qwen3's queries and keys), forward and backward.

use std::ops::Range;

use super::rows::{ROWS, column_sums, for_row_blocks};
use super::team::Team;
use crate::device::Heads;
use crate::math;
use crate::vectorized::vectorized;

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (math::dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// `y = x * inv * weight`, `inv [T]`; see [`crate::Device::rms_norm`].
pub fn rms_norm(team: &Team, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], inv: &mut [f32]) {
    let width = weight.len();
    for_row_blocks(team, y, inv, width, 1, |first, y, inv| {
        norm_rows(&x[first * width..], weight, eps, y, inv)
    });
}

/// Adds the gradient of [`rms_norm`] to `dx` and `dweight`.
///
/// With `n = x inv` and `g = dy weight`: `dx = inv (g - n mean(g n))`, `dweight = sum over rows of dy n`.
pub fn rms_norm_backward(
    team: &Team,
    x: &[f32],
    weight: &[f32],
    inv: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let width = weight.len();
    let mut sums = vec![0.0f32; inv.len().div_ceil(ROWS) * width];
    team.chunks2(dx, ROWS * width, &mut sums, width, |block, dx, sums| {
        let first = block * ROWS;
        let at = first * width..first * width + dx.len();
        backward_rows(&x[at.clone()], weight, &inv[first..], &dy[at], dx, sums);
    });
    for sums in sums.chunks_exact(width) {
        dweight.iter_mut().zip(sums).for_each(|(x, y)| *x += y);
    }
}

/// RMSNorm of each query and key head in place; see [`crate::Device::head_norm`].
pub fn head_norm(team: &Team, heads: Heads, weights: &[f32], eps: f32, qkv: &mut [f32]) {
    let (q_weight, k_weight) = weights.split_at(heads.dim);
    for_row_blocks(team, qkv, &mut [], heads.width(), 0, |_, rows, _| {
        for row in rows.chunks_exact_mut(heads.width()) {
            let (q, rest) = row.split_at_mut(heads.heads * heads.dim);
            normalise_heads(q, q_weight, eps);
            normalise_heads(&mut rest[..heads.kv_heads * heads.dim], k_weight, eps);
        }
    });
}

/// Gradient of [`head_norm`] in place of `dqkv`, from its input `raw`; the weights' gradients are added to.
pub fn head_norm_backward(
    team: &Team,
    heads: Heads,
    raw: &[f32],
    weights: &[f32],
    eps: f32,
    dqkv: &mut [f32],
    dweights: &mut [f32],
) {
    let (width, dim) = (heads.width(), heads.dim);
    let rows = raw.len() / width;
    let counts = [heads.heads, heads.kv_heads];
    let mut offset = 0;
    for ((dweight, weight), count) in
        dweights.chunks_exact_mut(dim).zip(weights.chunks_exact(dim)).zip(counts)
    {
        let columns = offset..offset + count * dim;
        offset = columns.end;
        let source = &*dqkv;
        column_sums(team, dweight, rows, |rows: Range<usize>, sums| {
            for row in rows {
                let x = &raw[row * width..][columns.clone()];
                head_weight_gradient(x, &source[row * width..][columns.clone()], eps, sums);
            }
        });
        for_row_blocks(team, dqkv, &mut [], width, 0, |first, gradients, _| {
            for (gradient, x) in
                gradients.chunks_exact_mut(width).zip(raw[first * width..].chunks_exact(width))
            {
                head_input_gradient(&x[columns.clone()], weight, eps, &mut gradient[columns.clone()]);
            }
        });
    }
}

#[inline(always)]
fn add_row_gradient(x: &[f32], weight: &[f32], inv: f32, dy: &[f32], dx: &mut [f32]) {
    let mut lanes = [0.0f32; 16];
    let blocks = x.len() / 16 * 16;
    for at in (0..blocks).step_by(16) {
        let (x, w, dy) = (&x[at..at + 16], &weight[at..at + 16], &dy[at..at + 16]);
        for i in 0..16 {
            lanes[i] += x[i] * w[i] * dy[i];
        }
    }
    let tail: f32 =
        x[blocks..].iter().zip(&weight[blocks..]).zip(&dy[blocks..]).map(|((x, w), dy)| x * w * dy).sum();
    let mean = (lanes.iter().sum::<f32>() + tail) * inv / x.len() as f32;
    for (((dx, x), w), dy) in dx.iter_mut().zip(x).zip(weight).zip(dy) {
        *dx += inv * (dy * w - x * inv * mean);
    }
}

vectorized! {
    fn norm_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], inv: &mut [f32]) {
        let width = weight.len();
        for ((x, y), inv) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inv) {
            *inv = inverse_rms(x, eps);
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * *inv * w;
            }
        }
    }

    fn backward_rows(x: &[f32], weight: &[f32], inv: &[f32], dy: &[f32], dx: &mut [f32], sums: &mut [f32]) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)).zip(inv);
        for (((x, dy), dx), inv) in rows {
            for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                *sum += dy * (x * inv);
            }
            add_row_gradient(x, weight, *inv, dy, dx);
        }
    }

    fn normalise_heads(heads: &mut [f32], weight: &[f32], eps: f32) {
        for head in heads.chunks_exact_mut(weight.len()) {
            let inv = inverse_rms(head, eps);
            head.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * inv * w);
        }
    }

    fn head_weight_gradient(x: &[f32], dy: &[f32], eps: f32, sums: &mut [f32]) {
        for (x, dy) in x.chunks_exact(sums.len()).zip(dy.chunks_exact(sums.len())) {
            let inv = inverse_rms(x, eps);
            for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                *sum += dy * (x * inv);
            }
        }
    }

    fn head_input_gradient(x: &[f32], weight: &[f32], eps: f32, gradient: &mut [f32]) {
        let dim = weight.len();
        let mut dx = vec![0.0f32; dim];
        for (x, dy) in x.chunks_exact(dim).zip(gradient.chunks_exact_mut(dim)) {
            dx.fill(0.0);
            add_row_gradient(x, weight, inverse_rms(x, eps), dy, &mut dx);
            dy.copy_from_slice(&dx);
        }
    }
}
