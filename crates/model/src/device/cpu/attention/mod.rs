//! Causal attention over a forest of segments, forward and backward.
//!
//! One task is one tree and one query head; tasks share nothing, so the result does not depend on the number of
//! threads. A task walks each segment's queries in blocks of rows against the keys of the segment's chain (its ancestors
//! and itself), on the processor's matrix unit where there is one (`amx/attention/`), else with [`vectors`]. Scores of one
//! block are the largest thing it holds; the backward pass computes them again from the saved log-sum-exp (as
//! FlashAttention does, arXiv 2205.14135).
//!
//! Along a chain the index of a key is its position, because a segment's positions continue its parent's.

mod vectors;

use std::sync::Arc;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::plan::{CpuPlan, Tree};
use super::pool::{CpuBuffer, Pool};
use super::rows::for_row_blocks;
use super::shared::SharedSlice;
use super::team::Team;
use super::tile::padded;
use crate::device::Heads;
pub use vectors::softmax_row;

/// Tokens of a tree that are worth a matrix unit, which computes blocks of 32 x 32 x 32.
const UNIT_FROM: usize = 24;

/// Everything that both passes need to know.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Who computes.
    pub team: &'a Team,
    /// Where blocks come from.
    pub pool: &'a Arc<Pool>,
    /// The batch.
    pub plan: &'a CpuPlan,
    /// Widths.
    pub heads: Heads,
    /// Sliding window.
    pub window: Option<usize>,
    /// Rotated queries, keys and values, `[T, width]`.
    pub qkv: &'a [f32],
}

impl Attention<'_> {
    fn tasks(&self) -> Vec<(&Tree, usize)> {
        self.plan.trees.iter().flat_map(|tree| (0..self.heads.heads).map(move |head| (tree, head))).collect()
    }

    /// Columns of `qkv` that hold query head `head`, its keys and its values.
    pub fn columns(&self, head: usize) -> [usize; 3] {
        let Heads { heads, kv_heads, dim } = self.heads;
        let kv = head / (heads / kv_heads);
        [head * dim, (heads + kv) * dim, (heads + kv_heads + kv) * dim]
    }

    /// What scores are multiplied by.
    pub fn scale(&self) -> f32 {
        1.0 / (self.heads.dim as f32).sqrt()
    }

    /// `out [T, heads * dim]` and `lse [heads, T]`.
    pub fn forward(&self, out: &mut [f32], lse: &mut [f32]) {
        self.forward_on(has_unit().then_some(UNIT_FROM), out, lse);
    }

    /// The same on the matrix unit for trees of so many tokens and more, if at all.
    fn forward_on(&self, unit: Option<usize>, out: &mut [f32], lse: &mut [f32]) {
        let (out, lse) = (SharedSlice::new(out), SharedSlice::new(lse));
        let tasks = self.tasks();
        self.team.run(tasks.len(), |task| {
            let (tree, head) = tasks[task];
            match unit {
                #[cfg(target_arch = "x86_64")]
                Some(from) if tree.len >= from => amx::attention::forward(self, tree, head, &out, &lse),
                _ => vectors::forward(self, tree, head, &out, &lse),
            }
        });
    }

    /// `dqkv [T, width]`, overwritten, from the gradient `dout` of the forward pass's `out`.
    pub fn backward(&self, out: &[f32], lse: &[f32], dout: &[f32], dqkv: &mut [f32]) {
        self.backward_on(has_unit().then_some(UNIT_FROM), out, lse, dout, dqkv);
    }

    fn backward_on(&self, unit: Option<usize>, out: &[f32], lse: &[f32], dout: &[f32], dqkv: &mut [f32]) {
        let total = self.qkv.len() / self.heads.width();
        let tasks = self.tasks();
        let shared = SharedSlice::new(dqkv);
        let gradients = self.team.map(tasks.len(), |task| {
            let (tree, head) = tasks[task];
            let lse = &lse[head * total..(head + 1) * total];
            match unit {
                #[cfg(target_arch = "x86_64")]
                Some(from) if tree.len >= from => {
                    amx::attention::backward(self, tree, head, out, lse, dout, &shared)
                }
                _ => vectors::backward(self, tree, head, out, lse, dout, &shared),
            }
        });
        for (tree, of_tree) in self.plan.trees.iter().zip(gradients.chunks_exact(self.heads.heads)) {
            let width = self.heads.width();
            self.add_heads(of_tree, &mut dqkv[tree.start * width..(tree.start + tree.len) * width]);
        }
    }

    /// Sums the gradients of a tree's keys and values over the query heads that share them, in their order.
    fn add_heads(&self, gradients: &[[CpuBuffer; 2]], dqkv: &mut [f32]) {
        let Heads { heads, kv_heads, dim } = self.heads;
        let (wide, width, group) = (padded(dim), self.heads.width(), heads / kv_heads);
        for_row_blocks(self.team, dqkv, &mut [], width, 0, |first, rows, _| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let local = (first + i) * wide..(first + i) * wide + dim;
                for (head, gradients) in gradients.iter().enumerate() {
                    let [_, k_at, v_at] = self.columns(head);
                    for (at, gradient) in [k_at, v_at].into_iter().zip(gradients) {
                        let target = &mut row[at..at + dim];
                        if head % group == 0 {
                            target.copy_from_slice(&gradient[local.clone()]);
                        } else {
                            target.iter_mut().zip(&gradient[local.clone()]).for_each(|(x, y)| *x += y);
                        }
                    }
                }
            }
        });
    }
}

