//! Operands as panels of tiles of bf16, each f32 as the sum of three numbers or rounded to one ([`super::pieces`]).
//!
//! A panel has [`SIDE`] lines: `[steps][pieces][two tiles]`, a step being [`TERMS`] terms. A tile of the left operand has a
//! line in each row, one of the right operand in each column; its 16 pairs are terms `j` and `j + 16` of the step. Lines and
//! terms beyond the operand's are zero.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::operand::{Elements, Operand};
use super::pieces::{rounded, split};
use super::tile::SIDE;
use super::unit::{LINES, TERMS, TILE};

/// In place of a number of pieces: f32 as they are, in the order of tiles, to be cut when they are multiplied. A step is
/// `[two tiles][row][two vectors of 16]`, as long as two pieces.
pub const UNCUT: usize = 2;

/// Blocks that are asked for before their turn.
const AHEAD: usize = 4;

/// Length of the panels of so many lines and terms, in f32.
pub fn len(lines: usize, terms: usize, pieces: usize) -> usize {
    lines.div_ceil(SIDE) * panel_len(terms, pieces)
}

/// Length of one panel.
pub const fn panel_len(terms: usize, pieces: usize) -> usize {
    terms.div_ceil(TERMS) * pieces * 2 * TILE
}

/// On which side of the product an operand stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Lines are rows of its tiles.
    Left,
    /// Lines are columns.
    Right,
}

/// Arranges some lines and terms in panels of `PIECES` (1 or 3) pieces, or [`UNCUT`].
///
/// # Safety
/// The processor has AVX-512 with BF16; the operand holds the lines and terms (see [`Operand::holds`]).
///
/// # Panics
/// When `out` is shorter than [`len`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn arrange<const PIECES: usize>(
    operand: &Operand<'_>,
    side: Side,
    lines: Range<usize>,
    terms: Range<usize>,
    out: &mut [f32],
) {
    assert!(out.len() >= len(lines.len(), terms.len(), PIECES), "room for {lines:?} of {terms:?}");
    let steps = terms.len().div_ceil(TERMS);
    let panels = lines.len().div_ceil(SIDE);
    let count = panels * steps * 2;
    // In the order in which they lie: a panel's steps, or by terms the panels of a step.
    let place = |index: usize| {
        let (of_two, half) = (index / 2, index % 2);
        if operand.by_terms {
            (of_two % panels, of_two / panels, half)
        } else {
            (of_two / steps, of_two % steps, half)
        }
    };
    let block = |(panel, step, half): (usize, usize, usize)| {
        let line = (lines.start + panel * SIDE + half * LINES).min(lines.end);
        let term = terms.start + step * TERMS;
        Block {
            operand,
            side,
            line,
            lines: (lines.end - line).min(LINES),
            term,
            terms: (terms.end - term).min(TERMS),
        }
    };
    for index in 0..count {
        if index + AHEAD < count {
            block(place(index + AHEAD)).fetch();
        }
        let (panel, step, half) = place(index);
        let tile = if PIECES == UNCUT { 2 * TILE } else { TILE };
        let at = (panel * steps + step) * PIECES * 2 * TILE + half * tile;
        // SAFETY: features and elements by the caller's promise; the tiles are inside of `out` as asserted.
        unsafe { block((panel, step, half)).arrange::<PIECES>(out.as_mut_ptr().add(at)) };
    }
}

/// At most 16 lines of at most 32 terms: one tile of each piece.
struct Block<'a, 'b> {
    operand: &'a Operand<'b>,
    side: Side,
    line: usize,
    lines: usize,
    term: usize,
    terms: usize,
}

