//! A batch as the CPU's attention wants it: trees of segments with each segment's chain resolved.

use std::ops::Range;

use crate::batch::Batch;

/// A batch, its rotations and its trees.
pub struct CpuPlan {
    /// Token ids, `[T]`.
    pub tokens: Vec<u32>,
    /// Cosines, `[T, dim / 2]`.
    pub cos: Vec<f32>,
    /// Sines, `[T, dim / 2]`.
    pub sin: Vec<f32>,
    /// Trees: runs of the batch that do not see each other.
    pub trees: Vec<Tree>,
}

/// A root segment and its descendants, contiguous in the batch.
pub struct Tree {
    /// First token in the batch.
    pub start: usize,
    /// Tokens.
    pub len: usize,
    /// Segments.
    pub segments: Vec<TreeSegment>,
}

/// A segment within its tree.
pub struct TreeSegment {
    /// First token, counted from the tree's start.
    pub local: usize,
    /// Tokens.
    pub len: usize,
    /// Position of the first token.
    pub position: usize,
    /// Where the keys of the chain lie: `(position of the first, tokens, first counted from the tree's start)`.
    chain: Vec<(usize, usize, usize)>,
}

/// Keys of a chain that lie side by side in the tree.
pub struct Part {
    /// First key, counted from the tree's start.
    pub local: usize,
    /// Number of keys.
    pub len: usize,
    /// Column of the first in a row of scores.
    pub column: usize,
}

impl TreeSegment {
    /// Where the keys of the chain lie, from the root on: `(position of the first, tokens, first counted from the tree's start)`.
    pub fn chain(&self) -> &[(usize, usize, usize)] {
        &self.chain
    }

    /// Where the keys at the positions `seen` lie; columns count from `seen.start`.
    pub fn parts(&self, seen: &Range<usize>) -> impl Iterator<Item = Part> {
        self.chain.iter().filter_map(move |&(position, len, local)| {
            let first = position.max(seen.start);
            let end = (position + len).min(seen.end);
            (first < end).then(|| Part {
                local: local + first - position,
                len: end - first,
                column: first - seen.start,
            })
        })
    }
}

impl CpuPlan {
    /// Resolves a batch. Segments of one tree must stand together, which [`Batch::push`] of a group does; trees that
    /// interleave become one larger tree, which costs time and changes nothing.
    pub fn new(batch: &Batch, cos: Vec<f32>, sin: Vec<f32>) -> Self {
        let segments = batch.segments();
        let mut trees: Vec<Tree> = Vec::new();
        let mut first = 0;
        while first < segments.len() {
            let mut end = first + 1;
            let mut next = first;
            // Grow the run until nothing after it refers into it.
            while next < segments.len() {
                if next < end || segments[next].root < end && segments[next].root >= first {
                    end = end.max(next + 1);
                }
                next += 1;
            }
            trees.push(Self::tree(batch, first, end));
            first = end;
        }
        CpuPlan { tokens: batch.tokens().to_vec(), cos, sin, trees }
    }

    fn tree(batch: &Batch, first: usize, end: usize) -> Tree {
        let all = batch.segments();
        let start = all[first].start;
        let segments = (first..end)
            .map(|index| TreeSegment {
                local: all[index].start - start,
                len: all[index].len,
                position: all[index].position,
                chain: batch
                    .chain(index)
                    .into_iter()
                    .map(|s| (all[s].position, all[s].len, all[s].start - start))
                    .collect(),
            })
            .collect();
        Tree { start, len: all[end - 1].start + all[end - 1].len - start, segments }
    }
}
