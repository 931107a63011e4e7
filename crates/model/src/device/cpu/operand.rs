//! Operands of products as lines of terms, whatever way they lie in memory.

use std::ops::Range;

/// The elements of an operand.
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    /// f32.
    Single(&'a [f32]),
    /// The bits of bf16.
    Bf16(&'a [u16]),
    /// The bits of f16.
    F16(&'a [u16]),
}

/// An operand as lines of terms: rows of the left one, columns of the right one. Element `(line, term)` stands at
/// `line * apart + term`, or, where `by_terms`, at `term * apart + line`.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// Its elements.
    pub elements: Elements<'a>,
    /// Distance between lines, or between terms.
    pub apart: usize,
    /// Whether the lines of one term stand together.
    pub by_terms: bool,
}

impl Operand<'_> {
    /// Whether the operand holds so many lines of so many terms.
    pub fn holds(&self, lines: usize, terms: usize) -> bool {
        let len = match self.elements {
            Elements::Single(elements) => elements.len(),
            Elements::Bf16(bits) | Elements::F16(bits) => bits.len(),
        };
        let (rows, columns) = if self.by_terms { (terms, lines) } else { (lines, terms) };
        rows == 0 || columns == 0 || (self.apart >= columns && len >= (rows - 1) * self.apart + columns)
    }
}

/// A range cut into parts of at most `len`.
pub fn blocks(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(len).map(move |start| start..(start + len).min(end))
}
