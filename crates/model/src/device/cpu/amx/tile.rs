//! The tile of a product: 32 rows by 32 columns of sums in four of the unit's tiles.

use std::arch::asm;
use std::arch::x86_64::*;

use super::ahead::Ahead;
use super::unit::{LINES, TILE, Tiles};

/// Rows and columns of a block of sums: two tiles by two.
pub const SIDE: usize = 32;

/// Of how many numbers of bf16 each element of the operands is the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// One on both sides.
    Rounded,
    /// Three on the left, one on the right.
    LeftExact,
    /// Three on both sides.
    Exact,
}

/// Sums of a block, row by row.
#[repr(C, align(64))]
pub struct Sums([f32; SIDE * SIDE]);

impl Sums {
    /// Zeros.
    pub fn zeros() -> Self {
        Self([0.0; SIDE * SIDE])
    }

    /// As many blocks as there is room for.
    ///
    /// # Panics
    /// When the room does not begin at a cache line.
    pub fn of(room: &mut [f32]) -> &mut [Self] {
        // SAFETY: any bits are numbers.
        let (before, blocks, _) = unsafe { room.align_to_mut() };
        assert!(before.is_empty(), "room for sums that does not begin at a cache line");
        blocks
    }

    /// Columns `16 half` to `16 half + 15` of row `row`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn vector(&self, row: usize, half: usize) -> __m512 {
        let start = row * SIDE + half * LINES;
        let vector = &self.0[start..start + LINES];
        // SAFETY: 16 elements, which begin at a cache line.
        unsafe { _mm512_load_ps(vector.as_ptr()) }
    }
}

/// A part of the result that takes the sums of a block.
pub struct Place {
    /// Its first element.
    pub start: *mut f32,
    /// Distance between rows.
    pub apart: usize,
    /// Rows, at most [`SIDE`].
    pub rows: usize,
    /// Columns, at most [`SIDE`].
    pub columns: usize,
    /// The first element of what is added, its rows as far apart: the place itself, or another.
    pub onto: Option<*const f32>,
    /// Whether what overwrites goes to memory past the caches; rows begin at multiples of 64 bytes then.
    pub past_caches: bool,
}

impl Place {
    /// Whether its sums go past the caches: those that are added to something are not.
    fn goes_past_caches(&self) -> bool {
        self.past_caches && self.onto.is_none()
    }
}

/// The cache lines of a place, asked for as one's own while its sums are computed: a store to a line that is elsewhere holds one
/// of the few places for lines under way until it arrives, and tiles that come from the second-level cache wait for such a place.
#[derive(Clone, Copy)]
pub struct Asked {
    /// The next row.
    row: *const u8,
    /// Bytes from one row to the next.
    apart: usize,
    /// Rows in a step, at least one.
    rows: usize,
}

impl Asked {
    /// Nothing new: a line of the sums, again and again.
    pub fn nothing(sums: &Sums) -> Self {
        Self { row: sums.0.as_ptr().cast(), apart: 0, rows: 1 }
    }

    /// All rows of a place in so many steps; where stores go past the caches, a line of the sums again and again.
    fn of(place: &Place, steps: usize, sums: &Sums) -> Self {
        if place.goes_past_caches() {
            return Self::nothing(sums);
        }
        let rows = place.rows.div_ceil(steps).max(1);
        Self { row: place.start.cast_const().cast(), apart: place.apart * size_of::<f32>(), rows }
    }
}

