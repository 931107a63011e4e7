//! The tile: a few rows by two vectors of columns, in registers.

use std::arch::x86_64::*;

/// Rows of a tile.
pub const ROWS: usize = 14;
/// Columns of a tile: two vectors. With 14 rows they and the operands fill 31 of the 32 registers.
pub const COLUMNS: usize = 32;

/// A part of the result.
pub struct Place {
    /// Its first element.
    pub start: *mut f32,
    /// Distance between rows.
    pub apart: usize,
    /// Rows, at most [`ROWS`].
    pub rows: usize,
    /// Columns, at most [`COLUMNS`].
    pub columns: usize,
}

/// Products of a panel of [`ROWS`] lines and one of [`COLUMNS`], over `pairs` pairs of terms each; written to `place`, or added
/// to what is there. An element is one chain of sums in the order of the pairs.
///
/// # Safety
/// The processor has AVX-512 with BF16; the panels hold the pairs; nobody else touches `place`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn multiply(pairs: usize, a: &[f32], b: &[f32], place: &Place, accumulate: bool) {
    debug_assert!(a.len() >= pairs * ROWS && b.len() >= pairs * COLUMNS && place.rows <= ROWS);
    let columns: [__mmask16; 2] =
        [0, 16].map(|first| ((1u32 << place.columns.saturating_sub(first).min(16)) - 1) as __mmask16);
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    // SAFETY: panels and place as the caller promises; masked columns are not touched.
    unsafe {
        if accumulate {
            for (i, sums) in sums.iter_mut().enumerate() {
                if i < place.rows {
                    let row = place.start.add(i * place.apart);
                    sums[0] = _mm512_maskz_loadu_ps(columns[0], row);
                    sums[1] = _mm512_maskz_loadu_ps(columns[1], row.wrapping_add(16));
                }
            }
        }
        let (mut a, mut b) = (a.as_ptr().cast::<i32>(), b.as_ptr());
        for _ in 0..pairs {
            let first = words(_mm512_loadu_si512(b.cast()));
            let second = words(_mm512_loadu_si512(b.add(16).cast()));
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = words(_mm512_set1_epi32(*a.add(i)));
                sums[0] = _mm512_dpbf16_ps(sums[0], x, first);
                sums[1] = _mm512_dpbf16_ps(sums[1], x, second);
            }
            (a, b) = (a.add(ROWS), b.add(COLUMNS));
        }
        for (i, sums) in sums.iter().enumerate() {
            if i < place.rows {
                let row = place.start.add(i * place.apart);
                if place.columns == COLUMNS {
                    _mm512_storeu_ps(row, sums[0]);
                    _mm512_storeu_ps(row.add(16), sums[1]);
                } else {
                    _mm512_mask_storeu_ps(row, columns[0], sums[0]);
                    _mm512_mask_storeu_ps(row.wrapping_add(16), columns[1], sums[1]);
                }
            }
        }
    }
}

/// The same bits as 32 numbers of bf16.
#[inline(always)]
fn words(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes without invalid values.
    unsafe { std::mem::transmute(bits) }
}
