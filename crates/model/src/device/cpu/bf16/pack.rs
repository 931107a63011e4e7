//! Operands rounded to bf16 and arranged for the tile: panels `[lines / width][pairs][width]` of pairs of terms.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::operand::{Elements, Operand};

/// Lanes of a vector of pairs.
const LANES: usize = 16;
/// Words of two vectors of 16 interleaved: the first of one, the first of the other, ...
static INTERLEAVED: [u16; 32] = [
    0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,
    30, 15, 31,
];

/// Arranges some lines and terms in panels of `width` lines; lines that fill the last panel up, and the second term of a
/// last pair that has but one, are zero. `out` has `lines / width * pairs * width` elements, rounded up, each the bits of
/// a pair with the first term in the lower half.
///
/// # Safety
/// The processor has AVX-512 with BF16; the operand holds the lines and terms (see [`Operand::holds`]).
///
/// # Panics
/// When `out` is too short.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn arrange(
    operand: &Operand<'_>,
    lines: Range<usize>,
    terms: Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let pairs = terms.len().div_ceil(2);
    assert!(out.len() >= lines.len().div_ceil(width) * pairs * width, "room for {lines:?} of {terms:?}");
    for (index, panel) in lines.clone().step_by(width).zip(out.chunks_exact_mut(pairs * width)) {
        for lane in (0..width).step_by(LANES) {
            let group = Group {
                operand,
                first: index + lane,
                lines: lines.end.saturating_sub(index + lane).min(LANES),
                stored: mask((width - lane).min(LANES)),
            };
            let out = panel[lane..].as_mut_ptr();
            // SAFETY: the features and the elements by the caller's promise; a pair of the panel has `width` elements,
            // of which a vector from `lane` on, cut by `stored`, stays inside.
            unsafe {
                if operand.by_terms {
                    group.by_terms(&terms, width, out)
                } else {
                    group.by_lines(&terms, width, out)
                }
            }
        }
    }
}

/// At most 16 lines that are arranged together.
struct Group<'a, 'b> {
    operand: &'a Operand<'b>,
    first: usize,
    /// Lines that there are; the others are zero.
    lines: usize,
    stored: __mmask16,
}

impl Group<'_, '_> {
    /// Terms of a line stand together: 16 lines of 16 pairs are read line by line, and transposed.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn by_lines(&self, terms: &Range<usize>, width: usize, out: *mut f32) {
        for start in (0..terms.len()).step_by(2 * LANES) {
            let count = (terms.len() - start).min(2 * LANES);
            let mut block = [_mm512_setzero_si512(); LANES];
            for (line, pairs) in block.iter_mut().enumerate().take(self.lines) {
                let at = (self.first + line) * self.operand.apart + terms.start + start;
                // SAFETY: the operand holds `count` terms from there on.
                *pairs = unsafe { self.read(at, at + LANES, count.min(LANES), count.saturating_sub(LANES)) };
            }
            transpose(&mut block);
            for (pair, lines) in block.iter().enumerate().take(count.div_ceil(2)) {
                // SAFETY: inside of the panel by the caller's promise.
                unsafe {
                    self.store(out.add((start / 2 + pair) * width), *lines);
                }
            }
        }
    }

    /// Lines of a term stand together: two terms are read and interleaved.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn by_terms(&self, terms: &Range<usize>, width: usize, out: *mut f32) {
        // SAFETY: 32 words.
        let order = unsafe { _mm512_loadu_si512(INTERLEAVED.as_ptr().cast()) };
        for start in (0..terms.len()).step_by(2) {
            let at = (terms.start + start) * self.operand.apart + self.first;
            let second = if start + 1 < terms.len() { self.lines } else { 0 };
            // SAFETY: the operand holds the lines of these terms; the store is inside of the panel by the caller's promise.
            unsafe {
                let words = self.read(at, at + self.operand.apart, self.lines, second);
                let pairs = _mm512_permutexvar_epi16(order, words);
                self.store(out.add(start / 2 * width), pairs);
            }
        }
    }

    /// Stores the lines of a pair. A store under a mask takes the processor several times as long, so only a part has one.
    #[target_feature(enable = "avx512f")]
    unsafe fn store(&self, out: *mut f32, lines: __m512i) {
        // SAFETY: inside of the panel by the caller's promise.
        unsafe {
            if self.stored == !0 {
                _mm512_storeu_si512(out.cast(), lines);
            } else {
                _mm512_mask_storeu_epi32(out.cast(), self.stored, lines);
            }
        }
    }

    /// 32 words: `low` elements from `at` on in the lower half, `high` from `then` on in the upper; zeros beside them.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn read(&self, at: usize, then: usize, low: usize, high: usize) -> __m512i {
        let (low, high) = (mask(low), mask(high));
        // SAFETY: masked elements are not touched, and the others are the operand's by the caller's promise. The pointers
        // may lie behind the end where nothing is read, hence `wrapping_add`.
        unsafe {
            match self.operand.elements {
                Elements::Single(elements) => {
                    let low = _mm512_maskz_loadu_ps(low, elements.as_ptr().wrapping_add(at));
                    let high = _mm512_maskz_loadu_ps(high, elements.as_ptr().wrapping_add(then));
                    std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
                }
                Elements::F16(_) => unreachable!("weights of f16 are widened before they are multiplied"),
                Elements::Bf16(elements) => {
                    let start = elements.as_ptr().cast::<i16>();
                    let low = _mm512_maskz_loadu_epi16(low.into(), start.wrapping_add(at));
                    let high = _mm512_maskz_loadu_epi16(high.into(), start.wrapping_add(then));
                    _mm512_inserti64x4::<1>(low, _mm512_castsi512_si256(high))
                }
            }
        }
    }
}

/// The first `count` of 16 lanes.
fn mask(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// Transposes a matrix of 16 x 16 pairs.
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; LANES]) {
    // Pairs of rows, then fours, within each quarter of a vector.
    let mut twos = *rows;
    for i in (0..LANES).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    let mut fours = twos;
    for i in (0..LANES).step_by(4) {
        fours[i] = _mm512_unpacklo_epi64(twos[i], twos[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(twos[i], twos[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(twos[i + 1], twos[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(twos[i + 1], twos[i + 3]);
    }
    // `fours[4 g + j]` has, in quarter q, column 4 q + j of rows 4 g to 4 g + 3.
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let (low_ab, low_cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
        let (high_ab, high_cd) = (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
        rows[j] = _mm512_shuffle_i32x4::<0x88>(low_ab, low_cd);
        rows[4 + j] = _mm512_shuffle_i32x4::<0xdd>(low_ab, low_cd);
        rows[8 + j] = _mm512_shuffle_i32x4::<0x88>(high_ab, high_cd);
        rows[12 + j] = _mm512_shuffle_i32x4::<0xdd>(high_ab, high_cd);
    }
}
