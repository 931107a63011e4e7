//! Numerals in expressions: mixed numbers, numbers in a base, numbers with a word such as "million".

use super::grammar::Parser;
use super::{Node, NodeId};
use crate::lex::Tok;
use crate::literal::{Literal, Value, Written};
use crate::rational::Rat;
use crate::words;
use crate::work::{Bounded, Stop};

impl Parser<'_> {
    /// A subscript after a number: the base it is written in.
    pub(super) fn base_subscript(&mut self, node: NodeId) -> Bounded<NodeId> {
        let braced = self.peek() == Some(Tok::LBrace);
        self.pos += usize::from(braced);
        let bracket = self.peek() == Some(Tok::Open(b'('));
        self.pos += usize::from(bracket);
        // `1432_{\text{base } 5}`
        if let Some(next) = self.at(0)
            && next.tok == Tok::Word
            && self.word(next).eq_ignore_ascii_case(b"base")
        {
            self.pos += 1;
        }
        let base = match self.peek() {
            Some(Tok::Num(i)) => match &self.arena.literal(i).value {
                Value::Exact(r) => r.as_i64(),
                Value::Huge { .. } => None,
            },
            _ => None,
        };
        let Some(base @ 2..=36) = base else { return Err(Stop::Inapplicable) };
        self.pos += 1;
        if bracket {
            self.expect(|t| t == Tok::Close(b')'))?;
        }
        if braced {
            self.expect(|t| t == Tok::RBrace)?;
        }
        self.based(node, base)
    }

    /// The digits of a number literal read in a base.
    pub(crate) fn based(&mut self, node: NodeId, base: i64) -> Bounded<NodeId> {
        let Node::Num(literal) = self.arena.get(node) else { return Err(Stop::Inapplicable) };
        let value = self.in_base(literal, base)?;
        self.arena.literals.push(Literal { value: Value::Exact(value), written: Written::default() });
        let index = self.arena.literals.len() as u32 - 1;
        self.arena.push(Node::Based(index, literal, base as u8))
    }

    pub(super) fn in_base(&mut self, literal: u32, base: i64) -> Bounded<Rat> {
        let Literal { value: Value::Exact(digits), written } = self.arena.literal(literal) else {
            return Err(Stop::Budget);
        };
        if written.places > 0 || !digits.is_integer() {
            return Err(Stop::Inapplicable);
        }
        let text = digits.to_string();
        if text.len() > 200 {
            return Err(Stop::Budget);
        }
        self.work.charge(4 * text.len() as u32)?;
        let mut value = Rat::ZERO;
        for digit in text.bytes() {
            let digit = i64::from(digit.wrapping_sub(b'0'));
            if digit >= base {
                return Err(Stop::Inapplicable);
            }
            value = value.mul(&Rat::int(base), self.work)?.add(&Rat::int(digit), self.work)?;
        }
        Ok(value)
    }

    /// A numeral; with a fraction behind it a mixed number; with a word such as "million" a product.
    pub(super) fn numeral(&mut self, index: u32, start: usize) -> Bounded<NodeId> {
        if self.taken > 0 {
            // The rest of a number whose first digits were taken as TeX arguments.
            let text = self.word(self.tokens[start]);
            let rest = text.get(self.taken as usize..).ok_or(Stop::Inapplicable)?;
            let rest = Rat::from_digits(rest, 0, self.work)?;
            self.taken = 0;
            return self.arena.number(rest);
        }
        let node = self.arena.push(Node::Num(index))?;
        if self.arena.literal(index).written.word
            && let Some(denominator) = self.fraction_word()
        {
            let denominator = self.arena.number(Rat::int(denominator))?;
            return self.arena.push(Node::Div(node, denominator));
        }
        if let Some(next) = self.at(0)
            && next.tok == Tok::Word
            && let Some(factor) = words::multiplier(&self.word(next).to_ascii_lowercase())
        {
            self.pos += 1;
            let factor = self.arena.number(Rat::int(factor))?;
            return self.arena.push(Node::Mul(node, factor));
        }
        if let Some((num, den, used)) = self.mixed_fraction(index)? {
            self.pos += used;
            let fraction = num.div(&den, self.work)?;
            let fraction = self.arena.number(fraction)?;
            return self.arena.push(Node::Add(node, fraction));
        }
        Ok(node)
    }

    /// The denominator that a word names behind a number word, as in "two thirds" and "one-half".
    fn fraction_word(&mut self) -> Option<i64> {
        let hyphen = usize::from(self.peek() == Some(Tok::Minus));
        let next = self.at(hyphen).filter(|t| t.tok == Tok::Word)?;
        let denominator = words::denominator(&self.word(next).to_ascii_lowercase())?;
        self.pos += hyphen + 1;
        Some(denominator)
    }

    /// A proper fraction of plain integers right after an integer: numerator, denominator, tokens used.
    pub(super) fn mixed_fraction(&mut self, whole: u32) -> Bounded<Option<(Rat, Rat, usize)>> {
        let whole = self.arena.literal(whole);
        let Value::Exact(value) = &whole.value else { return Ok(None) };
        if whole.written.places > 0 || !value.is_integer() || value.is_zero() {
            return Ok(None);
        }
        let tok = |k: usize| self.at(k).map(|t| t.tok);
        let int = |t: Option<Tok>| match t {
            Some(Tok::Num(i)) => match &self.arena.literal(i).value {
                Value::Exact(r) if r.is_integer() && self.arena.literal(i).written.places == 0 => {
                    Some(r.clone())
                }
                _ => None,
            },
            _ => None,
        };
        let found = match (tok(0), tok(1)) {
            (Some(Tok::Frac), Some(Tok::LBrace)) if tok(3) == Some(Tok::RBrace) => {
                if tok(4) == Some(Tok::LBrace) && tok(6) == Some(Tok::RBrace) {
                    int(tok(2)).zip(int(tok(5))).map(|(n, d)| (n, d, 7))
                } else {
                    int(tok(2)).zip(int(tok(4))).map(|(n, d)| (n, d, 5))
                }
            }
            (Some(Tok::Frac), Some(Tok::Num(_))) => {
                let text = self.at(1).map(|t| self.word(t)).unwrap_or(&[]);
                match text {
                    [n @ b'0'..=b'9', d @ b'0'..=b'9'] => {
                        Some((Rat::int(i64::from(n - b'0')), Rat::int(i64::from(d - b'0')), 2))
                    }
                    [_] if tok(2) == Some(Tok::LBrace) && tok(4) == Some(Tok::RBrace) => {
                        int(tok(1)).zip(int(tok(3))).map(|(n, d)| (n, d, 5))
                    }
                    _ => None,
                }
            }
            (Some(Tok::Num(i)), Some(Tok::Slash)) if self.at(0).is_some_and(|t| t.spaced) => {
                let _ = i;
                int(tok(0)).zip(int(tok(2))).map(|(n, d)| (n, d, 3))
            }
            (Some(Tok::Num(i)), _) => match &self.arena.literal(i).value {
                // A vulgar fraction character.
                Value::Exact(r) if !r.is_integer() && self.arena.literal(i).written == Written::default() => {
                    Some((r.clone(), Rat::ONE, 1))
                }
                _ => None,
            },
            _ => None,
        };
        match found {
            Some((n, d, used)) if n.order(&d, self.work)?.is_lt() => Ok(Some((n, d, used))),
            _ => Ok(None),
        }
    }
}
