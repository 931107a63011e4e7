//! Two vectors of f32 as pairs of bf16: each number rounded, or cut in three.
//!
//! Three pieces: the number rounded to 8 bits, the rest rounded to 8 bits, and what is left, which has 8 bits at most, so that
//! their sum is the number itself. The unit takes pieces under 2^-126 for zeros: numbers under 2^-103 lose what is smaller.
//! Greg Henry, Ping Tak Peter Tang, Alexander Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations", 2019.

use std::arch::x86_64::*;

/// Words of two vectors of 16 interleaved: the first of one, the first of the other, ...
static INTERLEAVED: [u16; 32] = [
    0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,
    30, 15, 31,
];

/// In a quarter of a vector, for the lower word of each element the upper word of another vector's.
static UPPER_WORDS: [i8; 16] = [2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15];

/// Both vectors rounded to nearest, ties to even, in pairs with the first vector's in the lower half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: 32 words; both types of the conversion are 64 bytes without invalid values.
    unsafe {
        let order = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
        let words = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_permutexvar_epi16(order, words)
    }
}

/// Pairs of the pieces of both vectors, the largest first.
///
/// A piece is rounded to nearest in its bits, ties away from zero. What is not finite, or rounds to infinity, is not finite in
/// the last piece: the rest of an infinity is no number.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn split<const PIECES: usize>(mut low: __m512, mut high: __m512) -> [__m512i; PIECES] {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let half = _mm512_set1_epi32(0x8000);
    let mut pieces = [_mm512_setzero_si512(); PIECES];
    for (i, piece) in pieces.iter_mut().enumerate() {
        let last = i + 1 == PIECES;
        let round = |x: __m512| {
            let bits = _mm512_castps_si512(x);
            if last { bits } else { _mm512_add_epi32(bits, half) }
        };
        let (low_bits, high_bits) = (round(low), round(high));
        *piece = upper_words(low_bits, high_bits);
        if !last {
            low = _mm512_sub_ps(low, _mm512_castsi512_ps(_mm512_and_si512(low_bits, upper)));
            high = _mm512_sub_ps(high, _mm512_castsi512_ps(_mm512_and_si512(high_bits, upper)));
        }
    }
    pieces
}

/// Pairs of the upper words of both vectors' elements: `high & 0xffff0000 | low >> 16`, in one instruction.
///
/// In assembler: of the intrinsic the compiler makes a permutation of words, which takes three times as long.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn upper_words(low: __m512i, high: __m512i) -> __m512i {
    let lower_words = 0x3333_3333_3333_3333u64;
    // SAFETY: 16 bytes.
    let places = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(UPPER_WORDS.as_ptr().cast()) });
    let pairs: __m512i;
    // SAFETY: a function of its operands, of an extension that the processor has.
    unsafe {
        std::arch::asm!(
            "vpshufb {pairs}{{{lower_words}}}, {low}, {places}",
            pairs = inlateout(zmm_reg) high => pairs,
            lower_words = in(kreg) lower_words,
            low = in(zmm_reg) low,
            places = in(zmm_reg) places,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    pairs
}