impl Block<'_, '_> {
    /// Asks for the elements, which lie in as many places as there are rows: more than the processor foresees.
    #[inline]
    fn fetch(&self) {
        let Operand { elements, apart, by_terms } = *self.operand;
        let (start, rows, width) = if by_terms {
            (self.term * apart + self.line, self.terms, self.lines)
        } else {
            (self.line * apart + self.term, self.lines, self.terms)
        };
        let (base, size) = match elements {
            Elements::Single(elements) => (elements.as_ptr().cast::<i8>(), 4),
            Elements::Bf16(bits) | Elements::F16(bits) => (bits.as_ptr().cast::<i8>(), 2),
        };
        for row in 0..rows {
            let first = base.wrapping_add((start + row * apart) * size);
            for byte in (0..width * size).step_by(64) {
                // SAFETY: a prefetch may be given any address.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(byte)) };
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn arrange<const PIECES: usize>(&self, out: *mut f32) {
        // Rows of the block are rows of the tile where the left operand has them by lines, and the right one by terms.
        let turned = self.operand.by_terms == (self.side == Side::Left);
        let single = matches!(self.operand.elements, Elements::Single(_));
        let whole = single && self.lines == LINES && self.terms == TERMS;
        // SAFETY: by the caller's promise.
        unsafe {
            match (turned, PIECES, whole) {
                (false, _, true) => self.as_they_lie::<PIECES, true>(out),
                (false, _, false) => self.as_they_lie::<PIECES, false>(out),
                (true, 1, true) => self.turned_rounded::<true>(out),
                (true, 1, false) => self.turned_rounded::<false>(out),
                (true, _, true) => self.turned::<PIECES, true>(out),
                (true, _, false) => self.turned::<PIECES, false>(out),
            }
        }
    }

    /// Row by row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn as_they_lie<const PIECES: usize, const WHOLE: bool>(&self, out: *mut f32) {
        for i in 0..LINES {
            // SAFETY: by the caller's promise.
            unsafe {
                let (low, high) = self.row::<WHOLE>(i);
                put::<PIECES>(low, high, i, out);
            }
        }
    }

    /// Transposed before it is cut in pieces: two matrices of f32 rather than three of pairs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn turned<const PIECES: usize, const WHOLE: bool>(&self, out: *mut f32) {
        let (mut low, mut high) = ([_mm512_setzero_ps(); LINES], [_mm512_setzero_ps(); LINES]);
        for (i, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
            // SAFETY: by the caller's promise.
            (*low, *high) = unsafe { self.row::<WHOLE>(i) };
        }
        transpose(&mut low);
        transpose(&mut high);
        for (i, (low, high)) in low.iter().zip(&high).enumerate() {
            // SAFETY: a row of the tile, by the caller's promise.
            unsafe { put::<PIECES>(*low, *high, i, out) };
        }
    }

    /// Transposed as pairs, after rounding: one matrix rather than two.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn turned_rounded<const WHOLE: bool>(&self, out: *mut f32) {
        let mut pairs = [_mm512_setzero_ps(); LINES];
        for (i, pairs) in pairs.iter_mut().enumerate() {
            // SAFETY: by the caller's promise.
            let (low, high) = unsafe { self.row::<WHOLE>(i) };
            *pairs = _mm512_castsi512_ps(rounded(low, high));
        }
        transpose(&mut pairs);
        for (i, row) in pairs.iter().enumerate() {
            // SAFETY: inside of the tile.
            unsafe { _mm512_storeu_ps(out.add(i * LINES), *row) };
        }
    }

    /// Terms 0 to 15 of line `i` and its terms 16 to 31; or, by terms, the lines of term `i` and those of term `16 + i`. Where
    /// all are there, and f32, without masks: working these out takes as many instructions as cutting the elements.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn row<const WHOLE: bool>(&self, i: usize) -> (__m512, __m512) {
        let Operand { elements, apart, by_terms } = *self.operand;
        let (first, next) = if by_terms {
            (self.term * apart + self.line, LINES * apart)
        } else {
            (self.line * apart + self.term, LINES)
        };
        let at = first + i * apart;
        if WHOLE && let Elements::Single(elements) = elements {
            // SAFETY: the operand holds whole vectors from there on, by the caller's promise.
            return unsafe {
                let row = elements.as_ptr().add(at);
                (_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(next)))
            };
        }
        let counts = if by_terms {
            let count = |term: usize| if term < self.terms { self.lines } else { 0 };
            (count(i), count(LINES + i))
        } else {
            let count = |terms: usize| if i < self.lines { terms } else { 0 };
            (count(self.terms.min(LINES)), count(self.terms.saturating_sub(LINES)))
        };
        // SAFETY: the operand holds so many elements from there on, by the caller's promise.
        unsafe { (load(elements, at, counts.0), load(elements, at + next, counts.1)) }
    }
}