/// Whether the processor has a matrix unit that its user does not leave out.
fn has_unit() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn value(i: usize) -> f32 {
        let hash = (i as u32).wrapping_mul(2_654_435_761);
        (hash ^ (hash >> 15)) as f32 / (1u32 << 31) as f32 - 1.0
    }

    /// A group, and a tree three deep beside it: segments shorter and longer than blocks of 32 and 48 tokens.
    fn forest() -> CpuPlan {
        let mut batch = Batch::new();
        let tokens = |len: usize| vec![1u32; len];
        batch.push_group(&tokens(50), &[tokens(1), tokens(33), tokens(130)]).unwrap();
        let (root, _) = batch.push(None, &tokens(7), |_| true).unwrap();
        let (child, _) = batch.push(Some(root), &tokens(64), |_| true).unwrap();
        batch.push(Some(child), &tokens(20), |_| true).unwrap();
        batch.push_sequence(&tokens(350)).unwrap();
        CpuPlan::new(&batch, Vec::new(), Vec::new())
    }

    /// Output, log-sum-exp and gradients.
    fn results(
        unit: Option<usize>,
        threads: usize,
        heads: Heads,
        window: Option<usize>,
        size: f32,
    ) -> [Vec<f32>; 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (team, plan) = (pool.install(Team::current), forest());
        let total = plan.tokens.len();
        let qkv: Vec<f32> = (0..total * heads.width()).map(|i| size * value(i)).collect();
        let dout: Vec<f32> = (0..total * heads.heads * heads.dim).map(|i| value(i + 99)).collect();
        let pool = Arc::default();
        let attention = Attention { team: &team, pool: &pool, plan: &plan, heads, window, qkv: &qkv };
        let (mut out, mut lse) = (vec![f32::NAN; dout.len()], vec![f32::NAN; heads.heads * total]);
        attention.forward_on(unit, &mut out, &mut lse);
        let mut dqkv = vec![f32::NAN; qkv.len()];
        attention.backward_on(unit, &out, &lse, &dout, &mut dqkv);
        [out, lse, dqkv]
    }

    /// The largest difference, as a part of the largest element.
    fn difference(a: &[f32], b: &[f32]) -> f32 {
        let largest = b.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let furthest = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0f32, f32::max);
        assert!(a.iter().chain(b).all(|x| x.is_finite()));
        furthest / largest
    }

    #[test]
    fn the_matrix_unit_computes_what_vectors_do_on_any_number_of_threads() {
        if !has_unit() {
            return; // nothing to compare on this processor
        }
        for (heads, kv_heads, dim) in [(4, 2, 64), (3, 1, 16), (2, 2, 8), (2, 1, 40), (1, 1, 96)] {
            let heads = Heads { heads, kv_heads, dim };
            for window in [None, Some(1), Some(40), Some(100)] {
                let vectors = results(None, 2, heads, window, 2.0);
                let unit = results(Some(1), 1, heads, window, 2.0);
                for ((vectors, unit), what) in vectors.iter().zip(&unit).zip(["out", "lse", "gradients"]) {
                    // Scores and their gradients are sums of up to 96 products of at most 4, of some 20: both units round them
                    // by 2^-24 of that at each of their sums, and gradients of scores are small differences of such.
                    let difference = difference(unit, vectors);
                    assert!(difference < 1.2e-5, "{what} of {heads:?}, window {window:?}: {difference:e}");
                }
                assert!(unit == results(Some(1), 3, heads, window, 2.0), "{heads:?} on three threads");
            }
        }
    }

    #[test]
    fn scores_that_are_hundreds_apart_are_as_right_as_their_rounding() {
        if !has_unit() {
            return;
        }
        let heads = Heads { heads: 2, kv_heads: 1, dim: 64 };
        let [unit, vectors] = [Some(1), None].map(|unit| results(unit, 2, heads, None, 16.0));
        assert!(vectors[1].iter().any(|lse| *lse > 200.0), "scores are not as far apart as they should be");
        for ((unit, vectors), what) in unit.iter().zip(&vectors).zip(["out", "lse", "gradients"]) {
            // Probabilities are relatively off by as much as scores of some 300 are absolutely: 2^-24 of that a few times.
            let difference = difference(unit, vectors);
            assert!(difference < 2e-4, "{what}: {difference:e}");
        }
    }
}
