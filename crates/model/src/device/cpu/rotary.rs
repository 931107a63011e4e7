//! Rotary positions (arXiv 2104.09864) in the half-split form of transformers: dimension `i` turns with `i + dim / 2`.

use super::rows::for_row_blocks;
use super::team::Team;
use crate::device::Heads;
use crate::vectorized::vectorized;

/// Rotates the queries and keys of each row by its row of the tables; backwards where `inverse`.
pub fn rotate(team: &Team, cos: &[f32], sin: &[f32], heads: Heads, inverse: bool, qkv: &mut [f32]) {
    let half = heads.dim / 2;
    let rotated = (heads.heads + heads.kv_heads) * heads.dim;
    let sign = if inverse { -1.0 } else { 1.0 };
    for_row_blocks(team, qkv, &mut [], heads.width(), 0, |first, rows, _| {
        let tables = cos[first * half..].chunks_exact(half).zip(sin[first * half..].chunks_exact(half));
        for (row, (cos, sin)) in rows.chunks_exact_mut(heads.width()).zip(tables) {
            for head in row[..rotated].chunks_exact_mut(heads.dim) {
                rotate_head(head, cos, sin, sign);
            }
        }
    });
}

vectorized! {
    fn rotate_head(head: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let (low, high) = head.split_at_mut(head.len() / 2);
        for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let sin = sign * sin;
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
