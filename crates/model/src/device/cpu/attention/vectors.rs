//! One head's attention in vectors: the head's columns are gathered out of the packed `[T, width]` rows into contiguous blocks
//! once; each product is a [`Tile`].

use std::ops::Range;

use super::super::plan::Tree;
use super::super::pool::CpuBuffer;
use super::super::shared::SharedSlice;
use super::super::tile::{LANES, Target, Tile, padded};
use super::Attention;
use crate::math;
use crate::vectorized::vectorized;

/// Query rows that are worked on together.
const QUERIES: usize = 48;

impl Attention<'_> {
    /// Keys `[first, last)` that the query at `position` sees.
    fn visible(&self, position: usize) -> Range<usize> {
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        first..position + 1
    }

    #[inline(always)]
    fn forward_head(&self, tree: &Tree, head: usize, out: &SharedSlice, lse: &SharedSlice) {
        let total = self.qkv.len() / self.heads.width();
        let dim = self.heads.dim;
        let [q_at, k_at, v_at] = self.columns(head);
        let q = self.gather(tree, q_at, self.scale());
        let keys = self.transposed(&self.gather(tree, k_at, 1.0), tree.len);
        let values = self.gather(tree, v_at, 1.0);
        let wide = padded(dim);
        let mut scores = self.scores(tree);
        let mut result = self.pool.take(QUERIES * wide);
        for segment in &tree.segments {
            for block in blocks(segment.len) {
                let rows = block.len();
                let seen = self.visible(segment.position + block.start).start..segment.position + block.end;
                let row = score_row(&seen);
                let q_rows = &q[(segment.local + block.start) * wide..];
                for part in segment.parts(&seen) {
                    Tile {
                        m: rows,
                        n: padded(part.len),
                        k: dim,
                        a: q_rows,
                        a_rows: wide,
                        a_cols: 1,
                        b: &keys.data[part.local..],
                        b_rows: keys.row,
                        c: Target::from(&mut scores[part.column..]),
                        c_rows: row,
                        accumulate: false,
                        next: &[],
                    }
                    .run();
                }
                let mut sums = [0.0f32; QUERIES];
                for i in 0..rows {
                    let position = segment.position + block.start + i;
                    let visible = shift(self.visible(position), seen.start);
                    let (max, sum) = softmax_row(&mut scores[i * row..(i + 1) * row], visible);
                    sums[i] = sum;
                    let token = tree.start + segment.local + block.start + i;
                    // SAFETY: (head, token) belongs to this task alone.
                    unsafe { lse.write(head * total + token, &[max + sum.ln()]) };
                }
                for (index, part) in segment.parts(&seen).enumerate() {
                    Tile {
                        m: rows,
                        n: wide,
                        k: part.len,
                        a: &scores[part.column..],
                        a_rows: row,
                        a_cols: 1,
                        b: &values[part.local * wide..],
                        b_rows: wide,
                        c: Target::from(&mut result[..]),
                        c_rows: wide,
                        accumulate: index > 0,
                        next: &[],
                    }
                    .run();
                }
                for i in 0..rows {
                    let token = tree.start + segment.local + block.start + i;
                    let scale = 1.0 / sums[i];
                    let head_row = &mut result[i * wide..i * wide + dim];
                    head_row.iter_mut().for_each(|x| *x *= scale);
                    // SAFETY: the columns of `head` in the row of `token` belong to this task alone.
                    unsafe { out.write(token * self.heads.heads * dim + head * dim, head_row) };
                }
            }
        }
    }

    /// Writes the gradients of one head's queries; those of its keys and values, each `[tree.len, padded(dim)]`.
    #[inline(always)]
    fn backward_head(
        &self,
        tree: &Tree,
        head: usize,
        out: &[f32],
        lse: &[f32],
        dout: &[f32],
        dqkv: &SharedSlice,
    ) -> [CpuBuffer; 2] {
        let dim = self.heads.dim;
        let [q_at, k_at, v_at] = self.columns(head);
        let scale = self.scale();
        let q = self.gather(tree, q_at, scale);
        let k = self.gather(tree, k_at, 1.0);
        let k_t = self.transposed(&k, tree.len);
        let v_t = self.transposed(&self.gather(tree, v_at, 1.0), tree.len);
        let wide = padded(dim);
        let width = self.heads.heads * dim;
        let d_out = self.columns_of(dout, width, tree, head * dim, 1.0);
        let own = |x: &[f32], i: usize| -> Range<usize> {
            let at = (tree.start + i) * width + head * dim;
            debug_assert!(at + dim <= x.len());
            at..at + dim
        };
        // A loop, not a collected iterator: `collect` is no part of this function and is compiled for the plain target.
        let mut delta = Vec::with_capacity(tree.len);
        for i in 0..tree.len {
            delta.push(math::dot(&out[own(out, i)], &d_out[i * wide..i * wide + dim]));
        }
        let [mut dq, mut dk, mut dv] = [(); 3].map(|()| self.pool.take(tree.len * wide));
        for gradient in [&mut dq, &mut dk, &mut dv] {
            gradient.fill(0.0);
        }
        let (mut probs, mut d_scores) = (self.scores(tree), self.scores(tree));
        for segment in &tree.segments {
            for block in blocks(segment.len) {
                let rows = block.len();
                let seen = self.visible(segment.position + block.start).start..segment.position + block.end;
                let row = score_row(&seen);
                let first = segment.local + block.start;
                for part in segment.parts(&seen) {
                    for (a, b, c) in [(&q, &k_t, &mut probs), (&d_out, &v_t, &mut d_scores)] {
                        Tile {
                            m: rows,
                            n: padded(part.len),
                            k: dim,
                            a: &a[first * wide..],
                            a_rows: wide,
                            a_cols: 1,
                            b: &b.data[part.local..],
                            b_rows: b.row,
                            c: Target::from(&mut c[part.column..]),
                            c_rows: row,
                            accumulate: false,
                            next: &[],
                        }
                        .run();
                    }
                }
                for i in 0..rows {
                    let visible = shift(self.visible(segment.position + block.start + i), seen.start);
                    let (lse, delta) = (lse[tree.start + first + i], delta[first + i]);
                    let p = &mut probs[i * row..(i + 1) * row];
                    let ds = &mut d_scores[i * row..(i + 1) * row];
                    zero_outside(p, &visible);
                    zero_outside(ds, &visible);
                    for (p, ds) in p[visible.clone()].iter_mut().zip(&mut ds[visible]) {
                        *p = math::exp(*p - lse);
                        *ds = *p * (*ds - delta);
                    }
                }
                for part in segment.parts(&seen) {
                    // dv += p^T dout, dk += ds^T (scale q): sums over the block's queries.
                    for (scores, rows_of, target) in [(&probs, &d_out, &mut dv), (&d_scores, &q, &mut dk)] {
                        Tile {
                            m: part.len,
                            n: wide,
                            k: rows,
                            a: &scores[part.column..],
                            a_rows: 1,
                            a_cols: row,
                            b: &rows_of[first * wide..],
                            b_rows: wide,
                            c: Target::from(&mut target[part.local * wide..]),
                            c_rows: wide,
                            accumulate: true,
                            next: &[],
                        }
                        .run();
                    }
                    Tile {
                        m: rows,
                        n: wide,
                        k: part.len,
                        a: &d_scores[part.column..],
                        a_rows: row,
                        a_cols: 1,
                        b: &k[part.local * wide..],
                        b_rows: wide,
                        c: Target::from(&mut dq[first * wide..]),
                        c_rows: wide,
                        accumulate: true,
                        next: &[],
                    }
                    .run();
                }
            }
        }
        for (i, row) in dq.chunks_exact_mut(wide).enumerate() {
            row.iter_mut().for_each(|x| *x *= scale);
            // SAFETY: the columns of the head's queries in the tree's rows belong to this task alone.
            unsafe { dqkv.write((tree.start + i) * self.heads.width() + q_at, &row[..dim]) };
        }
        [dk, dv]
    }

    /// Columns `[column, column + dim)` of a tree's rows of `qkv` times `scale`, each row with room for whole
    /// vectors: what stands there meets only columns of results that nobody reads.
    #[inline(always)]
    fn gather(&self, tree: &Tree, column: usize, scale: f32) -> CpuBuffer {
        self.columns_of(self.qkv, self.heads.width(), tree, column, scale)
    }

    #[inline(always)]
    fn columns_of(&self, x: &[f32], width: usize, tree: &Tree, column: usize, scale: f32) -> CpuBuffer {
        let dim = self.heads.dim;
        let wide = padded(dim);
        let mut block = self.pool.take(tree.len * wide);
        let rows = x[tree.start * width..].chunks_exact(width);
        for (target, row) in block.chunks_exact_mut(wide).zip(rows) {
            target.iter_mut().zip(&row[column..column + dim]).for_each(|(y, x)| *y = x * scale);
        }
        block
    }

    /// A matrix `[dim, row]` of `rows` gathered rows; its rows are padded so that a product may read past the last.
    #[inline(always)]
    fn transposed(&self, x: &[f32], rows: usize) -> Block {
        let (dim, wide) = (self.heads.dim, padded(self.heads.dim));
        let row = padded(rows) + padded(1);
        let mut data = self.pool.take(dim * row);
        data.chunks_exact_mut(row).for_each(|row| row[rows..].fill(0.0));
        // As many rows at a time as fill one vector of each column.
        for (index, block) in x[..rows * wide].chunks(LANES * wide).enumerate() {
            let filled = block.len() / wide;
            for (d, row) in data.chunks_exact_mut(row).enumerate() {
                let column = &mut row[index * LANES..][..filled];
                column.iter_mut().zip(block[d..].iter().step_by(wide)).for_each(|(to, from)| *to = *from);
            }
        }
        Block { data, row }
    }

    /// Room for the scores of a block of queries against all keys of a tree.
    fn scores(&self, tree: &Tree) -> CpuBuffer {
        let keys = tree.segments.iter().map(|segment| segment.position + segment.len).max().unwrap_or(0);
        self.pool.take(QUERIES * score_row(&(0..keys)))
    }
}

