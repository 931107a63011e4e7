//! What is asked for while a block is multiplied, because it is read next and comes from beyond the second-level cache.

use std::ops::Range;

use super::super::operand::{Elements, Operand};
use super::tile::SIDE;
use super::unit::TERMS;

/// Two cache lines, which are asked for together: the f32 of a step in one line of terms, or of a panel's lines in one term.
const PAIR: usize = 128;

/// Pairs of cache lines to ask for in each step. Only addresses: nothing is read, and any may be given.
#[derive(Clone, Copy)]
pub struct Ahead {
    /// The first pair of the first step.
    pub start: *const u8,
    /// Pairs in a step, at least one.
    pub pairs: usize,
    /// Bytes from one pair to the next.
    pub apart: usize,
    /// Bytes from one step to the next.
    pub step: usize,
}

impl Ahead {
    /// Nothing new: one place, again and again.
    pub fn nothing() -> Self {
        static PLACE: u8 = 0;
        Self { start: &raw const PLACE, pairs: 1, apart: 0, step: 0 }
    }

    /// An arranged panel of `step` elements a step.
    pub fn panel(panel: *const f32, step: usize) -> Self {
        let step = step * size_of::<f32>();
        Self { start: panel.cast(), pairs: step.div_ceil(PAIR).max(1), apart: PAIR, step }
    }

    /// The elements of which a panel will be arranged.
    pub fn source(operand: &Operand<'_>, lines: &Range<usize>, terms: &Range<usize>) -> Self {
        let (base, size) = match operand.elements {
            Elements::Single(elements) => (elements.as_ptr().cast::<u8>(), 4),
            Elements::Bf16(bits) | Elements::F16(bits) => (bits.as_ptr().cast::<u8>(), 2),
        };
        let apart = operand.apart * size;
        let (first, pairs, step) = if operand.by_terms {
            (terms.start * apart + lines.start * size, TERMS, TERMS * apart)
        } else {
            (lines.start * apart + terms.start * size, SIDE, TERMS * size)
        };
        Self { start: base.wrapping_add(first), pairs, apart, step }
    }

    /// The part of one of so many blocks that are multiplied before it is read.
    pub fn share(&self, index: usize, of: usize) -> Self {
        let pairs = self.pairs.div_ceil(of);
        Self { start: self.start.wrapping_add(index * pairs * self.apart), pairs, ..*self }
    }
}
