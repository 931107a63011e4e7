//! Right panels that are cut in pieces while they are multiplied: of weights that each token reads anew from beyond the
//! second-level cache, four bytes an element rather than six.

use std::arch::asm;
use std::arch::x86_64::*;

use super::pack;
use super::tile::{self, SIDE, Sums, left, right, upper_left, upper_right};
use super::unit::{LINES, TERMS, TILE, Tiles};

/// Elements of a step as they are, and in three pieces.
const STEP: usize = TERMS * SIDE;
const CUT: usize = 6 * TILE;
/// Steps that are asked for before they are cut: what is multiplied meanwhile takes about as long as memory does to answer.
const AHEAD: usize = 8;

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

/// One of the six products of a step, and meanwhile some rows of the next step: asked for further ahead, and cut.
macro_rules! product {
    ($product:expr, $operand:ident = $from:expr, $rows:expr, $next:ident, $out:ident) => {
        asm!($product, $operand = in(reg) $from, row = in(reg) 64usize, options(nostack, readonly));
        for row in $rows {
            let ahead = $next.wrapping_add(AHEAD * STEP + row * TERMS).cast::<i8>();
            _mm_prefetch::<_MM_HINT_T1>(ahead);
            _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64));
        }
        pack::cut($next, $rows, $out);
    };
}

macro_rules! step {
    ($left:ident, $right:ident, $a:ident, $b:ident, $next:ident, $out:ident) => {
        asm!(
            "tileloadd tmm6, [{b} + {row}]",
            "tileloadd tmm7, [{b} + {row} + 1024]",
            b = in(reg) $b,
            row = in(reg) 64usize,
            options(nostack, readonly),
        );
        product!($left!("4096"), a = $a, 0..5, $next, $out);
        product!($left!("2048"), a = $a, 5..10, $next, $out);
        product!($right!("2048"), b = $b, 10..16, $next, $out);
        product!($left!("0"), a = $a, 16..21, $next, $out);
        product!($right!("4096"), b = $b, 21..26, $next, $out);
        product!($right!("0"), b = $b, 26..32, $next, $out);
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
        // SAFETY: the room has two halves, the panels hold the steps by the caller's promise, and any address may be asked for.
        unsafe {
            let a = left.add(step * CUT);
            let b = room.add(right.half * CUT);
            let out = room.add((1 - right.half) * CUT);
            if UPPER {
                step!(upper_left, upper_right, a, b, next, out);
            } else {
                step!(left, right, a, b, next, out);
            }
        }
        (right.at, right.steps, right.half) = (next, right.steps - 1, 1 - right.half);
    }
}
