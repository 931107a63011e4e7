//! Rotary positions (arXiv 2104.09864) in the half-split form of transformers: dimension `i` turns with `i + dim / 2`.

use rayon::prelude::*;

use crate::device::Heads;

/// Rotates the queries and keys of each row by its row of the tables; backwards where `inverse`.
pub fn rotate(cos: &[f32], sin: &[f32], heads: Heads, inverse: bool, qkv: &mut [f32]) {
    let half = heads.dim / 2;
    let rotated = (heads.heads + heads.kv_heads) * heads.dim;
    let sign = if inverse { -1.0 } else { 1.0 };
    let tables = cos.par_chunks(half).zip(sin.par_chunks(half));
    qkv.par_chunks_mut(heads.width()).zip(tables).for_each(|(row, (cos, sin))| {
        for head in row[..rotated].chunks_exact_mut(heads.dim) {
            let (low, high) = head.split_at_mut(half);
            for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let sin = sign * sin;
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    });
}
