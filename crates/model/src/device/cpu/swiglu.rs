//! SwiGLU (arXiv 2002.05202): `silu(gate) * up`, forward and backward.

use super::rows::for_row_blocks;
use super::team::Team;
use super::tile::LANES;
use crate::math::sigmoid;
use crate::vectorized::vectorized;

/// `act[t, j] = silu(gate_up[t, j]) * gate_up[t, ffn + j]`.
pub fn forward(team: &Team, ffn: usize, gate_up: &[f32], act: &mut [f32]) {
    for_row_blocks(team, act, &mut [], ffn, 0, |first, act, _| {
        forward_rows(ffn, &gate_up[first * 2 * ffn..], act)
    });
}

/// Replaces `gate_up` by its gradient, given that of `act`, which is replaced by the output of [`forward`].
pub fn backward(team: &Team, ffn: usize, act: &mut [f32], gate_up: &mut [f32]) {
    for_row_blocks(team, gate_up, act, 2 * ffn, ffn, |_, rows, act| backward_rows(ffn, act, rows));
}

vectorized! {
    fn forward_rows(ffn: usize, gate_up: &[f32], act: &mut [f32]) {
        for (act, row) in act.chunks_exact_mut(ffn).zip(gate_up.chunks_exact(2 * ffn)) {
            let (gate, up) = row.split_at(ffn);
            for ((act, g), u) in act.iter_mut().zip(gate).zip(up) {
                *act = g * sigmoid(*g) * u;
            }
        }
    }

    fn backward_rows(ffn: usize, act: &mut [f32], rows: &mut [f32]) {
        for (row, act) in rows.chunks_exact_mut(2 * ffn).zip(act.chunks_exact_mut(ffn)) {
            let (gate, up) = row.split_at_mut(ffn);
            // In blocks of one vector: slices that are all written are otherwise compiled one element at a time.
            let ((gates, gate), (ups, up)) = (gate.as_chunks_mut::<LANES>(), up.as_chunks_mut::<LANES>());
            let (acts, act) = act.as_chunks_mut::<LANES>();
            for ((g, u), a) in gates.iter_mut().zip(ups).zip(acts) {
                let (mut dg, mut du, mut output) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
                for i in 0..LANES {
                    (dg[i], du[i], output[i]) = gradient(g[i], u[i], a[i]);
                }
                (*g, *u, *a) = (dg, du, output);
            }
            for ((g, u), a) in gate.iter_mut().zip(up).zip(act) {
                (*g, *u, *a) = gradient(*g, *u, *a);
            }
        }
    }
}

/// Gradients of gate and up for the gradient `d` of their product, and the product: `silu'(g) = s + silu (1 - s)`.
#[inline(always)]
fn gradient(g: f32, u: f32, d: f32) -> (f32, f32, f32) {
    let s = sigmoid(g);
    let silu = g * s;
    (d * u * (s + silu * (1.0 - s)), d * silu, silu * u)
}
