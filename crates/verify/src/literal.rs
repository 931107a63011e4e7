//! Number literals: their exact value and how they were written.

use crate::rational::Rat;

/// How a number was written, for the conventions on decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    /// Digits after the decimal point; 0 for an integer.
    pub(crate) places: u32,
    /// Significant digits.
    pub(crate) significant: u32,
    /// Power of ten of the exponent part.
    pub(crate) exponent: i32,
    /// A power of ten that the number may have: `5e-2` is read as `5e - 2`, and may mean `5 \cdot 10^{-2}`.
    pub(crate) other_exponent: i32,
    /// An ellipsis says that more digits follow.
    pub(crate) ellipsis: bool,
    /// A number word such as "five".
    pub(crate) word: bool,
    /// Commas group the digits, without any other mark-up: they may separate a list instead.
    pub(crate) commas: bool,
    /// The digits are one run without separators, point or exponent: usable as digits in a base.
    pub(crate) plain: bool,
}

/// A number as read from the source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Literal {
    pub(crate) value: Value,
    pub(crate) written: Written,
}

/// Value of a literal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Exact(Rat),
    /// Too many digits for exact arithmetic (or digits in a base, which are compared as they stand): the digits
    /// without leading zeros, and the residue in the finite field.
    Huge {
        digits: Box<[u8]>,
        residue: u64,
    },
}

impl Literal {
    /// Literal of a number word.
    pub(crate) fn word(value: i64) -> Literal {
        Literal {
            value: Value::Exact(Rat::int(value)),
            written: Written { word: true, significant: 3, ..Written::default() },
        }
    }
}
