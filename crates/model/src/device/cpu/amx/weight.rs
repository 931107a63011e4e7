//! A weight in tiles, for generation: arranged once, multiplied by a few rows at each token.

use std::ops::Range;
use std::sync::Arc;

use super::super::aligned::AlignedVec;
use super::super::operand::{Elements, Operand, blocks};
use super::super::pool::{CpuBuffer, Pool};
use super::super::shared::SharedSlice;
use super::super::team::Team;
use super::ahead::Ahead;
use super::pack::{self, Side};
use super::tile::{self, Pieces, Place, SIDE, Sums};
use super::unit::{TERMS, Tiles};

/// Rows that are multiplied before moving on: their panels of a block of terms stay in the second-level cache.
const ROWS: usize = 256;
/// Terms that are summed at a time; a constant, as it decides in which order an element is summed.
const BLOCK_TERMS: usize = 512;
/// Elements of rows that one thread arranges: more are shared.
const ARRANGED_ALONE: usize = 1 << 15;

/// A weight `[n, k]` in panels of 32 of its rows.
///
/// Each output is summed in the same order whatever other rows are computed beside it and on whatever number of threads, so
/// that a row's result is bit-equal.
pub struct TiledWeight {
    panels: AlignedVec,
    pieces: Pieces,
    n: usize,
    k: usize,
}

impl TiledWeight {
    /// Arranges a weight: three numbers of bf16 for each f32, the number itself for each bf16.
    ///
    /// To keep f32 as it is and cut it at each use reads less, but was slower than vectors at 32 rows.
    ///
    /// # Panics
    /// When the processor lacks the unit, or there are fewer elements than `n * k`: errors of the engine.
    pub fn new(team: &Team, elements: Elements<'_>, n: usize, k: usize) -> Self {
        assert!(super::available(), "a weight in tiles without a unit for them");
        let weight = Operand { elements, apart: k, by_terms: false };
        assert!(weight.holds(n, k), "a weight of {n} x {k} with fewer elements");
        let pieces = match elements {
            Elements::Bf16(_) => Pieces::LeftExact,
            _ => Pieces::Exact,
        };
        let panel_len = pack::panel_len(k, count(pieces));
        let mut panels = AlignedVec::zeros(n.div_ceil(SIDE) * panel_len);
        team.chunks(&mut panels, panel_len.max(1), |panel, out| {
            let lines = panel * SIDE..((panel + 1) * SIDE).min(n);
            // SAFETY: a processor with the unit has the vectors; the operand holds its shape.
            unsafe {
                match pieces {
                    Pieces::Exact => pack::arrange::<3>(&weight, Side::Right, lines, 0..k, out),
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
        let panel = pack::panel_len(self.k, 3);
        let mut left = pool.take(pack::len(rows.len(), self.k, 3));
        let panels = rows.len().div_ceil(SIDE);
        let arrange = |index: usize, out: &mut [f32]| {
            let lines = rows.start + index * SIDE..(rows.start + (index + 1) * SIDE).min(rows.end);
            // SAFETY: a processor with the unit has the vectors; `apply` asserted that `x` holds its shape.
            unsafe { pack::arrange::<3>(x, Side::Left, lines, 0..self.k, out) };
        };
        if panels == 1 || rows.len() * self.k <= ARRANGED_ALONE {
            left.chunks_exact_mut(panel).enumerate().for_each(|(index, out)| arrange(index, out));
        } else {
            team.chunks(&mut left, panel, arrange);
        }
        left
    }
}

/// Some rows of a product.
struct Part<'a> {
    weight: &'a TiledWeight,
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
        let TiledWeight { k, pieces, .. } = *self.weight;
        let count = count(pieces);
        let (left_panel, stored_panel) = (pack::panel_len(k, 3), pack::panel_len(k, count));
        let tiles = Tiles::take();
        let mut sums = Sums::zeros();
        for columns in blocks(columns, SIDE) {
            let stored = &self.weight.panels[columns.start / SIDE * stored_panel..][..stored_panel];
            for terms in blocks(0..k, BLOCK_TERMS) {
                let right = stored[pack::panel_len(terms.start, count)..].as_ptr();
                // What is read after it lies behind it.
                let next = right.wrapping_add(pack::panel_len(terms.len(), count));
                let ahead = Ahead::panel(next, pack::panel_len(TERMS, count));
                let blocks = self.rows.len().div_ceil(SIDE);
                for (index, left) in self.left.chunks_exact(left_panel).take(blocks).enumerate() {
                    let row = self.rows.start + index * SIDE;
                    let left = left[pack::panel_len(terms.start, 3)..].as_ptr();
                    let (steps, rows) = (terms.len().div_ceil(TERMS), SIDE.min(self.rows.end - row));
                    // SAFETY: both panels hold the steps; the place is inside of `out` by the caller's promise.
                    unsafe {
                        tile::multiply(
                            &tiles,
                            pieces,
                            steps,
                            rows,
                            left,
                            right,
                            ahead.share(index, blocks),
                            &mut sums,
                        );
                        let start = self.out.as_mut_ptr().add(row * self.apart + columns.start);
                        sums.store(&Place {
                            start,
                            apart: self.apart,
                            rows,
                            columns: columns.len(),
                            onto: (self.accumulate || terms.start > 0).then_some(start.cast_const()),
                            past_caches: false,
                        });
                    }
                }
            }
        }
    }
}

/// Pieces of an element of the weight.
fn count(pieces: Pieces) -> usize {
    if pieces == Pieces::Exact { 3 } else { 1 }
}
