//! SwiGLU (arXiv 2002.05202): `silu(gate) * up`, forward and backward.

use super::math::sigmoid;
use super::rows::for_row_blocks;
use super::vectorized::vectorized;

/// `act[t, j] = silu(gate_up[t, j]) * gate_up[t, ffn + j]`.
pub fn forward(ffn: usize, gate_up: &[f32], act: &mut [f32]) {
    for_row_blocks(act, &mut [], ffn, 0, |first, act, _| forward_rows(ffn, &gate_up[first * 2 * ffn..], act));
}

/// Replaces `gate_up` by its gradient, given that of `act`.
pub fn backward(ffn: usize, dact: &[f32], gate_up: &mut [f32]) {
    for_row_blocks(gate_up, &mut [], 2 * ffn, 0, |first, rows, _| {
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
            for ((g, u), d) in gate.iter_mut().zip(up).zip(dact) {
                let s = sigmoid(*g);
                let silu = *g * s;
                // silu'(g) = s + silu (1 - s)
                *g = d * *u * (s + silu * (1.0 - s));
                *u = d * silu;
            }
        }
    }
}
