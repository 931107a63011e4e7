//! The output of one head, and the log-sum-exp of its scores.
//!
//! As in FlashAttention (arXiv 2205.14135) several blocks of queries meet several blocks of keys at a time; what was summed over
//! earlier keys is scaled when a later one has a larger score.

use super::super::super::attention::Attention;
use super::super::super::plan::Tree;
use super::super::super::pool::CpuBuffer;
use super::super::super::shared::SharedSlice;
use super::super::pack::Side;
use super::super::tile::{SIDE, Sums};
use super::blocks::{Panels, Queries, Run, STEP};
use super::rows::{Softmax, put_rows, rescale_and_add};
use super::{Head, TOGETHER};

/// Blocks of keys that are worked on together: a row's maximum and sum are taken out of vectors once for all of them.
const KEYS: usize = 2 * TOGETHER;

/// What the output is computed from, and room for what is between two products.
struct Operands<'a> {
    head: Head<'a>,
    scale: f32,
    q: Panels,
    k: Panels,
    /// Dimensions by tokens.
    v_t: Panels,
    scores: CpuBuffer,
    probs: CpuBuffer,
}

/// A block of queries, and what is known of its output.
struct Block {
    queries: Queries,
    /// Which one of the tree.
    index: usize,
    softmax: Softmax,
    /// The output times the sum of probabilities, 32 dimensions at a time, and whether it has begun.
    sums: CpuBuffer,
    begun: bool,
}

/// Writes the columns of head `index` in `out [T, heads * dim]`, and its row of `lse [heads, T]`.
///
/// # Panics
/// When the processor lacks the unit, or an operand is shorter than its shape: errors of the engine.
pub fn forward(
    attention: &Attention<'_>,
    tree: &Tree,
    index: usize,
    out: &SharedSlice<'_>,
    lse: &SharedSlice<'_>,
) {
    let head = Head::new(attention, tree);
    let (width, out_width) = (attention.heads.width(), attention.heads.heads * head.dim);
    assert!(out.len() >= (tree.start + tree.len) * out_width, "the output is too short");
    let [q, k, v] = attention.columns(index).map(|column| head.operand(attention.qkv, width, column));
    let mut operands = Operands {
        scale: attention.scale(),
        q: Panels::of_tokens(&head, &q, Side::Left),
        k: Panels::of_tokens(&head, &k, Side::Right),
        v_t: Panels::of_dimensions(&head, &v, Side::Right),
        scores: head.pool.take(KEYS * SIDE * SIDE),
        probs: head.pool.take(KEYS * STEP),
        head,
    };
    let lse = lse.after(index * (attention.qkv.len() / width) + tree.start);
    let out = out.after(tree.start * out_width + index * attention.heads.dim);
    for (number, segment) in tree.segments.iter().enumerate() {
        let own = operands.head.blocks.of_segment(number);
        for first in (0..own.len()).step_by(TOGETHER) {
            let mut blocks: Vec<Block> = (first..(first + TOGETHER).min(own.len()))
                .map(|block| {
                    operands.block(Queries::new(segment, block, attention.window), own.start + block)
                })
                .collect();
            let seen = blocks[0].queries.seen().start..blocks[blocks.len() - 1].queries.seen().end;
            for run in Run::of(tree, segment, &seen).iter().flat_map(|run| run.cut(KEYS)) {
                blocks.iter_mut().for_each(|block| operands.add(block, &run));
            }
            for block in &mut blocks {
                operands.put(block, &out, out_width, &lse);
            }
        }
    }
}

impl Operands<'_> {
    fn block(&self, queries: Queries, index: usize) -> Block {
        let sums = self.head.pool.take(self.head.dim.div_ceil(SIDE) * SIDE * SIDE);
        Block { queries, index, softmax: Softmax::of_nothing(), sums, begun: false }
    }

    /// Adds what a run's keys and values give to a block's output.
    fn add(&mut self, block: &mut Block, run: &Run) {
        let Block { queries, softmax, .. } = block;
        let seen = run.seen(&queries.seen());
        if seen.is_empty() {
            return;
        }
        let keys = self.head.blocks.of_segment(run.segment);
        for (key, sums) in seen.clone().zip(Sums::of(&mut self.scores)) {
            let pair = (self.q.block(block.index), self.k.block(keys.start + run.block + key));
            self.head.product(queries.rows, pair, sums);
        }
        let (scores, steps) = (Sums::of(&mut self.scores), seen.len() * STEP);
        // SAFETY: whoever has tiles has the vectors.
        let factors =
            unsafe { softmax.take_in(queries, (run, seen.clone()), self.scale, scores, &mut self.probs) };
        let mut added = Sums::zeros();
        for (panel, sums) in Sums::of(&mut block.sums).iter_mut().enumerate() {
            let right = self.v_t.steps(&keys, panel, run.block + seen.start..run.block + seen.end);
            let into = if block.begun { &mut added } else { &mut *sums };
            self.head.product(queries.rows, (&self.probs[..steps], right), into);
            if block.begun {
                // SAFETY: as above.
                unsafe { rescale_and_add(sums, &factors[..queries.rows], &added) };
            }
        }
        block.begun = true;
    }

    /// Writes a block's rows of the output, and of the log-sum-exp.
    fn put(&self, block: &mut Block, out: &SharedSlice<'_>, apart: usize, lse: &SharedSlice<'_>) {
        let Block { queries, softmax: Softmax { max, sum }, .. } = block;
        let rows = 0..queries.rows;
        let of_rows: [f32; SIDE] = std::array::from_fn(|row| max[row] + sum[row].ln());
        // SAFETY: the tokens of a head belong to its task alone.
        unsafe { lse.write(queries.local, &of_rows[rows.clone()]) };
        let factors = sum.map(|sum| 1.0 / sum);
        for (panel, sums) in Sums::of(&mut block.sums).iter().enumerate() {
            let columns = (self.head.dim - panel * SIDE).min(SIDE);
            let to = out.after(queries.local * apart + panel * SIDE).as_mut_ptr();
            // SAFETY: whoever has tiles has the vectors; `forward` found the rows to be there, and the columns of a head belong to
            // its task alone.
            unsafe { put_rows(sums, &factors[rows.clone()], columns, to, apart) };
        }
    }
}
