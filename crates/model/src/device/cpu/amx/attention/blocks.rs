//! A head's tokens in blocks of 32 that do not cross segments, and which of them see which.

use std::ops::Range;

use super::super::super::operand::Operand;
use super::super::super::plan::{Tree, TreeSegment};
use super::super::super::pool::CpuBuffer;
use super::super::pack::{self, Side};
use super::super::tile::SIDE;
use super::super::unit::TERMS;
use super::Head;

/// Floats of a step of a panel.
pub const STEP: usize = pack::panel_len(TERMS, 3);

/// The blocks of a tree.
pub struct Blocks {
    /// The first block of each segment, and after the last one the number of all.
    first: Vec<usize>,
}

impl Blocks {
    /// Cuts each segment in blocks of 32 tokens and what is left.
    pub fn of(tree: &Tree) -> Self {
        let mut first = vec![0];
        first.extend(tree.segments.iter().scan(0, |blocks, segment| {
            *blocks += segment.len.div_ceil(SIDE);
            Some(*blocks)
        }));
        Self { first }
    }

    /// Number of all blocks.
    pub fn count(&self) -> usize {
        self.first.last().copied().unwrap_or_default()
    }

    /// The blocks of a segment.
    pub fn of_segment(&self, segment: usize) -> Range<usize> {
        self.first[segment]..self.first[segment + 1]
    }
}

/// The queries of a block.
pub struct Queries {
    /// The first, counted from the tree's start.
    pub local: usize,
    /// How many.
    pub rows: usize,
    /// Position of the first.
    pub position: usize,
    /// Sliding window.
    window: Option<usize>,
}

impl Queries {
    /// The queries of block `index` of a segment.
    pub fn new(segment: &TreeSegment, index: usize, window: Option<usize>) -> Self {
        let start = index * SIDE;
        let rows = (segment.len - start).min(SIDE);
        Self { local: segment.local + start, rows, position: segment.position + start, window }
    }

    /// Positions of the keys that a row sees.
    pub fn visible(&self, row: usize) -> Range<usize> {
        let end = self.position + row + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Positions of the keys that any row sees.
    pub fn seen(&self) -> Range<usize> {
        self.visible(0).start..self.position + self.rows
    }
}

/// Blocks of keys that stand together, of one segment.
pub struct Run {
    /// Which segment of the tree.
    pub segment: usize,
    /// The first block, counted from the segment's first.
    pub block: usize,
    /// How many.
    pub count: usize,
    /// Position of the first key.
    pub position: usize,
    /// Position after the segment's last key.
    pub end: usize,
}

impl Run {
    /// The blocks that hold the keys of a segment's chain at the positions `seen`, from the root on.
    pub fn of(tree: &Tree, segment: &TreeSegment, seen: &Range<usize>) -> Vec<Self> {
        let chain = segment
            .chain()
            .iter()
            .filter(|(position, len, _)| *position < seen.end && seen.start < position + len);
        chain
            .map(|&(position, len, local)| {
                let end = position + len;
                let block = seen.start.saturating_sub(position) / SIDE;
                let count = (end.min(seen.end) - position).div_ceil(SIDE) - block;
                let segment = tree.segments.partition_point(|other| other.local < local);
                Self { segment, block, count, position: position + block * SIDE, end }
            })
            .collect()
    }

    /// Which keys of a block, counted from the run's first, are among the `visible` positions.
    pub fn lanes(&self, block: usize, visible: &Range<usize>) -> u32 {
        let first = self.position + block * SIDE;
        let before = |position: usize| position.saturating_sub(first).min(SIDE);
        let below = |lanes: usize| (1u64 << lanes) - 1;
        (below(before(visible.end.min(self.end))) & !below(before(visible.start))) as u32
    }

    /// The run in parts of at most so many blocks.
    pub fn cut(&self, most: usize) -> impl Iterator<Item = Self> {
        let Self { segment, block, count, position, end } = *self;
        (0..count).step_by(most).map(move |first| Self {
            segment,
            block: block + first,
            count: most.min(count - first),
            position: position + first * SIDE,
            end,
        })
    }

    /// The blocks with any key among the `seen` positions.
    pub fn seen(&self, seen: &Range<usize>) -> Range<usize> {
        let start = (0..self.count).position(|block| self.sees(block, seen)).unwrap_or(self.count);
        start..start + (start..self.count).take_while(|block| self.sees(*block, seen)).count()
    }

    /// Whether any key of a block is among the `seen` positions.
    pub fn sees(&self, block: usize, seen: &Range<usize>) -> bool {
        let first = self.position + block * SIDE;
        first < seen.end && seen.start < (first + SIDE).min(self.end)
    }
}

/// One head's columns in pieces, block by block.
pub struct Panels {
    data: CpuBuffer,
    /// Whether a block is a panel, or a step of panels.
    by_tokens: bool,
    /// Steps of a block: a panel's, or one of each panel.
    steps: usize,
}

impl Panels {
    /// Lines are tokens and terms dimensions: a block is a panel.
    pub fn of_tokens(head: &Head<'_>, operand: &Operand<'_>, side: Side) -> Self {
        Self::arranged(head, Operand { by_terms: false, ..*operand }, side)
    }

    /// Lines are dimensions and terms tokens: a block is a step of each panel of 32 dimensions.
    pub fn of_dimensions(head: &Head<'_>, operand: &Operand<'_>, side: Side) -> Self {
        Self::arranged(head, Operand { by_terms: true, ..*operand }, side)
    }

    fn arranged(head: &Head<'_>, operand: Operand<'_>, side: Side) -> Self {
        // As many terms to a step as lines to a panel.
        let (dim, steps) = (head.dim, head.dim.div_ceil(TERMS));
        let mut data = head.pool.take(head.blocks.count() * steps * STEP);
        for (index, segment) in head.tree.segments.iter().enumerate() {
            let (blocks, tokens) =
                (head.blocks.of_segment(index), segment.local..segment.local + segment.len);
            let (lines, terms) = if operand.by_terms { (0..dim, tokens) } else { (tokens, 0..dim) };
            let out = &mut data[blocks.start * steps * STEP..blocks.end * steps * STEP];
            // SAFETY: whoever has tiles has the vectors; the operand holds the tree's tokens.
            unsafe { pack::arrange::<3>(&operand, side, lines, terms, out) };
        }
        Self { data, by_tokens: !operand.by_terms, steps }
    }

    /// The panel of a block of tokens, all dimensions its terms.
    pub fn block(&self, block: usize) -> &[f32] {
        debug_assert!(self.by_tokens);
        &self.data[block * self.steps * STEP..][..self.steps * STEP]
    }

    /// `blocks` of a segment as the terms of a panel of dimensions.
    pub fn steps(&self, segment: &Range<usize>, panel: usize, blocks: Range<usize>) -> &[f32] {
        debug_assert!(!self.by_tokens && blocks.end <= segment.len());
        let start = segment.start * self.steps + panel * segment.len();
        &self.data[(start + blocks.start) * STEP..(start + blocks.end) * STEP]
    }
}
