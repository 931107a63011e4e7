//! Products with a weight that is used many times: generation multiplies the same weights by a few rows at each token.
//!
//! The weight `[n, k]` is stored once as panels `[n / 64][k][64]`, so that a product broadcasts an element of `x`
//! against contiguous vectors of the panel. Each output is one chain of fused multiply-adds over `k` in order: a row's
//! result is bit-equal whatever other rows are computed beside it and on whatever number of threads.

use super::aligned::AlignedVec;
use super::half::{HalfSlice, Halves};
use super::shared::SharedSlice;
use super::team::Team;
use super::tile::Tile;

/// Columns of a panel: four of the widest vectors.
const PANEL: usize = 64;
/// Terms that are summed before moving on: that part of a panel, 32 KiB, stays in the first-level cache.
const TERMS: usize = 128;
/// Rows that are multiplied before moving on.
const ROWS: usize = 192;

/// A weight in panels.
pub struct Packed {
    panels: Panels,
    n: usize,
    k: usize,
}

/// Panels of f32, or of the 16 bits that the weight came with: half the bytes to read, and each part of a panel is widened
/// when its turn comes.
enum Panels {
    Single(AlignedVec),
    Half(Halves),
}

impl Packed {
    /// Arranges `weight [n, k]`.
    pub fn new(team: &Team, weight: &[f32], n: usize, k: usize) -> Self {
        let mut panels = AlignedVec::zeros(n.div_ceil(PANEL) * PANEL * k);
        arrange(team, weight, n, k, &mut panels);
        Self { panels: Panels::Single(panels), n, k }
    }

    /// Arranges `weight [n, k]` of 16 bits.
    pub fn of_half(team: &Team, weight: HalfSlice<'_>, n: usize, k: usize) -> Self {
        let mut panels = Halves::zeros(weight.format, n.div_ceil(PANEL) * PANEL * k);
        arrange(team, weight.bits, n, k, panels.bits_mut());
        Self { panels: Panels::Half(panels), n, k }
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
        let (n, k) = (self.n, self.k);
        let (x_rows, out_rows) = apart.unwrap_or((k, n));
        if rows == 0 {
            return;
        }
        let holds = |len: usize, row: usize, width: usize| row >= width && len >= (rows - 1) * row + width;
        assert!(holds(x.len(), x_rows, k) && holds(out.len(), out_rows, n), "operand too short");
        let out = SharedSlice::new(out);
        // A few panels to a task: enough tasks for every core, few enough to cost nothing.
        let panels = n.div_ceil(PANEL);
        let share = panels.div_ceil(4 * team.threads()).max(1);
        team.run(panels.div_ceil(share), |task| {
            let mut block = AlignedVec::zeros(ROWS.min(rows) * PANEL);
            let mut part =
                AlignedVec::zeros(if matches!(self.panels, Panels::Half(_)) { TERMS * PANEL } else { 0 });
            for first in (0..rows).step_by(ROWS) {
                let count = ROWS.min(rows - first);
                for panel in task * share..((task + 1) * share).min(panels) {
                    let width = PANEL.min(n - panel * PANEL);
                    let places = (first..first + count).map(|row| row * out_rows + panel * PANEL);
                    if accumulate {
                        for (at, target) in places.clone().zip(block.chunks_exact_mut(PANEL)) {
                            // SAFETY: these columns belong to this task alone.
                            unsafe { out.read(at, &mut target[..width]) };
                        }
                    }
                    let rows = Rows { x: &x[first * x_rows..], apart: x_rows, count, terms: k };
                    let start = panel * PANEL * k;
                    match &self.panels {
                        Panels::Single(panels) => rows.multiply(&panels[start..], accumulate, &mut block),
                        Panels::Half(panels) => {
                            let panel = panels.slice(start..start + PANEL * k);
                            rows.multiply_half(panel, &mut part, accumulate, &mut block);
                        }
                    }
                    for (at, source) in places.zip(block.chunks_exact(PANEL)) {
                        // SAFETY: as above.
                        unsafe { out.write(at, &source[..width]) };
                    }
                }
            }
        });
    }
}

/// `panels [n / 64][k][64]` of `weight [n, k]`; the columns that fill the last panel up stay as they are.
fn arrange<T: Copy + Send + Sync>(team: &Team, weight: &[T], n: usize, k: usize, panels: &mut [T]) {
    team.chunks(panels, (PANEL * k).max(1), |index, panel| {
        let first = index * PANEL;
        for (j, row) in weight[first * k..n * k].chunks_exact(k.max(1)).take(PANEL).enumerate() {
            for (p, value) in row.iter().enumerate() {
                panel[p * PANEL + j] = *value;
            }
        }
    });
}

/// Rows that are multiplied together with a panel.
struct Rows<'a> {
    x: &'a [f32],
    apart: usize,
    count: usize,
    terms: usize,
}

impl Rows<'_> {
    /// `block [count, 64] (+)= x [count, k] panel [k, 64]` with the first of `panels`.
    fn multiply(&self, panels: &[f32], accumulate: bool, block: &mut [f32]) {
        for term in (0..self.terms).step_by(TERMS) {
            let next = ((term + TERMS).min(self.terms) * PANEL).min(panels.len());
            self.part(term, &panels[term * PANEL..], &panels[next..], accumulate, block);
        }
    }

    /// The same with a panel of 16 bits; `part` has room for [`TERMS`] of its rows.
    fn multiply_half(&self, panel: HalfSlice<'_>, part: &mut [f32], accumulate: bool, block: &mut [f32]) {
        for term in (0..self.terms).step_by(TERMS) {
            let end = (term + TERMS).min(self.terms);
            let part = &mut part[..(end - term) * PANEL];
            panel.slice(term * PANEL..end * PANEL).widen(part);
            self.part(term, part, &[], accumulate, block);
        }
    }

    /// Adds the products with the terms from `term` on, at most [`TERMS`]: `b` begins with the panel's rows of them.
    fn part(&self, term: usize, b: &[f32], next: &[f32], accumulate: bool, block: &mut [f32]) {
        Tile {
            m: self.count,
            n: PANEL,
            k: TERMS.min(self.terms - term),
            a: &self.x[term..],
            a_rows: self.apart,
            a_cols: 1,
            b,
            b_rows: PANEL,
            c: block,
            c_rows: PANEL,
            accumulate: accumulate || term > 0,
            next,
        }
        .run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_right_and_does_not_depend_on_the_others() {
        for (rows, n, k) in [(1, 64, 16), (5, 100, 33), (200, 130, 700)] {
            let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
            let weight: Vec<f32> = (0..n * k).map(value).collect();
            let x: Vec<f32> = (0..rows * k).map(|i| value(i + 5)).collect();
            let team = Team::current();
            let packed = Packed::new(&team, &weight, n, k);
            let mut out = vec![0.5f32; rows * n];
            packed.apply(&team, rows, None, true, &x, &mut out);
            for i in 0..rows {
                let mut alone = vec![0.5f32; n];
                packed.apply(&team, 1, None, true, &x[i * k..(i + 1) * k], &mut alone);
                assert_eq!(alone, out[i * n..(i + 1) * n], "row {i} of {rows}");
                for j in 0..n {
                    let exact: f64 =
                        (0..k).map(|p| f64::from(x[i * k + p]) * f64::from(weight[j * k + p])).sum();
                    // 700 terms of at most 1 with partial sums of about 30: 700 * 30 * 2^-24.
                    assert!((f64::from(out[i * n + j]) - exact - 0.5).abs() < 1.3e-3);
                }
            }
        }
    }
}
