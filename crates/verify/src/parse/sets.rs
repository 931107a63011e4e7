//! Sets: unions, differences, membership, sets by a property, and remarks that say for what an answer holds.

use super::{Reader, step};
use crate::expr::Node;
use crate::lex::{Rel, Tok};
use crate::rational::Rat;
use crate::symbols;
use crate::value::{Ex, Seq, Value};
use crate::work::{Bounded, Stop};

impl Reader<'_> {
    /// End of the answer where words behind it say for what it holds: "for all x", "where C is a constant".
    pub(super) fn before_remark(&self, lo: usize, hi: usize) -> usize {
        let mut depth = 0i32;
        for i in lo..hi {
            let tok = self.p.tokens[i].tok;
            if depth == 0
                && i > lo
                && tok == Tok::Open(b'(')
                && self.closing(i, hi) == Some(hi - 1)
                && self.is_aside(i + 1, hi - 1)
            {
                return i;
            }
            if depth == 0 && tok == Tok::Word && i > lo && self.tok(i - 1) != Some(Tok::Word) {
                let next =
                    if self.tok(i + 1) == Some(Tok::Word) { self.text_of(i + 1) } else { String::new() };
                let remark = match self.text_of(i).as_str() {
                    "where" => true,
                    "for" => {
                        matches!(
                            next.as_str(),
                            "all" | "every" | "any" | "each" | "some" | "integer" | "integers"
                        )
                    }
                    _ => false,
                };
                if remark {
                    return i;
                }
            }
            depth += step(tok);
        }
        hi
    }

    /// A remark such as "k in Z" or "where n is an integer" between commas.
    pub(super) fn is_aside(&self, lo: usize, hi: usize) -> bool {
        let Some(at) = (lo..hi).find(|i| self.tok(*i) == Some(Tok::In)) else { return false };
        if matches!(self.tok(hi - 1), Some(Tok::Integers | Tok::Reals)) {
            return true;
        }
        // `n \in \mathbb{N}^*`, `k \in \mathbb{Z}_{\ge 0}`
        let script = |t: Option<Tok>| matches!(t, None | Some(Tok::Caret | Tok::Under));
        let set = match self.tok(at + 1) {
            Some(Tok::Integers | Tok::Reals) => true,
            Some(Tok::Var(s)) => [b'N', b'Q', b'C'].iter().any(|l| symbols::named(u32::from(*l), b"bb") == s),
            _ => false,
        };
        at > lo && set && script(self.tok(at + 2).filter(|_| at + 2 < hi)) && hi <= at + 8
    }

    /// Unions, intersections with the reals, differences, membership.
    pub(super) fn set_operations(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        if let Some(&at) = self.positions(lo, hi, |t| t == Tok::In).first() {
            if self.is_aside(lo, hi) && self.tok(hi - 1) == Some(Tok::Integers) {
                // "... where k in Z"
                let word = self.positions(lo, hi, |t| t == Tok::Word).first().copied().unwrap_or(lo);
                return if word > lo { self.value(lo, word).map(Some) } else { Err(Stop::Inapplicable) };
            }
            return if at + 1 < hi { self.value(at + 1, hi).map(Some) } else { Err(Stop::Inapplicable) };
        }
        let cups = self.positions(lo, hi, |t| t == Tok::Cup);
        // "A \cup B = ..." names what stands behind the equals sign.
        let named = self
            .positions(lo, hi, |t| t == Tok::Rel(Rel::Eq))
            .first()
            .is_some_and(|eq| cups.iter().all(|c| c < eq));
        if !cups.is_empty() && !named {
            return Ok(Some(Value::Union(self.parts(lo, hi, &cups)?)));
        }
        let minus = (lo + 2 < hi
            && self.tok(lo) == Some(Tok::Reals)
            && self.tok(lo + 1) == Some(Tok::Minus)
            && self.tok(lo + 2) == Some(Tok::Open(b'{')))
        .then_some(lo + 1);
        if let Some(at) = minus.or(self.positions(lo, hi, |t| t == Tok::Setminus).first().copied()) {
            let (a, b) = (self.value(lo, at)?, self.value(at + 1, hi)?);
            return Ok(Some(Value::Without(Box::new(a), Box::new(b))));
        }
        Ok(None)
    }

    /// The reals on one side of a number, `\mathbb{R}_{\ge 0}`, `\mathbb{R}^+`, or without zero, `\mathbb{R}^*`.
    pub(super) fn half_line(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        if !matches!(self.tok(lo + 1), Some(Tok::Under | Tok::Caret)) {
            return Ok(None);
        }
        let up = self.tok(lo + 1) == Some(Tok::Caret);
        let (mut from, mut to) = (lo + 2, hi);
        if self.tok(from) == Some(Tok::LBrace) && self.closing(from, hi) == Some(hi - 1) {
            (from, to) = (from + 1, hi - 1);
        }
        let (rel, bound) = match self.tok(from).filter(|_| from < to) {
            Some(Tok::Plus) if up && from + 1 == to => (Rel::Gt, None),
            Some(Tok::Minus) if up && from + 1 == to => (Rel::Lt, None),
            Some(Tok::Times) if from + 1 == to => (Rel::Ne, None),
            Some(Tok::Rel(rel)) if from + 1 < to => (rel, Some(self.expr(from + 1, to)?)),
            _ => return Ok(None),
        };
        let bound = match bound {
            Some(e) => e,
            None => Ex::plain(self.p.arena.number(Rat::ZERO)?),
        };
        let infinity = self.p.arena.push(Node::Infinity)?;
        let below = Value::Expr(Ex::plain(self.p.arena.push(Node::Neg(infinity))?));
        let (above, bound) = (Value::Expr(Ex::plain(infinity)), Value::Expr(bound));
        let (open, close, items) = match rel {
            Rel::Gt => (b'(', b'(', vec![bound, above]),
            Rel::Ge => (b'[', b'(', vec![bound, above]),
            Rel::Lt => (b'(', b'(', vec![below, bound]),
            Rel::Le => (b'(', b'[', vec![below, bound]),
            Rel::Ne => {
                let hole = Value::Seq(Seq { open: b'{', close: b'{', or: false, items: vec![bound] });
                return Ok(Some(Value::Without(Box::new(Value::Reals), Box::new(hole))));
            }
            Rel::Eq | Rel::Approx | Rel::Equiv => return Ok(None),
        };
        Ok(Some(Value::Seq(Seq { open, close, or: false, items })))
    }

    /// "All real numbers except 0".
    pub(super) fn exception(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let words = self.positions(lo, hi, |t| t == Tok::Word);
        let except = |at: &&usize| matches!(self.text_of(**at).as_str(), "except" | "excluding");
        let Some(&at) = words.iter().find(except) else { return Ok(None) };
        let from = if self.tok(at + 1) == Some(Tok::Word) && self.text_of(at + 1) == "for" {
            at + 2
        } else {
            at + 1
        };
        if from >= hi || self.value(lo, at)? != Value::Reals {
            return Ok(None);
        }
        let items = match self.value(from, hi)? {
            Value::Seq(s) if s.open == 0 => s.items,
            Value::Assign(_, inner) => vec![*inner],
            other => vec![other],
        };
        let holes = Value::Seq(Seq { open: b'{', close: b'{', or: false, items });
        Ok(Some(Value::Without(Box::new(Value::Reals), Box::new(holes))))
    }

    /// A set by its property whose braces were grouping braces: `x | -2 < x < 1`, `x \in \mathbb{R} : x > 0`.
    pub(super) fn such_that(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let at = match (self.tok(lo), self.tok(lo + 1), self.tok(lo + 2)) {
            (Some(Tok::Var(_)), Some(Tok::In), Some(Tok::Reals)) => lo + 3,
            (Some(Tok::Var(_)), ..) => lo + 1,
            _ => return Ok(None),
        };
        if at + 1 >= hi || !matches!(self.tok(at), Some(Tok::Such | Tok::Bar | Tok::Colon)) {
            return Ok(None);
        }
        let bars = self.positions(at + 1, hi, |t| t == Tok::Bar).len();
        let property = !self.positions(at + 1, hi, |t| matches!(t, Tok::Rel(_))).is_empty();
        if property && bars.is_multiple_of(2) { self.value(at + 1, hi).map(Some) } else { Ok(None) }
    }
}
