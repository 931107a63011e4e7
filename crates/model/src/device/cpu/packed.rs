//! Products with a weight that is used many times: generation multiplies the same weights by a few rows at each token.
//!
//! The weight `[n, k]` is stored once as panels `[n / 64][k][64]`, so that a product broadcasts an element of `x`
//! against contiguous vectors of the panel. Each output is one chain of fused multiply-adds over `k` in order: a row's
//! result is bit-equal whatever other rows are computed beside it and on whatever number of threads.

use super::aligned::AlignedVec;
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
    panels: AlignedVec,
    n: usize,
    k: usize,
}

impl Packed {
    /// Arranges `weight [n, k]`.
    pub fn new(team: &Team, weight: &[f32], n: usize, k: usize) -> Self {
        let mut panels = AlignedVec::zeros(n.div_ceil(PANEL) * PANEL * k);
        team.chunks(&mut panels, PANEL * k, |index, panel| {
            let first = index * PANEL;
            for (j, row) in weight[first * k..n * k].chunks_exact(k).take(PANEL).enumerate() {
                for (p, value) in row.iter().enumerate() {
                    panel[p * PANEL + j] = *value;
                }
            }
        });
        Self { panels, n, k }
    }

    /// `out [rows, n] (+)= x [rows, k] weight^T`.
    pub fn apply(&self, team: &Team, rows: usize, accumulate: bool, x: &[f32], out: &mut [f32]) {
        let (n, k) = (self.n, self.k);
        assert!(x.len() >= rows * k && out.len() >= rows * n, "operand too short");
        let out = SharedSlice::new(out);
        // A few panels to a task: enough tasks for every core, few enough to cost nothing.
        let panels = n.div_ceil(PANEL);
        let share = panels.div_ceil(4 * team.threads()).max(1);
        team.run(panels.div_ceil(share), |task| {
            let mut block = AlignedVec::zeros(ROWS.min(rows) * PANEL);
            for first in (0..rows).step_by(ROWS) {
                let count = ROWS.min(rows - first);
                for panel in task * share..((task + 1) * share).min(panels) {
                    let width = PANEL.min(n - panel * PANEL);
                    let places = (first..first + count).map(|row| row * n + panel * PANEL);
                    if accumulate {
                        for (at, target) in places.clone().zip(block.chunks_exact_mut(PANEL)) {
                            // SAFETY: these columns belong to this task alone.
                            unsafe { out.read(at, &mut target[..width]) };
                        }
                    }
                    multiply(
                        &self.panels[panel * PANEL * k..],
                        k,
                        &x[first * k..],
                        count,
                        accumulate,
                        &mut block,
                    );
                    for (at, source) in places.zip(block.chunks_exact(PANEL)) {
                        // SAFETY: as above.
                        unsafe { out.write(at, &source[..width]) };
                    }
                }
            }
        });
    }
}

/// `block [count, 64] (+)= x [count, k] panel [k, 64]` with the first of `panels`.
fn multiply(panels: &[f32], k: usize, x: &[f32], count: usize, accumulate: bool, block: &mut [f32]) {
    for term in (0..k).step_by(TERMS) {
        Tile {
            m: count,
            n: PANEL,
            k: TERMS.min(k - term),
            a: &x[term..],
            a_rows: k,
            a_cols: 1,
            b: &panels[term * PANEL..],
            b_rows: PANEL,
            c: block,
            c_rows: PANEL,
            accumulate: accumulate || term > 0,
            next: &panels[((term + TERMS).min(k) * PANEL).min(panels.len())..],
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
            packed.apply(&team, rows, true, &x, &mut out);
            for i in 0..rows {
                let mut alone = vec![0.5f32; n];
                packed.apply(&team, 1, true, &x[i * k..(i + 1) * k], &mut alone);
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
