//! Typed values that an answer can have.

use crate::expr::{Arena, Node, NodeId};
use crate::lex::Rel;
use crate::units::Unit;

/// An expression with the sign that its plus-or-minus marks stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ex {
    pub(crate) node: NodeId,
    pub(crate) minus: bool,
}

impl Ex {
    pub(crate) fn plain(node: NodeId) -> Ex {
        Ex { node, minus: false }
    }
}

/// Kind of a value, as explained to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A number: integer, decimal, fraction, mixed, scientific.
    Number,
    /// A number with a percent sign.
    Percent,
    /// A number of degrees.
    Degrees,
    /// A number in a base other than ten.
    Based,
    /// An expression.
    Expression,
    /// A name with its value, such as `x = 5`.
    Assignment,
    /// An equation.
    Equation,
    /// An inequality or a chain of them.
    Inequality,
    /// An interval or a tuple of two: the brackets decide in comparison.
    Bracketed,
    /// A tuple.
    Tuple,
    /// A set in braces.
    Set,
    /// Several answers.
    List,
    /// A union of intervals or sets.
    Union,
    /// A matrix.
    Matrix,
    /// A number with a unit.
    Quantity,
    /// A ratio such as `3:2`.
    Ratio,
    /// A time of day.
    Time,
    /// A choice letter.
    Choice,
    /// Yes or no, true or false.
    Truth,
    /// The empty set, or no solution.
    Empty,
    /// All real numbers.
    Reals,
    /// Running text.
    Text,
    /// Mathematics that the grammar does not read.
    Unread,
    /// Nothing at all.
    Nothing,
}

/// A bracketed or bare sequence of values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seq {
    /// `(`, `[`, `{`, `<`, or 0 for a bare list.
    pub(crate) open: u8,
    pub(crate) close: u8,
    /// The items of a bare list are alternatives ("or").
    pub(crate) or: bool,
    pub(crate) items: Vec<Value>,
}

/// Starts the words of a label that an equals sign ends: it names the value and says nothing else.
pub(crate) const EQUALS: char = '=';

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Expr(Ex),
    Quantity(Ex, Unit),
    /// An expression that is a name, and its value.
    Assign(Ex, Box<Value>),
    /// A value behind words that may say what it is.
    Labelled(String, Box<Value>),
    Relation(Vec<Rel>, Vec<Ex>),
    Seq(Seq),
    Union(Vec<Value>),
    /// The first without the second.
    Without(Box<Value>, Box<Value>),
    Matrix {
        cols: usize,
        items: Vec<Ex>,
    },
    Ratio(Vec<Ex>),
    Time {
        minutes: i64,
        pm: Option<bool>,
    },
    Choice(u8, Option<Box<Value>>),
    Truth(bool),
    Empty,
    Reals,
    Text(String),
    Unread(String),
    Nothing,
}

impl Value {
    pub(crate) fn kind(&self, arena: &Arena) -> Kind {
        match self {
            Value::Expr(e) => match arena.get(e.node) {
                Node::Num(_) => Kind::Number,
                Node::Neg(n) if matches!(arena.get(n), Node::Num(_)) => Kind::Number,
                Node::Div(a, b) if matches!((arena.get(a), arena.get(b)), (Node::Num(_), Node::Num(_))) => {
                    Kind::Number
                }
                Node::Percent(_) => Kind::Percent,
                Node::Degree(_) => Kind::Degrees,
                Node::Based(..) => Kind::Based,
                _ => Kind::Expression,
            },
            Value::Quantity(..) => Kind::Quantity,
            Value::Assign(..) | Value::Labelled(..) => Kind::Assignment,
            Value::Relation(ops, _) if ops.iter().all(|o| *o == Rel::Eq) => Kind::Equation,
            Value::Relation(..) => Kind::Inequality,
            Value::Seq(s) => match s.open {
                0 => Kind::List,
                b'{' => Kind::Set,
                _ if s.items.len() == 2 => Kind::Bracketed,
                _ => Kind::Tuple,
            },
            Value::Union(_) | Value::Without(..) => Kind::Union,
            Value::Matrix { .. } => Kind::Matrix,
            Value::Ratio(_) => Kind::Ratio,
            Value::Time { .. } => Kind::Time,
            Value::Choice(..) => Kind::Choice,
            Value::Truth(_) => Kind::Truth,
            Value::Empty => Kind::Empty,
            Value::Reals => Kind::Reals,
            Value::Text(_) => Kind::Text,
            Value::Unread(_) => Kind::Unread,
            Value::Nothing => Kind::Nothing,
        }
    }
}
