//! The gradients of one head's queries, keys and values.
//!
//! The gradients of keys and values are summed transposed, `[dim, keys]`: then all that is cut between two products is cut in
//! rows as they lie. Several blocks of queries meet several blocks of keys at a time, so that sums are taken out of tiles once for
//! all of them, and what is between two products stays in the second-level cache.

use std::ops::Range;

use super::super::super::attention::Attention;
use super::super::super::plan::{Tree, TreeSegment};
use super::super::super::pool::CpuBuffer;
use super::super::super::shared::SharedSlice;
use super::super::super::tile::padded;
use super::super::pack::Side;
use super::super::tile::{SIDE, Sums};
use super::blocks::{Panels, Queries, Run, STEP};
use super::rows::{OfRows, Pieces, dots, gradients, put_rows, put_turned};
use super::{Head, TOGETHER};

/// What the gradients are computed from, in every arrangement that a product reads.
struct Operands<'a> {
    head: Head<'a>,
    scale: f32,
    window: Option<usize>,
    q: Panels,
    k: Panels,
    v: Panels,
    d_out: Panels,
    /// Dimensions by tokens.
    q_t: Panels,
    d_out_t: Panels,
    k_t: Panels,
    lse: &'a [f32],
    delta: Vec<f32>,
}

/// Writes the gradients of a head's queries to their columns of `dqkv [T, width]`; those of its keys and values, each
/// `[tree.len, padded(dim)]`, from the head's row of `lse`.
///
/// # Panics
/// When the processor lacks the unit, or an operand is shorter than its shape: errors of the engine.
pub fn backward(
    attention: &Attention<'_>,
    tree: &Tree,
    index: usize,
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dqkv: &SharedSlice<'_>,
) -> [CpuBuffer; 2] {
    let head = Head::new(attention, tree);
    let (dim, width) = (head.dim, attention.heads.heads * attention.heads.dim);
    let [q, k, v] =
        attention.columns(index).map(|at| head.operand(attention.qkv, attention.heads.width(), at));
    let d_out = head.operand(dout, width, index * dim);
    let own = tree.start * width + index * dim..;
    let operands = Operands {
        scale: attention.scale(),
        window: attention.window,
        q: Panels::of_tokens(&head, &q, Side::Left),
        k: Panels::of_tokens(&head, &k, Side::Right),
        v: Panels::of_tokens(&head, &v, Side::Right),
        d_out: Panels::of_tokens(&head, &d_out, Side::Left),
        q_t: Panels::of_dimensions(&head, &q, Side::Left),
        d_out_t: Panels::of_dimensions(&head, &d_out, Side::Left),
        k_t: Panels::of_dimensions(&head, &k, Side::Right),
        lse: &lse[tree.start..tree.start + tree.len],
        // SAFETY: whoever has tiles has the vectors.
        delta: unsafe { dots(&out[own.clone()], &dout[own], dim, width, tree.len) },
        head,
    };
    let queries = (tree.start + tree.len) * attention.heads.width();
    assert!(dqkv.len() >= queries, "{} gradients for {queries}", dqkv.len());
    let at = tree.start * attention.heads.width() + index * dim;
    operands.gradients(&dqkv.after(at), attention.heads.width())
}

/// Sums that grow from one part of a segment to the next: `[block of keys][32 dimensions]`, each dimensions by keys.
struct OfKeys {
    dk_t: CpuBuffer,
    dv_t: CpuBuffer,
}

/// Blocks of queries of one segment that are worked on together.
struct Part {
    segment: usize,
    /// The first block, counted from the segment's first.
    first: usize,
    queries: Vec<Queries>,
    of_rows: Vec<OfRows>,
    /// Sums of each block's gradients, 32 dimensions at a time, and whether they have begun.
    dq: CpuBuffer,
    begun: Vec<bool>,
}

