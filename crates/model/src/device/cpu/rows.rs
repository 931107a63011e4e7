//! Work on rows: splitting it over threads, sums over rows in a fixed order, gathers and scatters.

use std::ops::Range;

use rayon::prelude::*;

use super::shared::SharedSlice;

/// Rows that one task works on: a constant, so that sums over rows do not depend on the number of threads.
const ROWS: usize = 64;
/// Elements that one task copies or adds.
const BLOCK: usize = 1 << 15;

/// Runs `work(first row, rows of x, rows of y)` over blocks of rows in parallel.
///
/// `y` has `y_width` elements a row and may be absent with width 0.
pub fn for_row_blocks(
    x: &mut [f32],
    y: &mut [f32],
    x_width: usize,
    y_width: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let run = |block: usize, x: &mut [f32], y: &mut [f32]| work(block * ROWS, x, y);
    if y_width == 0 {
        x.par_chunks_mut(ROWS * x_width).enumerate().for_each(|(block, x)| run(block, x, &mut []));
    } else {
        x.par_chunks_mut(ROWS * x_width)
            .zip(y.par_chunks_mut(ROWS * y_width))
            .enumerate()
            .for_each(|(block, (x, y))| run(block, x, y));
    }
}

/// Adds to `total` what `add_rows(rows, sums)` adds for each block, in an order that depends on nothing but the rows.
pub fn column_sums(total: &mut [f32], rows: usize, add_rows: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    let partial = |block: usize| {
        let mut sums = vec![0.0f32; total.len()];
        add_rows(block * ROWS..((block + 1) * ROWS).min(rows), &mut sums);
        sums
    };
    let partials: Vec<Vec<f32>> = (0..rows.div_ceil(ROWS)).into_par_iter().map(partial).collect();
    for sums in partials {
        total.iter_mut().zip(sums).for_each(|(x, y)| *x += y);
    }
}

/// Copies `y` to `x`.
pub fn copy(y: &[f32], x: &mut [f32]) {
    x.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(x, y)| x.copy_from_slice(y));
}

/// Sets `x` to zero.
pub fn zero(x: &mut [f32]) {
    x.par_chunks_mut(BLOCK).for_each(|x| x.fill(0.0));
}

/// `x += y`.
pub fn add(y: &[f32], x: &mut [f32]) {
    x.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(x, y)| {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    });
}

/// Adds `bias` to each row of `x`.
pub fn add_bias(bias: &[f32], x: &mut [f32]) {
    for_row_blocks(x, &mut [], bias.len(), 0, |_, rows, _| {
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        }
    });
}

/// Adds the sum of the rows of `dy` to `dbias`.
pub fn bias_backward(dy: &[f32], dbias: &mut [f32]) {
    let width = dbias.len();
    column_sums(dbias, dy.len() / width, |rows, sums| {
        for row in dy[rows.start * width..rows.end * width].chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    });
}

/// `out[i] = table[rows[i]]`.
pub fn gather(table: &[f32], rows: &[u32], width: usize, out: &mut [f32]) {
    out.par_chunks_mut(width).zip(rows).for_each(|(out, &row)| {
        out.copy_from_slice(&table[row as usize * width..][..width]);
    });
}

/// `out[rows[i]] = x[i]` for distinct rows.
pub fn scatter(x: &[f32], rows: &[u32], width: usize, out: &mut [f32]) {
    for (x, &row) in x.chunks_exact(width).zip(rows) {
        out[row as usize * width..][..width].copy_from_slice(x);
    }
}

/// `table[rows[i]] += x[i]`; rows may repeat and are added in order. Threads share out the columns.
pub fn scatter_add(x: &[f32], rows: &[u32], width: usize, table: &mut [f32]) {
    const COLUMNS: usize = 64;
    let snapshot = SharedSlice::new(table);
    (0..width).step_by(COLUMNS).par_bridge().for_each(|first| {
        let columns = first..(first + COLUMNS).min(width);
        for (x, &row) in x.chunks_exact(width).zip(rows) {
            // SAFETY: this task alone touches these columns, in every row.
            unsafe { snapshot.add(row as usize * width + columns.start, &x[columns.clone()]) };
        }
    });
}
