//! Products with a weight that is used many times: generation multiplies the same weights by a few rows at each token.
//!
//! The weight `[n, k]` is stored once as panels `[n / width][k][width]`, so that a product broadcasts an element of `x`
//! against contiguous vectors of the panel. Each output is one chain of fused multiply-adds over `k` in order: a row's
//! result is bit-equal whatever other rows are computed beside it and on whatever number of threads.

use std::sync::Arc;

use super::aligned::AlignedVec;
use super::half::{HalfSlice, Halves};
use super::pool::{CpuBuffer, Pool};
use super::shared::SharedSlice;
use super::team::Team;
use super::tile::{LANES, Target, Tile};
use crate::vectorized::{Level, level};

/// Terms that are summed before moving on: that part of a panel stays in the first-level cache.
const TERMS: usize = 128;
/// Rows that are multiplied before moving on.
const ROWS: usize = 192;

/// A weight in panels.
pub struct Packed {
    panels: Panels,
    n: usize,
    k: usize,
    width: usize,
}

/// Columns of a panel: those of one tile, so that a tile reads the panel's lines one after the other.
fn width() -> usize {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => 4 * LANES,
        _ => LANES,
    }
}

/// Panels of f32, or of the 16 bits that the weight came with: half the bytes to read, and each part of a panel is widened
/// when its turn comes.
enum Panels {
    Single(CpuBuffer),
    Half(Halves),
}

impl Packed {
    /// Arranges `weight [n, k]`.
    pub fn new(team: &Team, pool: &Arc<Pool>, weight: &[f32], n: usize, k: usize) -> Self {
        let width = width();
        let mut panels = pool.take(n.div_ceil(width) * width * k);
        arrange(team, weight, (n, k), width, &mut panels);
        Self { panels: Panels::Single(panels), n, k, width }
    }

    /// Arranges `weight [n, k]` of 16 bits.
    pub fn of_half(team: &Team, weight: HalfSlice<'_>, n: usize, k: usize) -> Self {
        let width = width();
        let mut panels = Halves::zeros(weight.format, n.div_ceil(width) * width * k);
        arrange(team, weight.bits, (n, k), width, panels.bits_mut());
        Self { panels: Panels::Half(panels), n, k, width }
    }

    /// `out [rows, n] (+)= x [rows, k] weight^T`, the rows of `x` and of `out` so far `apart`.
    pub fn apply(
        &self,
        team: &Team,
        rows: usize,
        apart: Option<(usize, usize)>,
        accumulate: bool,
        x: &[f32],
        out: &mut [f32],
    ) {
        let (n, k, width) = (self.n, self.k, self.width);
        let (x_rows, out_rows) = apart.unwrap_or((k, n));
        if rows == 0 {
            return;
        }
        let holds = |len: usize, row: usize, width: usize| row >= width && len >= (rows - 1) * row + width;
        assert!(holds(x.len(), x_rows, k) && holds(out.len(), out_rows, n), "operand too short");
        let out = SharedSlice::new(out);
        // A few panels to a task: enough tasks for every core, few enough to cost nothing.
        let panels = n.div_ceil(width);
        let share = panels.div_ceil(4 * team.threads()).max(1);
        team.run(panels.div_ceil(share), |task| {
            let half = matches!(self.panels, Panels::Half(_));
            let mut part = AlignedVec::zeros(if half { TERMS * width } else { 0 });
            for first in (0..rows).step_by(ROWS) {
                let rows = Rows { x: &x[first * x_rows..], apart: x_rows, count: ROWS.min(rows - first) };
                for panel in task * share..((task + 1) * share).min(panels) {
                    let at = first * out_rows + panel * width;
                    let columns = width.min(n - panel * width);
                    // SAFETY: these columns belong to this task alone.
                    unsafe { self.panel(panel, &rows, &mut part, columns, accumulate, &out, (at, out_rows)) };
                }
            }
        });
    }

    /// The columns of one panel for some rows, at `at` with rows so far apart.
    ///
    /// # Safety
    /// Nobody else may touch those columns of those rows of `out`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn panel(
        &self,
        panel: usize,
        rows: &Rows<'_>,
        part: &mut [f32],
        columns: usize,
        accumulate: bool,
        out: &SharedSlice<'_>,
        (at, apart): (usize, usize),
    ) {
        if columns == self.width {
            for term in (0..self.k).step_by(TERMS) {
                // SAFETY: by the caller's promise.
                let target = unsafe { Target::shared(out, at) };
                self.part(panel, term, rows, part, accumulate || term > 0, target, apart);
            }
            return;
        }
        // The last panel is wider than what is left of the rows.
        let mut block = AlignedVec::zeros(rows.count * self.width);
        if accumulate {
            for (i, row) in block.chunks_exact_mut(self.width).enumerate() {
                // SAFETY: by the caller's promise.
                unsafe { out.read(at + i * apart, &mut row[..columns]) };
            }
        }
        for term in (0..self.k).step_by(TERMS) {
            let target = Target::from(&mut block[..]);
            self.part(panel, term, rows, part, accumulate || term > 0, target, self.width);
        }
        for (i, row) in block.chunks_exact(self.width).enumerate() {
            // SAFETY: by the caller's promise.
            unsafe { out.write(at + i * apart, &row[..columns]) };
        }
    }

    /// The products with the terms from `term` on, at most [`TERMS`]; `part` has room for that part of a panel of 16 bits.
    #[allow(clippy::too_many_arguments)]
    fn part(
        &self,
        panel: usize,
        term: usize,
        rows: &Rows<'_>,
        part: &mut [f32],
        accumulate: bool,
        target: Target<'_>,
        apart: usize,
    ) {
        let terms = TERMS.min(self.k - term);
        let (start, len) = ((panel * self.k + term) * self.width, terms * self.width);
        let (b, next) = match &self.panels {
            Panels::Single(panels) => {
                let end = start + len;
                (&panels[start..end], &panels[end..(end + len).min(panels.len())])
            }
            Panels::Half(panels) => {
                panels.slice(start..start + len).widen(&mut part[..len]);
                (&part[..len], &[][..])
            }
        };
        Tile {
            m: rows.count,
            n: self.width,
            k: terms,
            a: &rows.x[term..],
            a_rows: rows.apart,
            a_cols: 1,
            b,
            b_rows: self.width,
            c: target,
            c_rows: apart,
            accumulate,
            next,
        }
        .run();
    }
}

/// `panels [n / width][k][width]` of `weight [n, k]`; the columns that fill the last panel up stay as they are.
fn arrange<T: Copy + Send + Sync>(
    team: &Team,
    weight: &[T],
    (n, k): (usize, usize),
    width: usize,
    panels: &mut [T],
) {
    team.chunks(panels, (width * k).max(1), |index, panel| {
        let first = index * width;
        for (j, row) in weight[first * k..n * k].chunks_exact(k.max(1)).take(width).enumerate() {
            for (p, value) in row.iter().enumerate() {
                panel[p * width + j] = *value;
            }
        }
    });
}

/// Rows that are multiplied together with a panel.
struct Rows<'a> {
    x: &'a [f32],
    apart: usize,
    count: usize,
}
