//! Numbers with units, words or a currency sign around them.

use super::{Reader, text};
use crate::expr::Node;
use crate::lex::Tok;
use crate::rational::Rat;
use crate::symbols;
use crate::units::{self, Unit};
use crate::value::{Ex, Value};
use crate::words;
use crate::work::{Bounded, Stop};

impl Reader<'_> {
    /// Whether a number word such as "two" stands before the token, with a hyphen perhaps: "two-thirds".
    fn behind_number_word(&self, lo: usize, at: usize) -> bool {
        let hyphen = usize::from(at > lo && self.tok(at - 1) == Some(Tok::Minus));
        match at.checked_sub(hyphen + 1).filter(|before| *before >= lo).and_then(|before| self.tok(before)) {
            Some(Tok::Num(i)) => self.p.arena.literal(i).written.word,
            _ => false,
        }
    }

    /// A number with words before or behind it, or a currency sign.
    pub(super) fn quantity(&mut self, lo: usize, hi: usize) -> Bounded<Value> {
        let mut lo = lo;
        let mut unit = None;
        let negative = self.tok(lo) == Some(Tok::Minus) && self.tok(lo + 1) == Some(Tok::Currency);
        if self.tok(lo + usize::from(negative)) == Some(Tok::Currency) {
            lo += 1 + usize::from(negative);
            unit = Some(Unit::dollar());
        }
        if lo >= hi {
            return Err(Stop::Inapplicable);
        }
        if self.tok(lo) == Some(Tok::Word) {
            return self.behind_words(lo, hi);
        }
        let starts = self.positions(lo, hi, |t| matches!(t, Tok::Word | Tok::Currency));
        let counts = |at: &usize| {
            let word = self.text_of(*at);
            words::multiplier(word.as_bytes()).is_some()
                || (words::denominator(word.as_bytes()).is_some() && self.behind_number_word(lo, *at))
        };
        let mut end = starts.into_iter().find(|at| !counts(at)).unwrap_or(hi);
        if let Some(at) = self.positions(lo, end, |t| t == Tok::Frac).last()
            && *at > lo
            && self.tok(at + 1) == Some(Tok::LBrace)
            && self.tok(at + 2) == Some(Tok::Word)
        {
            // "60 \frac{miles}{hour}"
            end = *at;
        }
        if end == hi && unit.is_none() {
            // "9 (apples)"
            let open = self.positions(lo, hi, |t| matches!(t, Tok::Open(b'('))).last().copied();
            match open {
                Some(o) if o > lo && self.tok(o + 1) == Some(Tok::Word) => end = o,
                _ => return Err(Stop::Inapplicable),
            }
        }
        // A dot, a times sign or a slash between number and unit belongs to the unit.
        let mut number_end = end;
        while number_end > lo && matches!(self.tok(number_end - 1), Some(Tok::Times | Tok::Slash)) {
            number_end -= 1;
        }
        // The letter for a millionth belongs to the unit too.
        if number_end > lo + 1 && number_end < hi && self.tok(number_end - 1) == Some(Tok::Var(symbols::MU)) {
            number_end -= 1;
        }
        let mut e = self.expr(lo, number_end)?;
        if negative {
            e = Ex { node: self.p.arena.push(Node::Neg(e.node))?, ..e };
        }
        if let Some(based) = self.in_base(e, number_end, hi)? {
            return Ok(based);
        }
        if unit.is_none()
            && let Some(sum) = self.compound(lo, hi)?
        {
            return Ok(sum);
        }
        let behind = units::parse(self.p.src, &self.p.tokens[number_end..hi], self.p.arena, self.p.work)?;
        let unit = match unit {
            Some(u) if behind.is_none() || behind == u => u,
            Some(u) if !behind.known => u,
            Some(_) => return Err(Stop::Inapplicable),
            None => behind,
        };
        if unit.is_none() {
            return Ok(Value::Expr(e));
        }
        // A letter before words is an article or a name, not a number of things.
        if !unit.known && self.has_variable(e)? {
            return Err(Stop::Inapplicable);
        }
        Ok(Value::Quantity(e, unit))
    }

    /// Several quantities of one kind in a row: `3 hours 30 minutes`.
    fn compound(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let starts: Vec<usize> = (lo..hi)
            .filter(|i| matches!(self.tok(*i), Some(Tok::Num(_))))
            .filter(|i| *i == lo || self.tok(i - 1) == Some(Tok::Word))
            .collect();
        if starts.len() < 2 || starts.len() > 4 {
            return Ok(None);
        }
        let mut parts = Vec::with_capacity(starts.len());
        for (k, start) in starts.iter().enumerate() {
            let end = starts.get(k + 1).copied().unwrap_or(hi);
            match self.quantity(*start, end)? {
                Value::Quantity(e, unit) => parts.push((e, unit)),
                _ => return Ok(None),
            }
        }
        self.total(parts)
    }

    /// The sum of quantities in falling known units of one dimension.
    pub(super) fn total(&mut self, parts: Vec<(Ex, Unit)>) -> Bounded<Option<Value>> {
        let Some(dims) = parts.first().map(|p| p.1.dims.clone()) else { return Ok(None) };
        let mut sum = None;
        let mut above: Option<Rat> = None;
        for (e, unit) in parts {
            if !unit.known || unit.dims != dims || dims.is_empty() {
                return Ok(None);
            }
            if let Some(greater) = above
                && !unit.factor.order(&greater, self.p.work)?.is_lt()
            {
                return Ok(None);
            }
            let factor = self.p.arena.number(unit.factor.clone())?;
            let term = self.p.arena.push(Node::Mul(factor, e.node))?;
            sum = Some(match sum {
                Some(s) => self.p.arena.push(Node::Add(s, term))?,
                None => term,
            });
            above = Some(unit.factor);
        }
        Ok(sum
            .map(|s| Value::Quantity(Ex::plain(s), Unit { dims, factor: Rat::ONE, known: true, measure: 0 })))
    }

    /// Digits with their base in words: `2516 (base 8)`.
    fn in_base(&mut self, digits: Ex, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let inside: Vec<usize> = (lo..hi)
            .filter(|i| !matches!(self.tok(*i), Some(Tok::Open(_) | Tok::Close(_) | Tok::Minus)))
            .filter(|i| self.tok(*i) != Some(Tok::Word) || self.text_of(*i) != "in")
            .collect();
        let [word, number] = inside.as_slice() else { return Ok(None) };
        if self.tok(*word) != Some(Tok::Word) || self.text_of(*word) != "base" {
            return Ok(None);
        }
        let Some(base @ 2..=36) = self.integer(*number) else { return Ok(None) };
        let node = self.p.based(digits.node, base)?;
        Ok(Some(Value::Expr(Ex { node, ..digits })))
    }

    /// Mathematics behind leading words ("the area is 5").
    fn behind_words(&mut self, lo: usize, hi: usize) -> Bounded<Value> {
        let mut at = lo;
        let mut negative = false;
        while at < hi && self.tok(at) == Some(Tok::Word) {
            let word = self.text_of(at);
            if text::changes_meaning(&word) {
                return Err(Stop::Inapplicable);
            }
            negative |= matches!(word.as_str(), "negative" | "minus");
            at += 1;
        }
        if at >= hi {
            return Err(Stop::Inapplicable);
        }
        let announces = text::announces(&self.text_of(at - 1)) || negative;
        let words = if announces { String::new() } else { self.normal_text(lo, at) };
        match self.value(at, hi)? {
            Value::Text(_) | Value::Unread(_) | Value::Nothing => Err(Stop::Inapplicable),
            Value::Expr(e) if negative => {
                Ok(Value::Expr(Ex { node: self.p.arena.push(Node::Neg(e.node))?, ..e }))
            }
            Value::Quantity(e, u) if negative => {
                Ok(Value::Quantity(Ex { node: self.p.arena.push(Node::Neg(e.node))?, ..e }, u))
            }
            _ if negative => Err(Stop::Inapplicable),
            v if announces => Ok(v),
            v => Ok(Value::Labelled(words, Box::new(v))),
        }
    }
}