vectorized! {
    /// Writes the columns of `head` in `out [T, heads * dim]`, and its row of `lse [heads, T]`.
    pub fn forward(attention: &Attention<'_>, tree: &Tree, head: usize, out: &SharedSlice<'_>, lse: &SharedSlice<'_>) {
        attention.forward_head(tree, head, out, lse);
    }

    /// Writes the gradients of a head's queries to their columns of `dqkv [T, width]`; those of its keys and values, each
    /// `[tree.len, padded(dim)]`, from the head's row of `lse`.
    pub fn backward(
        attention: &Attention<'_>,
        tree: &Tree,
        head: usize,
        out: &[f32],
        lse: &[f32],
        dout: &[f32],
        dqkv: &SharedSlice<'_>,
    ) -> [CpuBuffer; 2] {
        attention.backward_head(tree, head, out, lse, dout, dqkv)
    }
}

/// A matrix `[dim, row]`.
struct Block {
    data: CpuBuffer,
    row: usize,
}

fn blocks(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(QUERIES).map(move |start| start..(start + QUERIES).min(len))
}

/// Room for one row of scores: a part's product may write up to its padded width.
fn score_row(seen: &Range<usize>) -> usize {
    padded(seen.len()) + padded(1)
}

fn shift(range: Range<usize>, by: usize) -> Range<usize> {
    range.start - by..range.end - by
}

#[inline(always)]
fn zero_outside(row: &mut [f32], visible: &Range<usize>) {
    row[..visible.start].fill(0.0);
    row[visible.end..].fill(0.0);
}

/// Replaces a row of scores by `exp(score - max)` where visible and 0 elsewhere; returns the maximum and the sum.
#[inline(always)]
pub fn softmax_row(row: &mut [f32], visible: Range<usize>) -> (f32, f32) {
    zero_outside(row, &visible);
    let seen = &mut row[visible];
    let max = math::max(seen);
    seen.iter_mut().for_each(|x| *x = math::exp(*x - max));
    let mut lanes = [0.0f32; 16];
    let chunks = seen.chunks_exact(16);
    let tail: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for i in 0..16 {
            lanes[i] += chunk[i];
        }
    }
    (max, lanes.iter().sum::<f32>() + tail)
}
