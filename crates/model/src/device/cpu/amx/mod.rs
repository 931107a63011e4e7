//! Products on the processor's matrix unit (AMX), which multiplies tiles of bf16 with sums in f32.
//!
//! Of operands rounded to bf16, or exact to f32: an f32 is the sum of three numbers of bf16, and the six largest of the nine
//! products of two such sums are added. The unit has some sixteen times the multiply-adds of vectors, of which six make one. A
//! tile's terms are summed before they meet the sum so far, so that sums are rounded less often than in a chain.
//!
//! An element is summed over blocks of terms in their order, so that it does not depend on the number of threads.

mod ahead;
pub mod attention;
mod pack;
mod pieces;
mod shares;
mod tile;
mod uncut;
mod unit;
mod weight;

use std::ops::Range;
use std::sync::Arc;

use super::super::MatMul;
use super::operand::{Elements, Operand, blocks};
use super::pool::{CpuBuffer, Pool};
use super::shared::SharedSlice;
use super::team::Team;
use ahead::Ahead;
use pack::Side;
use shares::{even, grid, shrinking};
use tile::{Pieces, Place, SIDE, Sums};
use unit::{TERMS, Tiles};
pub use unit::{available, left_out};
pub use weight::TiledWeight;

/// Rows of a block of the left operand and terms of both, arranged: three quarters of a megabyte of the second-level cache with
/// three pieces.
const EXACT_BLOCK: (usize, usize) = (256, 512);
/// The same with one piece: half a megabyte.
const ROUNDED_BLOCK: (usize, usize) = (512, 512);
/// Elements of a result that no cache keeps until it is read: 16 MiB go to memory directly, which tests see at a smaller size.
const PAST_CACHES: usize = if cfg!(test) { 1 << 14 } else { 1 << 22 };

/// Elements of a right operand that is arranged as a whole before the product where its panels are used more than once: 96 MiB
/// with three pieces. A larger one is arranged anew for each block of rows, which tests see at a smaller size.
const ARRANGED_ONCE: usize = if cfg!(test) { 1 << 14 } else { 1 << 24 };

/// Elements of a left operand that is arranged before the product for all shares: 24 MiB with three pieces, which tests see at a
/// smaller size.
const ARRANGED_LEFT: usize = if cfg!(test) { 1 << 18 } else { 1 << 22 };

/// Rows that are worth a share: it reads all of the right operand.
const SHARE_ROWS: usize = 128;

/// `out (+)= op(a) op(b)`, rows of `out` so far `apart`, or `out = onto + op(a) op(b)`; see [`MatMul`]. Operands are rounded to
/// bf16, or else exact.
///
/// # Panics
/// When there are no terms, the processor lacks the unit, or an operand is shorter than its shape: errors of the engine.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    team: &Team,
    pool: &Arc<Pool>,
    op: MatMul,
    rounded: bool,
    a: Operand<'_>,
    b: Operand<'_>,
    onto: Option<&[f32]>,
    out: &mut [f32],
    apart: usize,
) {
    let MatMul { m, n, k, accumulate, .. } = op;
    if m == 0 || n == 0 {
        return;
    }
    assert!(k > 0, "{op:?}: sums without terms are not for this unit");
    assert!(available(), "products of tiles without a unit for them");
    let held = |len: usize| apart >= n && len >= (m - 1) * apart + n;
    let room = held(out.len()) && onto.is_none_or(|onto| held(onto.len()) && !accumulate);
    assert!(a.holds(m, k) && b.holds(n, k) && room, "{op:?}, rows {apart} apart: operand too short");
    let pieces = match (rounded, b.elements) {
        (true, _) => Pieces::Rounded,
        (false, Elements::Bf16(_)) => Pieces::LeftExact,
        (false, _) => Pieces::Exact,
    };
    let block = if rounded { ROUNDED_BLOCK } else { EXACT_BLOCK };
    // Such stores are of whole cache lines, so that rows must begin with one.
    let aligned = out.as_ptr().addr().is_multiple_of(64) && apart.is_multiple_of(16);
    let past_caches = m * n >= PAST_CACHES && aligned;
    let out = SharedSlice::new(out);
    let mut product = Product {
        pool,
        m,
        n,
        k,
        accumulate,
        pieces,
        block,
        a,
        b,
        arranged_left: None,
        arranged_right: None,
        onto,
        out,
        apart,
        past_caches,
    };
    let (down, across) = product.share(team);
    team.run(down.len() * across.len(), |share| {
        let (rows, columns) = (down[share / across.len()].clone(), across[share % across.len()].clone());
        // SAFETY: the processor has the unit, the operands hold their shapes, shares do not overlap.
        unsafe { product.compute(rows, columns) };
    });
}

