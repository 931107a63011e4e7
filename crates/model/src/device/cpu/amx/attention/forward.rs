//! The output of one head, and the log-sum-exp of its scores.

use super::super::super::attention::Attention;
use super::super::super::plan::Tree;
use super::super::super::shared::SharedSlice;
use super::super::pack::Side;
use super::super::tile::{SIDE, Sums};
use super::Head;
use super::blocks::{Panels, Queries, Run, STEP};
use super::rows::{put_rows, softmax};

/// Writes the columns of `head` in `out [T, heads * dim]`, and its row of `lse [heads, T]`.
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
    let (dim, width, scale) = (head.dim, attention.heads.width(), attention.scale());
    let total = attention.qkv.len() / width;
    let [q, k, v] = attention.columns(index).map(|column| head.operand(attention.qkv, width, column));
    let q = Panels::of_tokens(&head, &q, Side::Left);
    let k = Panels::of_tokens(&head, &k, Side::Right);
    let v = Panels::of_dimensions(&head, &v, Side::Right);
    let most = head.blocks.count();
    let (mut scores, mut probs) = (head.pool.take(most * SIDE * SIDE), head.pool.take(most * STEP));
    let mut result = Sums::zeros();
    assert!(out.len() >= (tree.start + tree.len) * attention.heads.heads * dim, "the output is too short");
    for (number, segment) in tree.segments.iter().enumerate() {
        let own = head.blocks.of_segment(number);
        for block in 0..own.len() {
            let queries = Queries::new(segment, block, attention.window);
            let runs = Run::of(tree, segment, &queries.seen());
            let keys = runs.iter().flat_map(|run| {
                let first = head.blocks.of_segment(run.segment).start + run.block;
                first..first + run.count
            });
            let mut columns = 0;
            for (key, sums) in keys.zip(Sums::of(&mut scores)) {
                let pair = (q.block(own.start + block), k.block(key));
                head.product(queries.rows, [pair].into_iter(), sums);
                columns += 1;
            }
            // SAFETY: whoever has tiles has the vectors.
            let rows =
                unsafe { softmax(&queries, &runs, scale, &Sums::of(&mut scores)[..columns], &mut probs) };
            let token = tree.start + queries.local;
            for (i, (max, sum)) in rows[..queries.rows].iter().enumerate() {
                // SAFETY: (head, token) belongs to this task alone.
                unsafe { lse.write(index * total + token + i, &[max + sum.ln()]) };
            }
            let factors = rows.map(|(_, sum)| 1.0 / sum);
            for (panel, first) in (0..dim).step_by(SIDE).enumerate() {
                let mut column = 0;
                let pairs = runs.iter().map(|run| {
                    let left = &probs[column * STEP..(column + run.count) * STEP];
                    column += run.count;
                    let of_segment = head.blocks.of_segment(run.segment);
                    (left, v.steps(&of_segment, panel, run.block..run.block + run.count))
                });
                head.product(queries.rows, pairs, &mut result);
                let at = token * attention.heads.heads * dim + index * dim + first;
                // SAFETY: whoever has tiles has the vectors; the columns of `head` in its tokens' rows, which `operand` found to
                // be there, belong to this task alone.
                unsafe {
                    let columns = (dim - first).min(SIDE);
                    let to = out.after(at).as_mut_ptr();
                    put_rows(&result, &factors[..queries.rows], columns, to, attention.heads.heads * dim);
                }
            }
        }
    }
}
