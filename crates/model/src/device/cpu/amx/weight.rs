//! A weight in tiles, for generation: arranged once, multiplied by a few rows at each token.

use std::ops::Range;
use std::sync::Arc;

use super::super::operand::{Elements, Operand, blocks};
use super::super::pool::{CpuBuffer, Pool};
use super::super::shared::SharedSlice;
use super::super::team::Team;
use super::ahead::Ahead;
use super::pack::{self, Side};
use super::tile::{self, Pieces, Place, SIDE, Sums};
use super::uncut::{self, Room, Uncut};
use super::unit::{TERMS, Tiles};

/// Rows that are multiplied before moving on: their panels of a block of terms stay in the second-level cache.
const ROWS: usize = 256;
/// Terms that are summed at a time; a constant, as it decides in which order an element is summed.
const BLOCK_TERMS: usize = 512;
/// Terms of rows that one task arranges: whole steps.
const ARRANGED_TERMS: usize = 256;

/// A weight `[n, k]` in panels of 32 of its rows: of bf16 in tiles, of f32 as they are in the order of tiles, to be cut in pieces
/// at each use, since what is read of memory costs more than cutting it.
///
/// Each output is summed in the same order whatever other rows are computed beside it and on whatever number of threads, so
/// that a row's result is bit-equal.
pub struct TiledWeight {
    panels: CpuBuffer,
    pieces: Pieces,
    n: usize,
    k: usize,
}

impl TiledWeight {
    /// Arranges a weight, in as many bytes, but for what fills panels up.
    ///
    /// # Panics
    /// When the processor lacks the unit, or there are fewer elements than `n * k`: errors of the engine.
    pub fn new(team: &Team, pool: &Arc<Pool>, elements: Elements<'_>, n: usize, k: usize) -> Self {
        assert!(super::available(), "a weight in tiles without a unit for them");
        let weight = Operand { elements, apart: k, by_terms: false };
        assert!(weight.holds(n, k), "a weight of {n} x {k} with fewer elements");
        let pieces = match elements {
            Elements::Bf16(_) => Pieces::LeftExact,
            _ => Pieces::Exact,
        };
        let panel_len = pack::panel_len(k, stored(pieces));
        let mut panels = pool.take(n.div_ceil(SIDE) * panel_len);
        team.chunks(&mut panels, panel_len.max(1), |panel, out| {
            let lines = panel * SIDE..((panel + 1) * SIDE).min(n);
            // SAFETY: a processor with the unit has the vectors; the operand holds its shape.
            unsafe {
                match pieces {
                    Pieces::Exact => pack::arrange::<{ pack::UNCUT }>(&weight, Side::Right, lines, 0..k, out),
                    _ => pack::arrange::<1>(&weight, Side::Right, lines, 0..k, out),
                }
            }
        });
        Self { panels, pieces, n, k }
    }

    /// `out [rows, n] (+)= x [rows, k] weight^T`, the rows of `x` and of `out` so far `apart`, or dense.
    ///
    /// # Panics
    /// When an operand is shorter than its shape: an error of the engine.
    #[allow(clippy::too_many_arguments)]
    pub fn apply(
        &self,
        team: &Team,
        pool: &Arc<Pool>,
        rows: usize,
        apart: Option<(usize, usize)>,
        accumulate: bool,
        x: &[f32],
        out: &mut [f32],
    ) {
        let apart = apart.unwrap_or((self.k, self.n));
        let x = Operand { elements: Elements::Single(x), apart: apart.0, by_terms: false };
        let room = apart.1 >= self.n && out.len() >= (rows.max(1) - 1) * apart.1 + self.n;
        assert!(x.holds(rows, self.k) && (rows == 0 || room), "operand too short");
        let out = SharedSlice::new(out);
        // A few panels to a task: enough tasks for every core, few enough to cost nothing.
        let panels = self.n.div_ceil(SIDE);
        let share = panels.div_ceil(4 * team.threads()).max(1);
        for rows in blocks(0..rows, ROWS) {
            let left = self.arrange(team, pool, &x, rows.clone());
            team.run(panels.div_ceil(share), |task| {
                let columns = task * share * SIDE..((task + 1) * share * SIDE).min(self.n);
                let part = Part {
                    weight: self,
                    pool,
                    left: &left,
                    rows: rows.clone(),
                    accumulate,
                    out: &out,
                    apart: apart.1,
                };
                // SAFETY: these columns belong to this task alone, and are inside of `out` as asserted.
                unsafe { part.compute(columns) };
            });
        }
    }

    /// Panels of some rows of `x`.
    fn arrange(&self, team: &Team, pool: &Arc<Pool>, x: &Operand<'_>, rows: Range<usize>) -> CpuBuffer {
        let mut left = pool.take(pack::len(rows.len(), self.k, 3));
        let shared = SharedSlice::new(&mut left);
        let blocks_of_terms = self.k.div_ceil(ARRANGED_TERMS);
        team.run(rows.len().div_ceil(SIDE) * blocks_of_terms, |task| {
            let (panel, block) = (task / blocks_of_terms, task % blocks_of_terms);
            let first = rows.start + panel * SIDE;
            let lines = first..(first + SIDE).min(rows.end);
            let terms = block * ARRANGED_TERMS..((block + 1) * ARRANGED_TERMS).min(self.k);
            let at = panel * pack::panel_len(self.k, 3) + pack::panel_len(terms.start, 3);
            // SAFETY: a block of terms of a panel belongs to its task alone. A processor with the unit has the vectors; `apply`
            // asserted that `x` holds its shape.
            unsafe {
                let out = shared.part(at, pack::panel_len(terms.len(), 3));
                pack::arrange::<3>(x, Side::Left, lines, terms, out);
            }
        });
        left
    }
}

