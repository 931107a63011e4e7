//! The vocabulary head in chunks of rows: nothing of size tokens x vocabulary is ever stored.
//!
//! Only rows that predict a target pass through the head. Rows are sorted and each is computed once, however many
//! targets it has (the last token of a prompt predicts the first token of every response of its group).

use std::ops::Range;

use crate::batch::Batch;
use crate::device::{Buffer, ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, Device, MatMul};
use crate::weights::Weights;

/// Rows of a chunk at least: fewer would read the head's weights too often.
const CHUNK_ROWS: usize = 256;

/// The targets of a batch, grouped by the row that predicts them.
pub(crate) struct HeadRows {
    /// Distinct predicting rows, ascending.
    pub rows: Vec<u32>,
    /// Targets of row `i` stand at `offsets[i]..offsets[i + 1]` of `tokens` and `order`.
    pub offsets: Vec<usize>,
    /// Target tokens, sorted by row.
    pub tokens: Vec<u32>,
    /// Index in the batch of each sorted target.
    pub order: Vec<usize>,
}

impl HeadRows {
    pub fn new(batch: &Batch) -> Self {
        let targets = batch.targets();
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by_key(|&i| targets[i].row); // stable: targets of a row keep their order
        let mut head =
            HeadRows { rows: Vec::new(), offsets: vec![0], tokens: Vec::with_capacity(order.len()), order };
        for (at, &index) in head.order.iter().enumerate() {
            if head.rows.last() != Some(&targets[index].row) {
                if at > 0 {
                    head.offsets.push(at);
                }
                head.rows.push(targets[index].row);
            }
            head.tokens.push(targets[index].token);
        }
        if !head.rows.is_empty() {
            head.offsets.push(head.order.len());
        }
        head
    }

    /// Ranges of rows that are worked on together, of about so many elements of logits.
    pub fn chunks(&self, vocab: usize, elements: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, step) = (self.rows.len(), CHUNK_ROWS.max(elements / vocab.max(1)));
        (0..rows).step_by(step).map(move |start| start..(start + step).min(rows))
    }

    /// Sorted targets of a chunk, with offsets counted from its first.
    pub fn targets(&self, chunk: &Range<usize>) -> (Vec<usize>, Range<usize>) {
        let of_chunk = self.offsets[chunk.start]..self.offsets[chunk.end];
        let offsets =
            self.offsets[chunk.start..=chunk.end].iter().map(|offset| offset - of_chunk.start).collect();
        (offsets, of_chunk)
    }
}

/// A head: its device, its weights `[V, H]` and the hidden rows `[R, H]` that it is applied to.
pub(crate) struct Head<'a, D: Device> {
    pub device: &'a D,
    pub weights: &'a Weights<D>,
    pub weight: Range<usize>,
    pub hidden: &'a D::Buf,
    pub width: usize,
    pub vocab: usize,
}

impl<D: Device> Head<'_, D> {
    fn rows(&self, chunk: &Range<usize>) -> Range<usize> {
        chunk.start * self.width..chunk.end * self.width
    }

    /// Logits of a chunk, `[rows, V]`.
    pub fn logits(&self, chunk: &Range<usize>) -> D::Buf {
        let (rows, vocab) = (chunk.len(), self.vocab);
        let mut logits = self.device.alloc(rows * vocab);
        let op = MatMul {
            m: rows,
            n: vocab,
            k: self.width,
            transpose_a: false,
            transpose_b: true,
            accumulate: false,
        };
        let hidden = self.hidden.part(self.rows(chunk));
        self.weights.matrix(&self.weight).multiply(self.device, op, hidden, logits.all_mut());
        logits
    }

    /// Adds the gradient of a chunk's logits to the head's weights, where these are trained, and writes that of its hidden
    /// rows.
    pub fn backward(
        &self,
        chunk: &Range<usize>,
        d_logits: &D::Buf,
        d_hidden: &mut D::Buf,
        grads: Option<&mut D::Buf>,
        accumulate: bool,
    ) {
        let (rows, vocab, width) = (chunk.len(), self.vocab, self.width);
        if let Some(grads) = grads {
            let to_weight =
                MatMul { m: vocab, n: width, k: rows, transpose_a: true, transpose_b: false, accumulate };
            let hidden = self.hidden.part(self.rows(chunk));
            self.device.matmul(to_weight, d_logits.all(), hidden, grads.part_mut(self.weight.clone()));
        }
        let to_hidden =
            MatMul { m: rows, n: width, k: vocab, transpose_a: false, transpose_b: false, accumulate: false };
        let weight = self.weights.matrix(&self.weight);
        weight.multiply(self.device, to_hidden, d_logits.all(), d_hidden.part_mut(self.rows(chunk)));
    }

    /// Statistics of a chunk of logits.
    pub fn stats(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        logits: &D::Buf,
        reference: Option<&D::Buf>,
    ) -> ChunkStats {
        self.device.chunk_stats(want, targets, logits.all(), reference.map(Buffer::all))
    }

    /// The gradient of the loss with respect to logits, as products take it; `None` where it has replaced them.
    pub fn seed(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        stats: &ChunkStats,
        seeds: &ChunkSeeds,
        logits: &mut D::Buf,
        reference: Option<&D::Buf>,
    ) -> Option<D::Buf> {
        let reference = reference.map(Buffer::all);
        self.device.chunk_backward(want, targets, stats, seeds, logits.all_mut(), reference)
    }
}
