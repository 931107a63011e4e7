//! Products with a weight that is used many times: generation multiplies the same weights by a few rows at each token.
//!
//! The weight `[n, k]` is stored once as panels `[n / 64][k][64]`, so that a product broadcasts an element of `x`
//! against contiguous vectors of the panel. Each output is one chain of fused multiply-adds over `k` in order: a row's
//! result is bit-equal whatever other rows are computed beside it and on whatever number of threads.

use rayon::prelude::*;

use super::shared::SharedSlice;
use super::tile::Tile;

/// Columns of a panel: four of the widest vectors.
const PANEL: usize = 64;
/// Terms that are summed before moving on: a panel's share then stays in the second-level cache.
const TERMS: usize = 512;
/// Rows that are multiplied before moving on.
const ROWS: usize = 192;

/// A weight in panels.
pub struct Packed {
    panels: Vec<f32>,
    n: usize,
    k: usize,
}

impl Packed {
    /// Arranges `weight [n, k]`.
    pub fn new(weight: &[f32], n: usize, k: usize) -> Self {
        let mut panels = vec![0.0f32; n.div_ceil(PANEL) * PANEL * k];
        panels.par_chunks_exact_mut(PANEL * k).enumerate().for_each(|(index, panel)| {
            let first = index * PANEL;
            for (j, row) in weight[first * k..].chunks_exact(k).take(PANEL).enumerate() {
                for (p, value) in row.iter().enumerate() {
                    panel[p * PANEL + j] = *value;
                }
            }
        });
        Self { panels, n, k }
    }

    /// `out [rows, n] (+)= x [rows, k] weight^T`.
    pub fn apply(&self, rows: usize, accumulate: bool, x: &[f32], out: &mut [f32]) {
        let (n, k) = (self.n, self.k);
        assert!(x.len() >= rows * k && out.len() >= rows * n, "operand too short");
        let before = if accumulate { Some(out.to_vec()) } else { None };
        let out = SharedSlice::new(out);
        // A few panels to a task: enough tasks for every core, few enough to cost nothing.
        let panels = n.div_ceil(PANEL);
        let share = panels.div_ceil(4 * rayon::current_num_threads()).max(1);
        self.panels.par_chunks(PANEL * k * share).enumerate().for_each(|(task, panels)| {
            let mut block = vec![0.0f32; ROWS.min(rows) * PANEL];
            for first in (0..rows).step_by(ROWS) {
                let count = ROWS.min(rows - first);
                for (j, panel) in panels.chunks_exact(PANEL * k).enumerate() {
                    let column = (task * share + j) * PANEL;
                    let width = PANEL.min(n - column);
                    if let Some(before) = &before {
                        for (i, target) in block.chunks_exact_mut(PANEL).take(count).enumerate() {
                            target[..width].copy_from_slice(&before[(first + i) * n + column..][..width]);
                        }
                    }
                    multiply(panel, k, &x[first * k..], count, accumulate, &mut block);
                    for (i, source) in block.chunks_exact(PANEL).take(count).enumerate() {
                        // SAFETY: these columns belong to this task alone.
                        unsafe { out.write((first + i) * n + column, &source[..width]) };
                    }
                }
            }
        });
    }
}

/// `block [count, 64] (+)= x [count, k] panel [k, 64]`.
fn multiply(panel: &[f32], k: usize, x: &[f32], count: usize, accumulate: bool, block: &mut [f32]) {
    for term in (0..k).step_by(TERMS) {
        Tile {
            m: count,
            n: PANEL,
            k: TERMS.min(k - term),
            a: &x[term..],
            a_rows: k,
            a_cols: 1,
            b: &panel[term * PANEL..],
            b_rows: PANEL,
            c: block,
            c_rows: PANEL,
            accumulate: accumulate || term > 0,
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
            let packed = Packed::new(&weight, n, k);
            let mut out = vec![0.5f32; rows * n];
            packed.apply(rows, true, &x, &mut out);
            for i in 0..rows {
                let mut alone = vec![0.5f32; n];
                packed.apply(1, true, &x[i * k..(i + 1) * k], &mut alone);
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