/// Some rows of a product.
struct Part<'a> {
    weight: &'a TiledWeight,
    pool: &'a Arc<Pool>,
    left: &'a [f32],
    rows: Range<usize>,
    accumulate: bool,
    out: &'a SharedSlice<'a>,
    apart: usize,
}

impl Part<'_> {
    /// Some columns.
    ///
    /// # Safety
    /// The columns of the rows are inside of `out`, and nobody else touches them.
    unsafe fn compute(&self, columns: Range<usize>) {
        let tiles = Tiles::take();
        // SAFETY: by the caller's promise.
        unsafe {
            if self.weight.pieces == Pieces::Exact && self.rows.len() <= SIDE {
                self.compute_uncut(&tiles, columns);
            } else {
                self.compute_cut(&tiles, columns);
            }
        }
    }

    /// A single block of rows: pieces of the weight are used once, and so cut while others are multiplied.
    ///
    /// # Safety
    /// As for [`Part::compute`]; the weight is of f32.
    unsafe fn compute_uncut(&self, tiles: &Tiles, columns: Range<usize>) {
        let k = self.weight.k;
        let (mut sums, mut room) = (Sums::zeros(), Room::zeros());
        let stored = &self.weight.panels[columns.start / SIDE * pack::panel_len(k, pack::UNCUT)..];
        let steps = columns.len().div_ceil(SIDE) * k.div_ceil(TERMS);
        // SAFETY: the panels of the columns lie behind each other, with so many steps; the left panel holds those of the terms.
        let mut right = unsafe { Uncut::new(stored.as_ptr(), steps, &mut room) };
        for columns in blocks(columns, SIDE) {
            for terms in blocks(0..k, BLOCK_TERMS) {
                let left = self.left[pack::panel_len(terms.start, 3)..].as_ptr();
                let steps = terms.len().div_ceil(TERMS);
                // SAFETY: as above; the place is inside of `out` by the caller's promise.
                unsafe {
                    uncut::multiply(tiles, steps, self.rows.len(), left, &mut right, &mut sums);
                    sums.store(&self.place(self.rows.clone(), &columns, &terms));
                }
            }
        }
    }

    /// Blocks of rows: each block of the weight is cut before it is multiplied by all of them.
    ///
    /// # Safety
    /// As for [`Part::compute`].
    unsafe fn compute_cut(&self, tiles: &Tiles, columns: Range<usize>) {
        let TiledWeight { k, pieces, .. } = *self.weight;
        let (of_left, of_stored) = (pack::panel_len(k, 3), pack::panel_len(k, stored(pieces)));
        let mut sums = Sums::zeros();
        let mut cut =
            (pieces == Pieces::Exact).then(|| self.pool.take(pack::panel_len(BLOCK_TERMS.min(k), 3)));
        for columns in blocks(columns, SIDE) {
            let panel = &self.weight.panels[columns.start / SIDE * of_stored..][..of_stored];
            for terms in blocks(0..k, BLOCK_TERMS) {
                let steps = terms.len().div_ceil(TERMS);
                let block = &panel[pack::panel_len(terms.start, stored(pieces))..];
                // What is read after the block lies behind it.
                let next = block.as_ptr().wrapping_add(pack::panel_len(terms.len(), stored(pieces)));
                let ahead = Ahead::panel(next, pack::panel_len(TERMS, stored(pieces)));
                let right = match &mut cut {
                    Some(cut) => {
                        // SAFETY: a processor with the unit has the vectors.
                        unsafe { pack::cut_steps(block, steps, cut) };
                        cut.as_ptr()
                    }
                    None => block.as_ptr(),
                };
                let count = self.rows.len().div_ceil(SIDE);
                for (index, left) in self.left.chunks_exact(of_left).take(count).enumerate() {
                    let row = self.rows.start + index * SIDE;
                    let rows = row..(row + SIDE).min(self.rows.end);
                    let left = left[pack::panel_len(terms.start, 3)..].as_ptr();
                    let ahead = ahead.share(index, count);
                    // SAFETY: both panels hold the steps; the place is inside of `out` by the caller's promise.
                    unsafe {
                        let place = self.place(rows, &columns, &terms);
                        tile::multiply(tiles, pieces, steps, left, right, ahead, &place, &mut sums);
                        sums.store(&place);
                    }
                }
            }
        }
    }

    /// Where the sums of a block of terms go.
    ///
    /// # Safety
    /// As for [`Part::compute`].
    unsafe fn place(&self, rows: Range<usize>, columns: &Range<usize>, terms: &Range<usize>) -> Place {
        // SAFETY: inside of `out` by the caller's promise.
        let start = unsafe { self.out.as_mut_ptr().add(rows.start * self.apart + columns.start) };
        Place {
            start,
            apart: self.apart,
            rows: rows.len(),
            columns: columns.len(),
            onto: (self.accumulate || terms.start > 0).then_some(start.cast_const()),
            past_caches: false,
        }
    }
}

/// What an element of a weight is stored as, in pieces.
fn stored(pieces: Pieces) -> usize {
    if pieces == Pieces::Exact { pack::UNCUT } else { 1 }
}