/// `count` elements from `at` on, at most 16, as f32; zeros beside them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load(elements: Elements<'_>, at: usize, count: usize) -> __m512 {
    let lanes = ((1u32 << count) - 1) as __mmask16;
    // SAFETY: masked elements are not touched, and the others are the operand's by the caller's promise. The pointers may lie
    // behind the end where nothing is read, hence `wrapping_add`.
    unsafe {
        match elements {
            Elements::Single(elements) => _mm512_maskz_loadu_ps(lanes, elements.as_ptr().wrapping_add(at)),
            Elements::Bf16(bits) => {
                let words =
                    _mm512_maskz_loadu_epi16(lanes.into(), bits.as_ptr().cast::<i16>().wrapping_add(at));
                let words = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(words));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
            }
            Elements::F16(bits) => {
                let words =
                    _mm512_maskz_loadu_epi16(lanes.into(), bits.as_ptr().cast::<i16>().wrapping_add(at));
                _mm512_cvtph_ps(_mm512_castsi512_si256(words))
            }
        }
    }
}

/// Writes a row of a tile of each piece, or of the numbers as they are.
///
/// # Safety
/// `out` is the first tile's start; those of the pieces lie two tiles apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn put<const PIECES: usize>(low: __m512, high: __m512, row: usize, out: *mut f32) {
    // SAFETY: inside of the tiles by the caller's promise.
    unsafe {
        if PIECES == UNCUT {
            let out = out.add(row * 2 * LINES);
            _mm512_storeu_ps(out, low);
            _mm512_storeu_ps(out.add(LINES), high);
            return;
        }
        let pieces = if PIECES == 1 { [rounded(low, high); PIECES] } else { split(low, high) };
        for (piece, words) in pieces.into_iter().enumerate() {
            _mm512_storeu_si512(out.add(piece * 2 * TILE + row * LINES).cast(), words);
        }
    }
}

/// Cuts rows of a step that was arranged [`UNCUT`] in three pieces.
///
/// # Safety
/// The processor has AVX-512 with BF16; `uncut` and `out` have a step's length.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn cut(uncut: *const f32, rows: Range<usize>, out: *mut f32) {
    for row in rows {
        let (half, row) = (row / LINES, row % LINES);
        // SAFETY: inside of the step by the caller's promise.
        unsafe {
            let at = uncut.add(half * 2 * TILE + row * 2 * LINES);
            put::<3>(_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(LINES)), row, out.add(half * TILE));
        }
    }
}

/// Cuts so many steps that were arranged [`UNCUT`].
///
/// # Safety
/// The processor has AVX-512 with BF16.
///
/// # Panics
/// When an argument is shorter than so many steps.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn cut_steps(uncut: &[f32], steps: usize, out: &mut [f32]) {
    let (uncut_len, len) = (panel_len(TERMS, UNCUT), panel_len(TERMS, 3));
    let (uncut, out) = (&uncut[..steps * uncut_len], &mut out[..steps * len]);
    for (uncut, out) in uncut.chunks_exact(uncut_len).zip(out.chunks_exact_mut(len)) {
        // SAFETY: whole steps.
        unsafe { cut(uncut.as_ptr(), 0..2 * LINES, out.as_mut_ptr()) };
    }
}

/// Transposes a matrix of 16 x 16 elements of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn transpose(rows: &mut [__m512; LINES]) {
    // Pairs of rows, then fours, within each quarter of a vector.
    let mut twos = *rows;
    for i in (0..LINES).step_by(2) {
        twos[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        twos[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    let mut fours = twos;
    for i in (0..LINES).step_by(4) {
        let (a, b) = (_mm512_castps_pd(twos[i]), _mm512_castps_pd(twos[i + 1]));
        let (c, d) = (_mm512_castps_pd(twos[i + 2]), _mm512_castps_pd(twos[i + 3]));
        fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    // `fours[4 g + j]` has, in quarter q, column 4 q + j of rows 4 g to 4 g + 3.
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let (low_ab, low_cd) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0x44>(c, d));
        let (high_ab, high_cd) = (_mm512_shuffle_f32x4::<0xee>(a, b), _mm512_shuffle_f32x4::<0xee>(c, d));
        rows[j] = _mm512_shuffle_f32x4::<0x88>(low_ab, low_cd);
        rows[4 + j] = _mm512_shuffle_f32x4::<0xdd>(low_ab, low_cd);
        rows[8 + j] = _mm512_shuffle_f32x4::<0x88>(high_ab, high_cd);
        rows[12 + j] = _mm512_shuffle_f32x4::<0xdd>(high_ab, high_cd);
    }
}