impl Operands<'_> {
    /// Writes the gradients of the queries as rows of `dq`, so far `apart`; gives those of the keys and values.
    fn gradients(&self, dq: &SharedSlice<'_>, apart: usize) -> [CpuBuffer; 2] {
        let Head { pool, tree, blocks, dim, .. } = &self.head;
        let sums = blocks.count() * dim.div_ceil(SIDE) * SIDE * SIDE;
        let mut of_keys = OfKeys { dk_t: pool.take(sums), dv_t: pool.take(sums) };
        for (number, segment) in tree.segments.iter().enumerate() {
            let count = blocks.of_segment(number).len();
            for first in (0..count).step_by(TOGETHER) {
                let mut part = self.part(number, segment, first..(first + TOGETHER).min(count));
                let seen = part.queries[0].seen().start..part.last().seen().end;
                for run in Run::of(tree, segment, &seen).iter().flat_map(|run| run.cut(TOGETHER)) {
                    let by_keys = self.add(&part, &run, &mut of_keys);
                    self.add_queries(&mut part, &run, &by_keys);
                }
                self.put_queries(&mut part, dq, apart);
            }
        }
        let OfKeys { mut dk_t, mut dv_t } = of_keys;
        [self.turned(&mut dk_t, self.scale), self.turned(&mut dv_t, 1.0)]
    }

    /// Some blocks of a segment's queries.
    fn part(&self, number: usize, segment: &TreeSegment, blocks: Range<usize>) -> Part {
        let (first, count) = (blocks.start, blocks.len());
        let queries: Vec<Queries> = blocks.map(|block| Queries::new(segment, block, self.window)).collect();
        let of_rows = queries.iter().map(|queries| self.of_rows(queries)).collect();
        let dq = self.head.pool.take(count * self.head.dim.div_ceil(SIDE) * SIDE * SIDE);
        Part { segment: number, first, queries, of_rows, dq, begun: vec![false; count] }
    }

    /// Adds what a part's queries give to the gradients of a run's keys and values. Gives the gradients of its scores in pieces,
    /// a row of blocks for each block of queries.
    fn add(&self, part: &Part, run: &Run, to: &mut OfKeys) -> CpuBuffer {
        let (head, count) = (&self.head, part.queries.len());
        let own = head.blocks.of_segment(part.segment);
        let [mut probs, mut by_queries] = [(); 2].map(|()| head.pool.take(count * STEP));
        let mut by_keys = head.pool.take(count * run.count * STEP);
        let [mut scores, mut d_probs] = [(); 2].map(|()| head.pool.take(count * SIDE * SIDE));
        for block in 0..run.count {
            let key = head.blocks.of_segment(run.segment).start + run.block + block;
            let seeing = part.seeing(run, block);
            // All of one kind before the next: what they share stays in the first-level cache.
            for (left, right, sums) in [(&self.q, &self.k, &mut scores), (&self.d_out, &self.v, &mut d_probs)]
            {
                for (index, sums) in seeing.clone().zip(Sums::of(sums)) {
                    let pair = (left.block(own.start + part.first + index), right.block(key));
                    head.product(part.queries[index].rows, pair, sums);
                }
            }
            let sums = Sums::of(&mut scores).iter().zip(Sums::of(&mut d_probs).iter());
            for ((place, index), sums) in seeing.clone().enumerate().zip(sums) {
                let out = Pieces {
                    probs: &mut probs[place * STEP..],
                    by_queries: &mut by_queries[place * STEP..],
                    by_keys: &mut by_keys[(index * run.count + block) * STEP..],
                };
                let (queries, of_rows) = (&part.queries[index], &part.of_rows[index]);
                // SAFETY: whoever has tiles has the vectors.
                unsafe { gradients(queries, (run, block), self.scale, of_rows, sums, out) };
            }
            if seeing.is_empty() {
                continue;
            }
            // The part that a block of keys belongs to is the first that sees it.
            let begun = run.segment != part.segment || run.block + block < part.first;
            let terms = part.first + seeing.start..part.first + seeing.end;
            let right = ..seeing.len() * STEP;
            let of_keys = [(&self.d_out_t, &probs, &mut to.dv_t), (&self.q_t, &by_queries, &mut to.dk_t)];
            for (left, pieces, sums) in of_keys {
                let lefts = |panel| left.steps(&own, panel, terms.clone());
                self.add_keys(lefts, &pieces[right], begun, self.sums_of_keys(sums, key));
            }
        }
        by_keys
    }

    fn of_rows(&self, queries: &Queries) -> OfRows {
        let mut of_rows = OfRows { lse: [0.0; SIDE], delta: [0.0; SIDE] };
        let rows = queries.local..queries.local + queries.rows;
        of_rows.lse[..queries.rows].copy_from_slice(&self.lse[rows.clone()]);
        of_rows.delta[..queries.rows].copy_from_slice(&self.delta[rows]);
        of_rows
    }

    /// The sums of a block of keys, 32 dimensions at a time.
    fn sums_of_keys<'a>(&self, all: &'a mut [f32], key: usize) -> &'a mut [Sums] {
        let panels = self.head.dim.div_ceil(SIDE);
        &mut Sums::of(all)[key * panels..(key + 1) * panels]
    }

    /// Adds the products of each panel of a left operand and the pieces of a block of keys to its sums.
    fn add_keys<'a>(&self, left: impl Fn(usize) -> &'a [f32], right: &[f32], begun: bool, sums: &mut [Sums]) {
        for (panel, sums) in sums.iter_mut().enumerate() {
            let rows = (self.head.dim - panel * SIDE).min(SIDE);
            self.add_product(rows, (left(panel), right), begun, sums);
        }
    }

    /// Adds a product to sums, or begins them with it.
    fn add_product(&self, rows: usize, pair: (&[f32], &[f32]), begun: bool, sums: &mut Sums) {
        if !begun {
            return self.head.product(rows, pair, sums);
        }
        let mut added = Sums::zeros();
        self.head.product(rows, pair, &mut added);
        // SAFETY: whoever has tiles has the vectors.
        unsafe { sums.add(&added, rows) };
    }

    /// Adds what a run's keys give to the gradients of a part's queries.
    fn add_queries(&self, part: &mut Part, run: &Run, by_keys: &[f32]) {
        let panels = self.head.dim.div_ceil(SIDE);
        let keys = self.head.blocks.of_segment(run.segment);
        for (index, queries) in part.queries.iter().enumerate() {
            let seen = run.seen(&queries.seen());
            if seen.is_empty() {
                continue;
            }
            let left = &by_keys[(index * run.count + seen.start) * STEP..][..seen.len() * STEP];
            let sums = &mut Sums::of(&mut part.dq)[index * panels..(index + 1) * panels];
            for (panel, sums) in sums.iter_mut().enumerate() {
                let right = self.k_t.steps(&keys, panel, run.block + seen.start..run.block + seen.end);
                self.add_product(queries.rows, (left, right), part.begun[index], sums);
            }
            part.begun[index] = true;
        }
    }

    /// Writes the gradients of a part's queries.
    fn put_queries(&self, part: &mut Part, dq: &SharedSlice<'_>, apart: usize) {
        let (dim, panels) = (self.head.dim, self.head.dim.div_ceil(SIDE));
        for (queries, sums) in part.queries.iter().zip(Sums::of(&mut part.dq).chunks_exact(panels)) {
            for (panel, sums) in sums.iter().enumerate() {
                let (factors, columns) = ([self.scale; SIDE], (dim - panel * SIDE).min(SIDE));
                let to = dq.after(queries.local * apart + panel * SIDE).as_mut_ptr();
                // SAFETY: whoever has tiles has the vectors; `backward` found the rows to be there, and the columns of a head's
                // queries belong to its task alone.
                unsafe { put_rows(sums, &factors[..queries.rows], columns, to, apart) };
            }
        }
    }

    /// `[tree.len, padded(dim)]` of sums of dimensions by keys, times `scale`.
    fn turned(&self, sums: &mut CpuBuffer, scale: f32) -> CpuBuffer {
        let Head { pool, tree, blocks, dim, .. } = &self.head;
        let wide = padded(*dim);
        let mut out = pool.take(tree.len * wide);
        for (number, segment) in tree.segments.iter().enumerate() {
            for (index, block) in blocks.of_segment(number).enumerate() {
                let tokens =
                    segment.local + index * SIDE..segment.local + segment.len.min((index + 1) * SIDE);
                let sums = &*self.sums_of_keys(sums, block);
                let rows = &mut out[tokens.start * wide..tokens.end * wide];
                for (panel, sums) in sums.iter().enumerate() {
                    let columns = (wide - panel * SIDE).min(SIDE);
                    // SAFETY: whoever has tiles has the vectors; the rows are there, and this task's.
                    unsafe {
                        let to = rows[panel * SIDE..].as_mut_ptr();
                        put_turned(sums, scale, (tokens.len(), columns), to, wide);
                    }
                }
            }
        }
        out
    }
}

impl Part {
    /// The blocks of queries that see a block of keys.
    fn seeing(&self, run: &Run, block: usize) -> Range<usize> {
        let sees = |queries: &Queries| run.sees(block, &queries.seen());
        let start = self.queries.iter().position(sees).unwrap_or(self.queries.len());
        start..start + self.queries[start..].iter().take_while(|queries| sees(queries)).count()
    }

    /// The last block.
    fn last(&self) -> &Queries {
        &self.queries[self.queries.len() - 1]
    }
}
