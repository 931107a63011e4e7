//! Right panels that are cut in pieces while they are multiplied: of weights that each token reads anew from beyond the
//! second-level cache, four bytes an element rather than six.

use std::arch::asm;

use super::pack;
use super::tile::{self, Sums};
use super::unit::{LINES, TERMS, Tiles};

/// Elements of a step as they are, and in three pieces.
const STEP: usize = pack::panel_len(TERMS, pack::UNCUT);
const CUT: usize = pack::panel_len(TERMS, 3);

/// Two steps in pieces: the one that is multiplied, and the one that is cut meanwhile.
#[repr(C, align(64))]
pub struct Room([f32; 2 * CUT]);

impl Room {
    /// Zeros.
    pub fn zeros() -> Self {
        Self([0.0; 2 * CUT])
    }
}

/// Steps that lie behind each other, of one panel or of several, to be multiplied in turn.
pub struct Uncut<'a> {
    /// The step that is multiplied next, which is cut already.
    at: *const f32,
    /// Steps from there on.
    steps: usize,
    room: &'a mut Room,
    /// Which half of the room it is in.
    half: usize,
}

impl<'a> Uncut<'a> {
    /// Cuts the first of so many steps.
    ///
    /// # Safety
    /// The processor has AVX-512 with BF16; `first` is the first step of so many, at least one, arranged [`pack::UNCUT`].
    pub unsafe fn new(first: *const f32, steps: usize, room: &'a mut Room) -> Self {
        debug_assert!(steps > 0);
        // SAFETY: by the caller's promise; the room holds two steps.
        unsafe { pack::cut(first, 0..2 * LINES, room.0.as_mut_ptr()) };
        Self { at: first, steps, room, half: 0 }
    }
}

/// Instructions for tiles, and some rows of the next step that are cut behind them.
///
/// Vectors have two instructions a cycle beside a product of tiles, which takes sixteen, as long as the processor can look ahead to
/// the next product: so a row or two stand between any two of them. The steps are read as they lie, which the processor foresees;
/// asking for them as well made it a tenth slower.
macro_rules! meanwhile {
    ($a:ident, $b:ident, $next:ident, $out:ident, $([$($instruction:literal),+] $rows:expr;)+) => {
        $(
            asm!(
                $($instruction,)+
                "/* {a} {b} {row} */",
                a = in(reg) $a,
                b = in(reg) $b,
                row = in(reg) 64usize,
                options(nostack, readonly),
            );
            pack::cut($next, $rows, $out);
        )+
    };
}

/// A step of 32 rows of the left panel: the products of [`tile`], in its order.
macro_rules! step {
    ($a:ident, $b:ident, $next:ident, $out:ident) => {
        meanwhile!(
            $a, $b, $next, $out,
            ["tileloadd tmm6, [{b} + {row}]", "tileloadd tmm7, [{b} + {row} + 1024]"] 0..0;
            ["tileloadd tmm4, [{a} + {row} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6"] 0..1;
            ["tdpbf16ps tmm1, tmm4, tmm7"] 1..3;
            ["tileloadd tmm5, [{a} + {row} + 5120]", "tdpbf16ps tmm2, tmm5, tmm6"] 3..4;
            ["tdpbf16ps tmm3, tmm5, tmm7"] 4..5;
            ["tileloadd tmm4, [{a} + {row} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6"] 5..6;
            ["tdpbf16ps tmm1, tmm4, tmm7"] 6..8;
            ["tileloadd tmm5, [{a} + {row} + 3072]", "tdpbf16ps tmm2, tmm5, tmm6"] 8..9;
            ["tdpbf16ps tmm3, tmm5, tmm7"] 9..10;
            ["tileloadd tmm6, [{b} + {row} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6"] 10..11;
            ["tileloadd tmm7, [{b} + {row} + 3072]", "tdpbf16ps tmm1, tmm4, tmm7"] 11..13;
            ["tdpbf16ps tmm2, tmm5, tmm6"] 13..14;
            ["tdpbf16ps tmm3, tmm5, tmm7"] 14..16;
            ["tileloadd tmm4, [{a} + {row}]", "tdpbf16ps tmm0, tmm4, tmm6"] 16..17;
            ["tdpbf16ps tmm1, tmm4, tmm7"] 17..19;
            ["tileloadd tmm5, [{a} + {row} + 1024]", "tdpbf16ps tmm2, tmm5, tmm6"] 19..20;
            ["tdpbf16ps tmm3, tmm5, tmm7"] 20..21;
            ["tileloadd tmm6, [{b} + {row} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6"] 21..22;
            ["tileloadd tmm7, [{b} + {row} + 5120]", "tdpbf16ps tmm1, tmm4, tmm7"] 22..24;
            ["tdpbf16ps tmm2, tmm5, tmm6"] 24..25;
            ["tdpbf16ps tmm3, tmm5, tmm7"] 25..26;
            ["tileloadd tmm6, [{b} + {row}]", "tdpbf16ps tmm0, tmm4, tmm6"] 26..27;
            ["tileloadd tmm7, [{b} + {row} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7"] 27..29;
            ["tdpbf16ps tmm2, tmm5, tmm6"] 29..30;
            ["tdpbf16ps tmm3, tmm5, tmm7"] 30..32;
        );
    };
}