struct Product<'a> {
    pool: &'a Arc<Pool>,
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
    pieces: Pieces,
    block: (usize, usize),
    a: Operand<'a>,
    b: Operand<'a>,
    /// An operand in panels, block of terms by block, where more than one share needs the same part.
    arranged_left: Option<CpuBuffer>,
    arranged_right: Option<CpuBuffer>,
    onto: Option<&'a [f32]>,
    out: SharedSlice<'a>,
    apart: usize,
    past_caches: bool,
}

impl Product<'_> {
    /// Shares of the rows and of the columns. An operand of which more than one share needs the same part is arranged before;
    /// then there are more shares than threads.
    fn share(&mut self, team: &Team) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
        let (rows, columns) = (self.m.div_ceil(SIDE), self.n.div_ceil(SIDE));
        let (down, across) = grid(team.threads(), rows, columns);
        let blocks = self.m.div_ceil(self.block.0);
        if down * self.m.div_ceil(down).div_ceil(self.block.0) > 1 && self.n * self.k <= ARRANGED_ONCE {
            self.arranged_right = Some(self.arrange_whole(team, Side::Right));
            return (shrinking(self.m, down, SHARE_ROWS, self.block.0), even(self.n, across));
        }
        if across > 1 && blocks == 1 && self.m * self.k <= ARRANGED_LEFT {
            self.arranged_left = Some(self.arrange_whole(team, Side::Left));
            return (even(self.m, 1), shrinking(self.n, across, SIDE, usize::MAX / 2));
        }
        (even(self.m, down), even(self.n, across))
    }

    /// A part of the result.
    ///
    /// # Safety
    /// The processor has the unit; operands and result hold the part, and nobody else touches it.
    unsafe fn compute(&self, rows: Range<usize>, columns: Range<usize>) {
        let (most_rows, most_terms) = self.block;
        let terms = most_terms.min(self.k);
        let left_rows = if self.arranged_left.is_some() { 0 } else { rows.len().min(most_rows) };
        let left_len = pack::len(left_rows, terms, self.pieces_of(Side::Left));
        let panel_len = pack::panel_len(terms, self.pieces_of(Side::Right));
        let mut room = self.pool.take(left_len + panel_len);
        let (left, panel) = room.split_at_mut(left_len);
        let tiles = Tiles::take();
        let mut sums = Sums::zeros();
        for rows in blocks(rows, most_rows) {
            for terms in blocks(0..self.k, most_terms) {
                let left = match &self.arranged_left {
                    Some(all) => &all[self.arranged_at(Side::Left, rows.start, terms.start)..],
                    None => {
                        // SAFETY: by the caller's promise, here and below.
                        unsafe { self.arrange(&self.a, Side::Left, rows.clone(), terms.clone(), left) };
                        &*left
                    }
                };
                for columns in blocks(columns.clone(), SIDE) {
                    let ahead = self.ahead(&columns, &terms);
                    let right = match &self.arranged_right {
                        Some(all) => &all[self.arranged_at(Side::Right, columns.start, terms.start)..],
                        None => {
                            unsafe {
                                self.arrange(&self.b, Side::Right, columns.clone(), terms.clone(), panel)
                            };
                            &*panel
                        }
                    };
                    unsafe {
                        self.column(&tiles, &mut sums, rows.clone(), columns, &terms, left, right, ahead)
                    };
                }
            }
        }
        if self.past_caches {
            // Stores past the caches are seen by other threads only after a fence.
            // SAFETY: every processor of the target has it.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }

    /// A whole operand in panels.
    fn arrange_whole(&self, team: &Team, side: Side) -> CpuBuffer {
        let (operand, lines) = self.operand(side);
        let pieces = self.pieces_of(side);
        let mut all = self.pool.take(pack::len(lines, self.k, pieces));
        let shared = SharedSlice::new(&mut all);
        let parts: Vec<_> = blocks(0..self.k, self.block.1)
            .flat_map(|terms| blocks(0..lines, SIDE).map(move |lines| (lines, terms.clone())))
            .collect();
        team.run(parts.len(), |part| {
            let (lines, terms) = parts[part].clone();
            let len = pack::panel_len(terms.len(), pieces);
            // SAFETY: a panel belongs to its task alone; the processor has the unit, and the operand holds its shape.
            unsafe {
                let panel = shared.part(self.arranged_at(side, lines.start, terms.start), len);
                self.arrange(operand, side, lines, terms, panel);
            }
        });
        all
    }

    /// Where a panel begins in an arranged operand.
    fn arranged_at(&self, side: Side, line: usize, term: usize) -> usize {
        let pieces = self.pieces_of(side);
        // Blocks of terms before this one are full, so that each has whole steps.
        let terms = self.block.1.min(self.k - term);
        pack::len(self.operand(side).1, term, pieces) + line / SIDE * pack::panel_len(terms, pieces)
    }

    /// An operand and its lines.
    fn operand(&self, side: Side) -> (&Operand<'_>, usize) {
        match side {
            Side::Left => (&self.a, self.m),
            Side::Right => (&self.b, self.n),
        }
    }

    /// What the panel after that of these columns is read from.
    fn ahead(&self, columns: &Range<usize>, terms: &Range<usize>) -> Ahead {
        let next = columns.end..(columns.end + SIDE).min(self.n);
        match &self.arranged_right {
            _ if next.is_empty() => Ahead::nothing(),
            Some(all) => Ahead::panel(
                &raw const all[self.arranged_at(Side::Right, next.start, terms.start)],
                pack::panel_len(TERMS, self.pieces_of(Side::Right)),
            ),
            None => Ahead::source(&self.b, &next, terms),
        }
    }

    /// The blocks of one panel of columns.
    ///
    /// # Safety
    /// As for [`Product::compute`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn column(
        &self,
        tiles: &Tiles,
        sums: &mut Sums,
        rows: Range<usize>,
        columns: Range<usize>,
        terms: &Range<usize>,
        left: &[f32],
        right: &[f32],
        ahead: Ahead,
    ) {
        let panel = pack::panel_len(terms.len(), self.pieces_of(Side::Left));
        let count = rows.len().div_ceil(SIDE);
        for (index, left) in left.chunks_exact(panel).take(count).enumerate() {
            let row = rows.start + index * SIDE;
            // SAFETY: the panels hold the terms; the element is inside of the result, and the place ends with the part, by the
            // caller's promise.
            unsafe {
                let at = row * self.apart + columns.start;
                let start = self.out.as_mut_ptr().add(at);
                let begun = self.accumulate || terms.start > 0;
                let place = Place {
                    start,
                    apart: self.apart,
                    rows: SIDE.min(rows.end - row),
                    columns: columns.len(),
                    onto: if begun {
                        Some(start.cast_const())
                    } else {
                        self.onto.map(|onto| onto.as_ptr().add(at))
                    },
                    past_caches: self.past_caches,
                };
                tile::multiply(
                    tiles,
                    self.pieces,
                    terms.len().div_ceil(TERMS),
                    left.as_ptr(),
                    right.as_ptr(),
                    ahead.share(index, count),
                    &place,
                    sums,
                );
                sums.store(&place);
            }
        }
    }

    fn pieces_of(&self, side: Side) -> usize {
        match (self.pieces, side) {
            (Pieces::Exact, _) | (Pieces::LeftExact, Side::Left) => 3,
            (Pieces::Rounded, _) | (Pieces::LeftExact, Side::Right) => 1,
        }
    }

    /// # Safety
    /// As for [`Product::compute`].
    unsafe fn arrange(
        &self,
        operand: &Operand<'_>,
        side: Side,
        lines: Range<usize>,
        terms: Range<usize>,
        out: &mut [f32],
    ) {
        // SAFETY: a processor with the unit has the vectors; the operand holds the lines and terms by the caller's promise.
        unsafe {
            match self.pieces_of(side) {
                1 => pack::arrange::<1>(operand, side, lines, terms, out),
                _ => pack::arrange::<3>(operand, side, lines, terms, out),
            }
        }
    }
}
