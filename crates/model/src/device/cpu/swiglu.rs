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

/// Replaces `gate_up` by its gradient, given that of `act`.
pub fn backward(team: &Team, ffn: usize, dact: &[f32], gate_up: &mut [f32]) {
    for_row_blocks(team, gate_up, &mut [], 2 * ffn, 0, |first, rows, _| {
        backward_rows(ffn, &dact[first * ffn..], rows)
    });
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

    fn backward_rows(ffn: usize, dact: &[f32], rows: &mut [f32]) {
        for (row, dact) in rows.chunks_exact_mut(2 * ffn).zip(dact.chunks_exact(ffn)) {
            let (gate, up) = row.split_at_mut(ffn);
            // In blocks of one vector: two slices that are both written are otherwise compiled one element at a time.
            let ((gates, gate), (ups, up)) = (gate.as_chunks_mut::<LANES>(), up.as_chunks_mut::<LANES>());
            let (dacts, dact) = dact.as_chunks::<LANES>();
            for ((g, u), d) in gates.iter_mut().zip(ups).zip(dacts) {
                let (mut dg, mut du) = ([0.0; LANES], [0.0; LANES]);
                for i in 0..LANES {
                    (dg[i], du[i]) = gradient(g[i], u[i], d[i]);
                }
                (*g, *u) = (dg, du);
            }
            for ((g, u), d) in gate.iter_mut().zip(up).zip(dact) {
                (*g, *u) = gradient(*g, *u, *d);
            }
        }
    }
}

/// Gradients of gate and up for the gradient `d` of their product: `silu'(g) = s + silu (1 - s)`.
#[inline(always)]
fn gradient(g: f32, u: f32, d: f32) -> (f32, f32) {
    let s = sigmoid(g);
    let silu = g * s;
    (d * u * (s + silu * (1.0 - s)), d * silu)
}
