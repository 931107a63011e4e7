//! RMSNorm of rows (the residual stream) and of heads (Qwen3's queries and keys), forward and backward.

use rayon::prelude::*;

use super::math;
use super::rows::{column_sums, for_row_blocks};
use crate::device::Heads;

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (math::dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// `y = x * inv * weight`, `inv [T]`; see [`crate::Device::rms_norm`].
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], inv: &mut [f32]) {
    let width = weight.len();
    for_row_blocks(y, inv, width, 1, |first, y, inv| {
        let x = &x[first * width..];
        for ((x, y), inv) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(inv) {
            *inv = inverse_rms(x, eps);
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * *inv * w;
            }
        }
    });
}

/// Adds the gradient of [`rms_norm`] to `dx` and `dweight`.
///
/// With `n = x inv` and `g = dy weight`: `dx = inv (g - n mean(g n))`, `dweight = sum over rows of dy n`.
pub fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    inv: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let width = weight.len();
    column_sums(dweight, inv.len(), |row, sums| {
        let at = row * width..(row + 1) * width;
        for ((sum, x), dy) in sums.iter_mut().zip(&x[at.clone()]).zip(&dy[at]) {
            *sum += dy * (x * inv[row]);
        }
    });
    for_row_blocks(dx, &mut [], width, 0, |first, dx, _| {
        for (i, dx) in dx.chunks_exact_mut(width).enumerate() {
            let row = first + i;
            let at = row * width..(row + 1) * width;
            add_row_gradient(&x[at.clone()], weight, inv[row], &dy[at], dx);
        }
    });
}

#[inline(always)]
fn add_row_gradient(x: &[f32], weight: &[f32], inv: f32, dy: &[f32], dx: &mut [f32]) {
    let mut lanes = [0.0f32; 16];
    for ((x, w), dy) in x.chunks(16).zip(weight.chunks(16)).zip(dy.chunks(16)) {
        for (((lane, x), w), dy) in lanes.iter_mut().zip(x).zip(w).zip(dy) {
            *lane += x * w * dy;
        }
    }
    let mean = lanes.iter().sum::<f32>() * inv / x.len() as f32;
    for (((dx, x), w), dy) in dx.iter_mut().zip(x).zip(weight).zip(dy) {
        *dx += inv * (dy * w - x * inv * mean);
    }
}

/// RMSNorm of each query and key head in place; see [`crate::Device::head_norm`].
pub fn head_norm(heads: Heads, weights: &[f32], eps: f32, qkv: &mut [f32]) {
    let (q_weight, k_weight) = weights.split_at(heads.dim);
    for_row_blocks(qkv, &mut [], heads.width(), 0, |_, rows, _| {
        for row in rows.chunks_exact_mut(heads.width()) {
            let (q, rest) = row.split_at_mut(heads.heads * heads.dim);
            let k = &mut rest[..heads.kv_heads * heads.dim];
            for (part, weight) in [(q, q_weight), (k, k_weight)] {
                for head in part.chunks_exact_mut(heads.dim) {
                    let inv = inverse_rms(head, eps);
                    head.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * inv * w);
                }
            }
        }
    });
}

/// Gradient of [`head_norm`] in place of `dqkv`, from its input `raw`; the weights' gradients are added to.
pub fn head_norm_backward(
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
        column_sums(dweight, rows, |row, sums| {
            let x = &raw[row * width..][columns.clone()];
            let dy = &source[row * width..][columns.clone()];
            for (x, dy) in x.chunks_exact(dim).zip(dy.chunks_exact(dim)) {
                let inv = inverse_rms(x, eps);
                for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                    *sum += dy * (x * inv);
                }
            }
        });
        dqkv.par_chunks_exact_mut(width).enumerate().for_each(|(row, gradient)| {
            let x = &raw[row * width..][columns.clone()];
            let mut dx = vec![0.0f32; dim];
            for (x, dy) in x.chunks_exact(dim).zip(gradient[columns.clone()].chunks_exact_mut(dim)) {
                dx.fill(0.0);
                add_row_gradient(x, weight, inverse_rms(x, eps), dy, &mut dx);
                dy.copy_from_slice(&dx);
            }
        });
    }
}