/// The same of 16 rows.
macro_rules! upper_step {
    ($a:ident, $b:ident, $next:ident, $out:ident) => {
        meanwhile!(
            $a, $b, $next, $out,
            ["tileloadd tmm6, [{b} + {row}]", "tileloadd tmm7, [{b} + {row} + 1024]"] 0..0;
            ["tileloadd tmm4, [{a} + {row} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6"] 0..2;
            ["tdpbf16ps tmm1, tmm4, tmm7"] 2..5;
            ["tileloadd tmm4, [{a} + {row} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6"] 5..7;
            ["tdpbf16ps tmm1, tmm4, tmm7"] 7..10;
            ["tileloadd tmm6, [{b} + {row} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6"] 10..13;
            ["tileloadd tmm7, [{b} + {row} + 3072]", "tdpbf16ps tmm1, tmm4, tmm7"] 13..16;
            ["tileloadd tmm4, [{a} + {row}]", "tdpbf16ps tmm0, tmm4, tmm6"] 16..18;
            ["tdpbf16ps tmm1, tmm4, tmm7"] 18..21;
            ["tileloadd tmm6, [{b} + {row} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6"] 21..23;
            ["tileloadd tmm7, [{b} + {row} + 5120]", "tdpbf16ps tmm1, tmm4, tmm7"] 23..26;
            ["tileloadd tmm6, [{b} + {row}]", "tdpbf16ps tmm0, tmm4, tmm6"] 26..29;
            ["tileloadd tmm7, [{b} + {row} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7"] 29..32;
        );
    };
}

/// The sums of the products of a left panel in three pieces and the next `steps` steps of a right one: bit for bit those of
/// [`tile::multiply`] with that panel cut.
///
/// # Safety
/// The left panel holds `steps` steps, at least one, and so many are left of the right one.
pub unsafe fn multiply(
    tiles: &Tiles,
    steps: usize,
    rows: usize,
    left: *const f32,
    right: &mut Uncut<'_>,
    sums: &mut Sums,
) {
    debug_assert!(0 < steps && steps <= right.steps);
    // SAFETY: whoever has tiles has the vectors; panels by the caller's promise.
    unsafe {
        tile::zero(tiles, rows);
        if rows <= LINES {
            run::<true>(steps, left, right);
        } else {
            run::<false>(steps, left, right);
        }
        tile::store(tiles, rows, sums);
    }
}

/// # Safety
/// As for [`multiply`], with the tiles configured and sums begun.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn run<const UPPER: bool>(steps: usize, left: *const f32, right: &mut Uncut<'_>) {
    let room = right.room.0.as_mut_ptr();
    for step in 0..steps {
        // Behind the last step there may be nothing: it is cut again, for nobody.
        let next = if right.steps > 1 { right.at.wrapping_add(STEP) } else { right.at };
        // SAFETY: the room has two halves, and the panels hold the steps by the caller's promise.
        unsafe {
            let a = left.add(step * CUT);
            let b = room.add(right.half * CUT);
            let out = room.add((1 - right.half) * CUT);
            if UPPER {
                upper_step!(a, b, next, out);
            } else {
                step!(a, b, next, out);
            }
        }
        (right.at, right.steps, right.half) = (next, right.steps - 1, 1 - right.half);
    }
}
