//! Work on rows: splitting it over threads, sums over rows in a fixed order, gathers and scatters.

use std::ops::Range;

use super::shared::SharedSlice;
use super::team::Team;
use crate::random::Stream;

/// Rows that one task works on: a constant, so that sums over rows do not depend on the number of threads.
pub const ROWS: usize = 64;
/// Elements that are worth a task of their own.
const SMALL: usize = 1 << 12;
/// Elements that one task copies or adds.
const BLOCK: usize = 1 << 15;

/// Runs `work(first row, rows of x, rows of y)` over blocks of rows in parallel.
///
/// `y` has `y_width` elements a row and may be absent with width 0.
pub fn for_row_blocks(
    team: &Team,
    x: &mut [f32],
    y: &mut [f32],
    x_width: usize,
    y_width: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    // A few blocks for each thread, but none so small that handing it over costs more than computing it.
    let rows = x.len().checked_div(x_width).unwrap_or(0);
    let block_rows = rows.div_ceil(4 * team.threads()).clamp((SMALL / x_width.max(1)).clamp(1, ROWS), ROWS);
    team.chunks2(x, block_rows * x_width, y, block_rows * y_width, |block, x, y| {
        work(block * block_rows, x, y)
    });
}

/// Adds to `total` what `add_rows(rows, sums)` adds for each block, in an order that depends on nothing but the rows.
pub fn column_sums(
    team: &Team,
    total: &mut [f32],
    rows: usize,
    add_rows: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let partial = |block: usize| {
        let mut sums = vec![0.0f32; total.len()];
        add_rows(block * ROWS..((block + 1) * ROWS).min(rows), &mut sums);
        sums
    };
    for sums in team.map(rows.div_ceil(ROWS), partial) {
        total.iter_mut().zip(sums).for_each(|(x, y)| *x += y);
    }
}

/// Copies `y` to `x`.
pub fn copy(team: &Team, y: &[f32], x: &mut [f32]) {
    team.chunks(x, BLOCK, |block, x| x.copy_from_slice(&y[block * BLOCK..][..x.len()]));
}

/// Sets `x` to zero.
pub fn zero(team: &Team, x: &mut [f32]) {
    team.chunks(x, BLOCK, |_, x| x.fill(0.0));
}

/// `x += y`.
pub fn add(team: &Team, y: &[f32], x: &mut [f32]) {
    team.chunks(x, BLOCK, |block, x| {
        x.iter_mut().zip(&y[block * BLOCK..]).for_each(|(x, y)| *x += y);
    });
}

/// Zeros elements with probability `drop`, scales the others up; element `i` is decided by the stream's `i`-th number.
pub fn dropout(team: &Team, stream: Stream, drop: f64, x: &mut [f32]) {
    let factor = (1.0 / (1.0 - drop)) as f32;
    team.chunks(x, BLOCK, |block, x| {
        for (i, x) in x.iter_mut().enumerate() {
            let kept = stream.uniform((block * BLOCK + i) as u64) >= drop;
            *x *= if kept { factor } else { 0.0 };
        }
    });
}

/// `x[t, j] *= factor` for `j` in `columns`.
pub fn scale_columns(team: &Team, width: usize, columns: Range<usize>, factor: f32, x: &mut [f32]) {
    for_row_blocks(team, x, &mut [], width, 0, |_, rows, _| {
        for row in rows.chunks_exact_mut(width) {
            row[columns.clone()].iter_mut().for_each(|x| *x *= factor);
        }
    });
}

/// Adds `bias` to each row of `x`.
pub fn add_bias(team: &Team, bias: &[f32], x: &mut [f32]) {
    for_row_blocks(team, x, &mut [], bias.len(), 0, |_, rows, _| {
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        }
    });
}

/// Adds the sum of the rows of `dy` to `dbias`.
pub fn bias_backward(team: &Team, dy: &[f32], dbias: &mut [f32]) {
    let width = dbias.len();
    column_sums(team, dbias, dy.len() / width, |rows, sums| {
        for row in dy[rows.start * width..rows.end * width].chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    });
}

/// `out[i] = table[rows[i]]`.
pub fn gather(team: &Team, table: &[f32], rows: &[u32], width: usize, out: &mut [f32]) {
    team.chunks(out, ROWS * width, |block, out| {
        for (out, &row) in out.chunks_exact_mut(width).zip(&rows[block * ROWS..]) {
            out.copy_from_slice(&table[row as usize * width..][..width]);
        }
    });
}

/// `out[rows[i]] = x[i]` for distinct rows.
pub fn scatter(x: &[f32], rows: &[u32], width: usize, out: &mut [f32]) {
    for (x, &row) in x.chunks_exact(width).zip(rows) {
        out[row as usize * width..][..width].copy_from_slice(x);
    }
}

/// `table[rows[i]] += x[i]`; rows may repeat and are added in order. Threads share out the columns.
pub fn scatter_add(team: &Team, x: &[f32], rows: &[u32], width: usize, table: &mut [f32]) {
    const COLUMNS: usize = 64;
    let snapshot = SharedSlice::new(table);
    team.run(width.div_ceil(COLUMNS), |block| {
        let first = block * COLUMNS;
        let columns = first..(first + COLUMNS).min(width);
        for (x, &row) in x.chunks_exact(width).zip(rows) {
            // SAFETY: this task alone touches these columns, in every row.
            unsafe { snapshot.add(row as usize * width + columns.start, &x[columns.clone()]) };
        }
    });
}
