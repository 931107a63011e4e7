//! What stands beside the products, in vectors: scores and their gradients, row by row, straight from sums of tiles into pieces of
//! the next product's operand, and sums on their way out.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::pack::{put, transpose};
use super::super::tile::{SIDE, Sums};
use super::super::unit::{LINES, TILE};
use super::blocks::{Queries, Run, STEP};
use crate::math;

/// `e^x` where a bit of `lanes` says so and `x` is not under -87.3, else 0: `math::exp` to the last bit for all that is at most 88.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(lanes: __mmask16, x: __m512) -> __m512 {
    // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits.
    let round = _mm512_set1_ps(12_582_912.0);
    let n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E), round), round);
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693_359_4), x);
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.121_944_4e-4), r);
    let mut p = _mm512_set1_ps(1.388_888_9e-3);
    for factor in [8.333_334e-3, 4.166_666_6e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(factor));
    }
    // What is no number is not under it and stays.
    let lanes = _mm512_mask_cmp_ps_mask::<_CMP_NLT_UQ>(lanes, x, _mm512_set1_ps(-87.3));
    _mm512_maskz_scalef_ps(lanes, p, n)
}

/// Both vectors of a row's lanes.
fn halves(lanes: u32) -> [__mmask16; 2] {
    [lanes as __mmask16, (lanes >> LINES) as __mmask16]
}

/// What is known of the scores of a block of queries so far, row by row.
pub struct Softmax {
    /// The largest, scaled.
    pub max: [f32; SIDE],
    /// Sum of `e^(scaled score - max)`.
    pub sum: [f32; SIDE],
}

impl Softmax {
    /// Of no keys.
    pub fn of_nothing() -> Self {
        Self { max: [f32::NEG_INFINITY; SIDE], sum: [0.0; SIDE] }
    }

    /// Takes in the scores of some `blocks` of a run's keys, and turns them into pieces of `e^(scaled score - max)` as a left
    /// operand's panel of as many steps. Gives each row's factor of what was summed before, when its maximum was another.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub fn take_in(
        &mut self,
        queries: &Queries,
        (run, blocks): (&Run, Range<usize>),
        scale: f32,
        scores: &[Sums],
        pieces: &mut [f32],
    ) -> [f32; SIDE] {
        assert!(scores.len() >= blocks.len() && pieces.len() >= blocks.len() * STEP, "room for {blocks:?}");
        let mut factors = [0.0; SIDE];
        for row in 0..queries.rows {
            let visible = queries.visible(row);
            let lanes = |block: usize| halves(run.lanes(block, &visible));
            let before = self.max[row];
            let mut max = _mm512_set1_ps(f32::NEG_INFINITY);
            for (scores, block) in scores.iter().zip(blocks.clone()) {
                for (half, lanes) in lanes(block).into_iter().enumerate() {
                    // Where either is no number the second is taken: those are passed over.
                    max = _mm512_mask_max_ps(max, lanes, scores.vector(row, half), max);
                }
            }
            let max = before.max(_mm512_reduce_max_ps(max) * scale);
            let (of_scores, shift) = (_mm512_set1_ps(scale), _mm512_set1_ps(max));
            let mut sum = _mm512_setzero_ps();
            let panel = pieces.chunks_exact_mut(STEP);
            for ((scores, block), pieces) in scores.iter().zip(blocks.clone()).zip(panel) {
                let lanes = lanes(block);
                let e = |half: usize| {
                    exp(lanes[half], _mm512_fmsub_ps(scores.vector(row, half), of_scores, shift))
                };
                let (low, high) = (e(0), e(1));
                sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
                // SAFETY: a row of the step's tiles.
                unsafe { put::<3>(low, high, row % LINES, pieces[row / LINES * TILE..].as_mut_ptr()) };
            }
            // Before the first visible key there is nothing to be multiplied.
            let factor = if before == f32::NEG_INFINITY { 0.0 } else { math::exp(before - max) };
            self.sum[row] = self.sum[row] * factor + _mm512_reduce_add_ps(sum);
            (self.max[row], factors[row]) = (max, factor);
        }
        factors
    }
}

/// `sums = sums * factor + other`, row by row.
#[target_feature(enable = "avx512f")]
pub fn rescale_and_add(sums: &mut Sums, factors: &[f32], other: &Sums) {
    for (row, factor) in factors.iter().enumerate() {
        for half in 0..2 {
            let factor = _mm512_set1_ps(*factor);
            let sum = _mm512_fmadd_ps(sums.vector(row, half), factor, other.vector(row, half));
            sums.set(row, half, sum);
        }
    }
}

/// What the gradients of a block of queries need of the forward pass, row by row.
pub struct OfRows {
    /// Log-sum-exp of the scaled scores.
    pub lse: [f32; SIDE],
    /// Sum of the output times its gradient.
    pub delta: [f32; SIDE],
}

/// Pieces of the probabilities of a block of queries and keys, and of the gradients of their scores.
pub struct Pieces<'a> {
    /// Probabilities as the right operand, queries being its terms.
    pub probs: &'a mut [f32],
    /// Gradients of scores so.
    pub by_queries: &'a mut [f32],
    /// Gradients of scores as the left operand, keys being its terms.
    pub by_keys: &'a mut [f32],
}