// Sums in tmm0 to tmm3, rows of the left panel in tmm4 and tmm5, columns of the right one in tmm6 and tmm7. The tiles of one
// operand are replaced at a time, and products use them with those of the other that stay. First with the upper 16 rows alone.
macro_rules! upper_left {
    ($at:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {row} + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
        )
    };
}
macro_rules! upper_right {
    ($at:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {row} + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm7, [{b} + {row} + ",
            $at,
            " + 1024]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
        )
    };
}
macro_rules! left {
    ($at:literal) => {
        concat!(
            upper_left!($at),
            "tileloadd tmm5, [{a} + {row} + ",
            $at,
            " + 1024]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
}
macro_rules! right {
    ($at:literal) => {
        concat!(upper_right!($at), "tdpbf16ps tmm2, tmm5, tmm6\n", "tdpbf16ps tmm3, tmm5, tmm7\n")
    };
}

/// The steps of a block; after each product of pieces a part of what is asked for ahead, and after all of them some rows of the
/// place.
macro_rules! steps {
    (
        $a:ident,
        $b:ident,
        $steps:ident,
        $ahead:ident,
        $asked:ident,
        $a_step:literal,
        $b_step:literal,
        $($products:expr),+
    ) => {
        asm!(
            "2:",
            "mov {next}, {start}",
            "tileloadd tmm6, [{b} + {row}]",
            "tileloadd tmm7, [{b} + {row} + 1024]",
            $(
                $products,
                "mov {count}, {pairs}",
                "3:",
                "prefetcht1 [{next}]",
                "prefetcht1 [{next} + 64]",
                "add {next}, {apart}",
                "dec {count}",
                "jnz 3b",
            )+
            "mov {count}, {rows}",
            "4:",
            "prefetchw [{asked}]",
            "prefetchw [{asked} + 64]",
            "add {asked}, {rows_apart}",
            "dec {count}",
            "jnz 4b",
            concat!("add {a}, ", $a_step),
            concat!("add {b}, ", $b_step),
            "add {start}, {step}",
            "dec {steps}",
            "jnz 2b",
            a = inout(reg) $a => _,
            b = inout(reg) $b => _,
            steps = inout(reg) $steps => _,
            start = inout(reg) $ahead.start => _,
            pairs = in(reg) $ahead.pairs.div_ceil([$($products),+].len()),
            apart = in(reg) $ahead.apart,
            step = in(reg) $ahead.step,
            asked = inout(reg) $asked.row => _,
            rows = in(reg) $asked.rows,
            rows_apart = in(reg) $asked.apart,
            row = in(reg) 64usize,
            next = out(reg) _,
            count = out(reg) _,
            options(nostack, readonly),
        )
    };
}

/// The products of a step for each number of pieces, from macros for a new piece of the left and of the right operand.
macro_rules! products {
    ($pieces:ident, $a:ident, $b:ident, $steps:ident, $ahead:ident, $asked:ident, $left:ident, $right:ident) => {
        match $pieces {
            Pieces::Rounded => {
                steps!($a, $b, $steps, $ahead, $asked, "2048", "2048", $left!("0"))
            }
            Pieces::LeftExact => {
                steps!(
                    $a,
                    $b,
                    $steps,
                    $ahead,
                    $asked,
                    "6144",
                    "2048",
                    $left!("4096"),
                    $left!("2048"),
                    $left!("0")
                )
            }
            Pieces::Exact => steps!(
                $a,
                $b,
                $steps,
                $ahead,
                $asked,
                "6144",
                "6144",
                $left!("4096"),
                $left!("2048"),
                $right!("2048"),
                $left!("0"),
                $right!("4096"),
                $right!("0")
            ),
        }
    };
}

/// The sums of the products of two panels of [`SIDE`] lines and `steps` tiles of terms each; see [`super::pack`].
///
/// Meanwhile what comes next and the place of the sums are asked for.
///
/// # Safety
/// As for [`add`].
#[allow(clippy::too_many_arguments)]
pub unsafe fn multiply(
    tiles: &Tiles,
    pieces: Pieces,
    steps: usize,
    a: *const f32,
    b: *const f32,
    ahead: Ahead,
    place: &Place,
    sums: &mut Sums,
) {
    let asked = Asked::of(place, steps, sums);
    zero(tiles, place.rows);
    // SAFETY: by the caller's promise.
    unsafe { add(tiles, pieces, steps, a, b, ahead, asked, place.rows) };
    store(tiles, place.rows, sums);
}

/// Adds products of `steps` tiles of terms to the sums in the tiles.
///
/// With three pieces on both sides, six of the nine products of pieces are added: the others are together at most 2^-24 of the
/// whole, the half of an f32's last place.
///
/// With at most 16 rows the lower half of the left panel is not read, and sums of rows there are unspecified. A row's sums do not
/// depend on that.
///
/// # Safety
/// The panels hold `steps` steps of the pieces, at least one.
#[allow(clippy::too_many_arguments)]
pub unsafe fn add(
    _: &Tiles,
    pieces: Pieces,
    steps: usize,
    a: *const f32,
    b: *const f32,
    ahead: Ahead,
    asked: Asked,
    rows: usize,
) {
    debug_assert!(steps > 0 && ahead.pairs > 0);
    // SAFETY: whoever has `Tiles` has configured all eight; the compiler itself never uses them. The panels hold what is
    // loaded by the caller's promise, and a prefetch may be given any address.
    unsafe {
        if rows <= LINES {
            products!(pieces, a, b, steps, ahead, asked, upper_left, upper_right);
        } else {
            products!(pieces, a, b, steps, ahead, asked, left, right);
        }
    }
}

/// Begins the sums of so many rows in the tiles.
pub fn zero(_: &Tiles, rows: usize) {
    // SAFETY: whoever has `Tiles` has configured all eight; the compiler itself never uses them.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", options(nostack, nomem));
        if rows > LINES {
            asm!("tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
        }
    }
}

macro_rules! stored {
    ($half:expr, $left:literal, $right:literal) => {
        asm!(
            concat!("tilestored [{half} + {row}], ", $left),
            concat!("tilestored [{half} + {row} + 64], ", $right),
            half = in(reg) $half.as_mut_ptr(),
            row = in(reg) 4 * SIDE,
            options(nostack),
        )
    };
}

/// Takes the sums of so many rows out of the tiles.
pub fn store(_: &Tiles, rows: usize, sums: &mut Sums) {
    let (upper, lower) = sums.0.split_at_mut(2 * TILE);
    // SAFETY: as for [`zero`]; each half of the sums is as large as two tiles.
    unsafe {
        stored!(upper, "tmm0", "tmm1");
        if rows > LINES {
            stored!(lower, "tmm2", "tmm3");
        }
    }
}

impl Sums {
    /// Replaces those.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn set(&mut self, row: usize, half: usize, to: __m512) {
        let start = row * SIDE + half * LINES;
        let vector = &mut self.0[start..start + LINES];
        // SAFETY: 16 elements, which begin at a cache line.
        unsafe { _mm512_store_ps(vector.as_mut_ptr(), to) };
    }

    /// Adds the first rows of other sums.
    #[target_feature(enable = "avx512f")]
    pub fn add(&mut self, other: &Self, rows: usize) {
        self.0.iter_mut().zip(&other.0).take(rows * SIDE).for_each(|(sum, other)| *sum += other);
    }

    /// Writes the sums to their place, with what is added.
    ///
    /// # Safety
    /// The processor has AVX-512; the place's rows and columns may be written, and nobody else touches them; those of what is
    /// added may be read.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn store(&self, place: &Place) {
        for (i, sums) in self.0.chunks_exact(SIDE).enumerate().take(place.rows) {
            for half in 0..2 {
                let count = place.columns.saturating_sub(16 * half).min(16);
                let lanes = ((1u32 << count) - 1) as __mmask16;
                let at = i * place.apart + 16 * half;
                // SAFETY: inside of the place by the caller's promise; masked elements are not touched, so that the
                // pointers may lie behind its end there, hence `wrapping_add`.
                unsafe {
                    let to = place.start.wrapping_add(at);
                    let mut value = _mm512_load_ps(sums.as_ptr().add(16 * half));
                    if let Some(onto) = place.onto {
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, onto.wrapping_add(at)));
                    }
                    if lanes != !0 {
                        _mm512_mask_storeu_ps(to, lanes, value);
                    } else if place.goes_past_caches() {
                        _mm512_stream_ps(to, value);
                    } else {
                        _mm512_storeu_ps(to, value);
                    }
                }
            }
        }
    }
}