/// Turns the scores of a block of queries and keys and the gradients of their probabilities into pieces.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn gradients(
    queries: &Queries,
    (run, block): (&Run, usize),
    scale: f32,
    of_rows: &OfRows,
    (scores, d_probs): (&Sums, &Sums),
    out: Pieces<'_>,
) {
    let Pieces { probs, by_queries, by_keys } = out;
    let long_enough = |out: &[f32]| out.len() >= STEP;
    assert!(
        long_enough(probs) && long_enough(by_queries) && long_enough(by_keys),
        "room for a block's pieces"
    );
    let scale = _mm512_set1_ps(scale);
    let lanes =
        |row: usize| halves(if row < queries.rows { run.lanes(block, &queries.visible(row)) } else { 0 });
    for row in 0..LINES {
        // A pair of terms of the right operand is rows `row` and `row + 16`.
        let pair = [row, row + LINES];
        let lanes = pair.map(lanes);
        let (mut p, mut d) = ([[_mm512_setzero_ps(); 2]; 2], [[_mm512_setzero_ps(); 2]; 2]);
        for (i, row) in pair.into_iter().enumerate() {
            let (lse, delta) = (_mm512_set1_ps(of_rows.lse[row]), _mm512_set1_ps(of_rows.delta[row]));
            for half in 0..2 {
                p[i][half] = exp(lanes[i][half], _mm512_fmsub_ps(scores.vector(row, half), scale, lse));
                let d_score = _mm512_sub_ps(d_probs.vector(row, half), delta);
                d[i][half] = _mm512_maskz_mul_ps(lanes[i][half], p[i][half], d_score);
            }
        }
        // SAFETY: rows of the steps' tiles.
        unsafe {
            for half in 0..2 {
                put::<3>(p[0][half], p[1][half], row, probs[half * TILE..].as_mut_ptr());
                put::<3>(d[0][half], d[1][half], row, by_queries[half * TILE..].as_mut_ptr());
                put::<3>(d[half][0], d[half][1], row, by_keys[half * TILE..].as_mut_ptr());
            }
        }
    }
}

/// Writes the first `columns` columns of sums, each row times its factor, to rows `apart` floats from each other.
///
/// # Safety
/// As many rows as there are factors may be written there, and nobody else touches them.
#[target_feature(enable = "avx512f")]
pub unsafe fn put_rows(sums: &Sums, factors: &[f32], columns: usize, to: *mut f32, apart: usize) {
    for (row, factor) in factors.iter().enumerate() {
        let factor = _mm512_set1_ps(*factor);
        for half in 0..2 {
            let lanes = first(columns.saturating_sub(half * LINES));
            let vector = _mm512_mul_ps(sums.vector(row, half), factor);
            // SAFETY: inside of the rows by the caller's promise; masked elements are not touched.
            unsafe { _mm512_mask_storeu_ps(to.wrapping_add(row * apart + half * LINES), lanes, vector) };
        }
    }
}

/// Writes columns of sums, times a factor, as rows `apart` floats from each other, of which the first `columns` elements.
///
/// # Safety
/// So many rows may be written there, and nobody else touches them.
#[target_feature(enable = "avx512f")]
pub unsafe fn put_turned(
    sums: &Sums,
    factor: f32,
    (rows, columns): (usize, usize),
    to: *mut f32,
    apart: usize,
) {
    let factor = _mm512_set1_ps(factor);
    for (down, across) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut block = [_mm512_setzero_ps(); LINES];
        for (i, vector) in block.iter_mut().enumerate() {
            *vector = _mm512_mul_ps(sums.vector(across * LINES + i, down), factor);
        }
        transpose(&mut block);
        let lanes = first(columns.saturating_sub(across * LINES));
        for (i, vector) in block.iter().enumerate().take(rows.saturating_sub(down * LINES)) {
            let at = (down * LINES + i) * apart + across * LINES;
            // SAFETY: inside of the rows by the caller's promise; masked elements are not touched.
            unsafe { _mm512_mask_storeu_ps(to.wrapping_add(at), lanes, *vector) };
        }
    }
}

/// So many lanes.
fn first(lanes: usize) -> __mmask16 {
    ((1u32 << lanes.min(LINES)) - 1) as __mmask16
}

/// Sums of the products of a head's columns of rows `apart` floats from each other.
///
/// # Panics
/// When an operand is shorter.
#[target_feature(enable = "avx512f")]
pub fn dots(a: &[f32], b: &[f32], dim: usize, apart: usize, rows: usize) -> Vec<f32> {
    let mut dots = Vec::with_capacity(rows);
    for row in 0..rows {
        let own = row * apart..row * apart + dim;
        dots.push(math::dot(&a[own.clone()], &b[own]));
    }
    dots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_everyone_to_the_last_bit() {
        if !super::super::super::available() {
            return; // the processor may lack the vectors
        }
        let special = [0.0, -0.0, -87.3, -87.31, -100.0, -1e30, f32::MIN, f32::NEG_INFINITY, f32::NAN, 1.5];
        for x in (0..9000).map(|i| i as f32 * -1e-2).chain(special) {
            let mut found = [0.0f32; LINES];
            // SAFETY: a processor with the unit has the vectors; 16 elements.
            unsafe { _mm512_storeu_ps(found.as_mut_ptr(), exp(0x5555, _mm512_set1_ps(x))) };
            let expected = math::exp(x);
            assert!(
                found[0].to_bits() == expected.to_bits() || found[0].is_nan() && expected.is_nan(),
                "exp({x}) = {}, {expected}",
                found[0]
            );
            assert_eq!(found[1], 0.0, "a lane that is left out");
        }
    }
}
