//! Parts of the grammar that start from a bracket or a special sign: choices, brackets, matrices, ratios, times.

use super::Reader;
use crate::expr::Node;
use crate::lex::Tok;
use crate::literal::{Literal, Value as LiteralValue, Written};
use crate::rational::Rat;
use crate::symbols;
use crate::value::{Ex, Seq, Value};
use crate::work::{Bounded, Stop};

impl Reader<'_> {
    /// `(C)`, `C)`, `C.`, `\text{C}`, `Option C`, each with or without what the option says.
    pub(super) fn choice(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let mut at = lo;
        if self.tok(at) == Some(Tok::Word) && hi - lo <= 24 {
            let word = self.text_of(at);
            if matches!(word.as_str(), "option" | "choice" | "answer") {
                at += 1;
                if self.tok(at) == Some(Tok::Colon) {
                    at += 1;
                }
            }
        }
        let named = at > lo;
        let bracket = self.tok(at) == Some(Tok::Open(b'('));
        let letter_at = at + usize::from(bracket);
        if letter_at >= hi {
            return Ok(None);
        }
        let letter = match self.tok(letter_at) {
            Some(Tok::Var(s)) => symbols::latin(s),
            Some(Tok::EulerE) => Some(b'e'),
            Some(Tok::Word) => {
                let t = self.p.tokens[letter_at];
                (t.end - t.start == 1).then(|| self.p.src[t.start as usize])
            }
            _ => None,
        };
        let Some(letter) = letter else { return Ok(None) };
        let text_letter = self.p.tokens[letter_at].text;
        let mut next = letter_at + 1;
        if bracket {
            if self.tok(next) != Some(Tok::Close(b')')) || next >= hi {
                return Ok(None);
            }
            next += 1;
        }
        let mark = self.p.src.get(self.p.tokens[letter_at].end as usize).copied();
        let marked = !bracket && matches!(mark, Some(b'.' | b')' | b':'));
        if marked && next < hi && matches!(self.tok(next), Some(Tok::Close(b')') | Tok::Colon)) {
            next += 1;
        }
        let upper = letter.is_ascii_uppercase() && letter <= b'J';
        let lower = letter.is_ascii_lowercase() && letter <= b'e';
        let sure = bracket || marked || named;
        if next >= hi {
            let single = self.tok(letter_at) == Some(Tok::Word) && text_letter;
            return Ok(
                ((sure && (upper || lower)) || (single && upper)).then_some(Value::Choice(letter, None))
            );
        }
        let apart = self.p.tokens[next].spaced || self.p.tokens[next].text || text_letter || marked;
        let operator = matches!(
            self.tok(next),
            Some(
                Tok::Plus
                    | Tok::Minus
                    | Tok::Times
                    | Tok::Slash
                    | Tok::Caret
                    | Tok::Comma
                    | Tok::Rel(_)
                    | Tok::And
                    | Tok::Or
                    | Tok::Under
            )
        );
        // "(a) hyperbola"
        let worded = lower && bracket && self.tok(next) == Some(Tok::Word);
        if !((upper || worded) && sure && apart && !operator) {
            return Ok(None);
        }
        let rest = self.value(next, hi)?;
        Ok(Some(Value::Choice(letter, Some(Box::new(rest)))))
    }

    /// A range that is one pair of brackets: tuple, interval, set, or a group.
    pub(super) fn bracketed(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        // Intervals written with reversed brackets: ]1,2[ and [1,2[.
        if let Some(v) = self.reversed_interval(lo, hi)? {
            return Ok(Some(v));
        }
        if let (Some(Tok::Var(name)), Some(Tok::Open(b'('))) = (self.tok(lo), self.tok(lo + 1))
            && symbols::latin(name).is_some_and(|l| l.is_ascii_uppercase())
            && self.closing(lo + 1, hi) == Some(hi - 1)
        {
            return self.named_tuple(name, lo + 1, hi);
        }
        let Some(Tok::Open(open)) = self.tok(lo) else { return Ok(None) };
        if matches!(open, b'f' | b'c') || self.closing(lo, hi) != Some(hi - 1) {
            return Ok(None);
        }
        let Some(Tok::Close(close)) = self.tok(hi - 1) else { return Ok(None) };
        let close = match close {
            b')' => b'(',
            b']' => b'[',
            other => other,
        };
        let (inner, end) = (lo + 1, hi - 1);
        let such_that = |t: Tok| matches!(t, Tok::Such | Tok::Bar | Tok::Colon);
        if open == b'{'
            && let Some(&bar) = self.positions(inner, end, such_that).first()
        {
            return self.value(bar + 1, end).map(Some);
        }
        let cuts = self.positions(inner, end, |t| matches!(t, Tok::Comma | Tok::Semi));
        if cuts.is_empty() {
            if inner == end {
                return Ok(Some(if open == b'{' { Value::Empty } else { Value::Nothing }));
            }
            let value = self.value(inner, end)?;
            return match (open, value) {
                (_, Value::Unread(_) | Value::Nothing) => Err(Stop::Inapplicable),
                (b'{', Value::Seq(s)) if s.open == 0 => Ok(Some(Value::Seq(Seq { open, close, ..s }))),
                (b'{', v) => Ok(Some(Value::Seq(Seq { open, close, or: false, items: vec![v] }))),
                (_, v) => Ok(Some(v)),
            };
        }
        let items = self.parts(inner, end, &cuts)?;
        if items.len() != cuts.len() + 1 && open != b'{' {
            return Err(Stop::Inapplicable);
        }
        if items.iter().any(|v| matches!(v, Value::Unread(_))) {
            return Err(Stop::Inapplicable);
        }
        if let Some(m) = nested_rows(open, &items) {
            return Ok(Some(m));
        }
        Ok(Some(Value::Seq(Seq { open, close, or: false, items })))
    }

    /// A point with its name, `P(3,-2)`; but `C(n,k)` counts combinations.
    fn named_tuple(&mut self, name: u32, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let Some(Value::Seq(s)) = self.bracketed(lo, hi)? else { return Ok(None) };
        if s.items.len() < 2 {
            return Ok(None);
        }
        if let (Some(b'C'), [Value::Expr(n), Value::Expr(k)]) = (symbols::latin(name), s.items.as_slice()) {
            return Ok(Some(Value::Expr(Ex::plain(self.p.arena.push(Node::Binom(n.node, k.node))?))));
        }
        let label = self.p.arena.push(Node::Var(name))?;
        Ok(Some(Value::Assign(Ex::plain(label), Box::new(Value::Seq(s)))))
    }

    pub(super) fn reversed_interval(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        if hi - lo < 5 {
            return Ok(None);
        }
        let open = match self.tok(lo) {
            Some(Tok::Close(b']')) => b'(',
            Some(Tok::Open(b'[')) => b'[',
            Some(Tok::Open(b'(')) => b'(',
            _ => return Ok(None),
        };
        let close = match self.tok(hi - 1) {
            Some(Tok::Open(b'[')) => b'(',
            Some(Tok::Close(b']')) => b'[',
            Some(Tok::Close(b')')) => b'(',
            _ => return Ok(None),
        };
        let reversed = self.tok(lo) == Some(Tok::Close(b']')) || self.tok(hi - 1) == Some(Tok::Open(b'['));
        let cuts = self.positions(lo + 1, hi - 1, |t| matches!(t, Tok::Comma | Tok::Semi));
        if !reversed || cuts.len() != 1 {
            return Ok(None);
        }
        let items = self.parts(lo + 1, hi - 1, &cuts)?;
        if items.len() != 2 {
            return Err(Stop::Inapplicable);
        }
        Ok(Some(Value::Seq(Seq { open, close, or: false, items })))
    }

    /// `\begin{pmatrix} .. \end{pmatrix}`, with a factor before it, in brackets or bare.
    pub(super) fn matrix(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let Some(&begin) = self.positions(lo, hi, |t| t == Tok::Begin).first() else {
            return Ok(None);
        };
        let (start, end) = (begin + 1, self.closing(begin, hi).ok_or(Stop::Inapplicable)?);
        // Bars around a matrix make a number of it.
        if self.text_of(begin).contains("vmatrix") {
            return Err(Stop::Inapplicable);
        }
        if end + 1 != hi {
            return Err(Stop::Inapplicable);
        }
        let factor = match (begin > lo, self.tok(lo)) {
            (false, _) => None,
            (true, Some(Tok::Minus)) if begin == lo + 1 => {
                let one = self.p.arena.number(Rat::int(-1))?;
                Some(one)
            }
            (true, _) => {
                let stop = if self.tok(begin - 1) == Some(Tok::Times) { begin - 1 } else { begin };
                Some(self.expr(lo, stop)?.node)
            }
        };
        let rows = self.positions(start, end, |t| t == Tok::Row);
        let mut items: Vec<Ex> = Vec::new();
        let mut cols = 0;
        let mut from = start;
        for cut in rows.into_iter().chain([end]) {
            if cut > from {
                let cells = self.positions(from, cut, |t| t == Tok::Amp);
                let width = cells.len() + 1;
                if cols != 0 && cols != width {
                    return Err(Stop::Inapplicable);
                }
                cols = width;
                let mut cell = from;
                for c in cells.into_iter().chain([cut]) {
                    let mut e = self.expr(cell, c)?;
                    if let Some(f) = factor {
                        e = Ex { node: self.p.arena.push(Node::Mul(f, e.node))?, ..e };
                    }
                    items.push(e);
                    cell = c + 1;
                }
            }
            from = cut + 1;
        }
        if items.is_empty() { Err(Stop::Inapplicable) } else { Ok(Some(Value::Matrix { cols, items })) }
    }

    /// The same answer again in brackets: `9.5 (or 19/2)`.
    pub(super) fn bracketed_alternative(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        if self.tok(hi - 1) != Some(Tok::Close(b')')) {
            return Ok(None);
        }
        let opens = self.positions(lo, hi, |t| t == Tok::Open(b'('));
        let Some(open) = opens.into_iter().find(|o| *o > lo && self.tok(o + 1) == Some(Tok::Or)) else {
            return Ok(None);
        };
        let items = vec![self.value(lo, open)?, self.value(open + 2, hi - 1)?];
        Ok(Some(Value::Seq(Seq { open: 0, close: 0, or: true, items })))
    }

    /// Digits beyond nine written as letters, with their base: `AB7_{16}`.
    pub(super) fn based_letters(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let Some(under) = (lo..hi.min(lo + 24)).find(|i| self.tok(*i) == Some(Tok::Under)) else {
            return Ok(None);
        };
        let base_at = (under + 1..hi).find(|i| matches!(self.tok(*i), Some(Tok::Num(_))));
        let Some((at, Some(base @ 11..=36))) = base_at.map(|i| (i, self.integer(i))) else { return Ok(None) };
        let closed = (at + 1..hi).all(|i| matches!(self.tok(i), Some(Tok::RBrace | Tok::Close(b')'))));
        let digits: Vec<u8> = self.p.tokens[lo..under]
            .iter()
            .flat_map(|t| self.p.src[t.start as usize..t.end as usize].iter().map(u8::to_ascii_uppercase))
            .collect();
        let mixed = digits.iter().any(u8::is_ascii_digit) && digits.iter().any(u8::is_ascii_uppercase);
        if !closed || !mixed || digits.len() > 64 {
            return Ok(None);
        }
        let mut value = Rat::ZERO;
        for digit in &digits {
            let digit = match digit {
                b'0'..=b'9' => i64::from(digit - b'0'),
                b'A'..=b'Z' => i64::from(digit - b'A') + 10,
                _ => return Ok(None),
            };
            if digit >= base {
                return Ok(None);
            }
            value = value.mul(&Rat::int(base), self.p.work)?.add(&Rat::int(digit), self.p.work)?;
        }
        let residue = crate::modular::residue_of_digits(value.to_string().as_bytes());
        let literals = &mut self.p.arena.literals;
        literals.push(Literal { value: LiteralValue::Exact(value), written: Written::default() });
        let huge = LiteralValue::Huge { digits: digits.into_boxed_slice(), residue };
        literals.push(Literal { value: huge, written: Written::default() });
        let index = literals.len() as u32;
        let node = self.p.arena.push(Node::Based(index - 2, index - 1, base as u8))?;
        Ok(Some(Value::Expr(Ex::plain(node))))
    }

    /// A residue: `3 \pmod 7`, with or without brackets around the modulus.
    pub(super) fn residue(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let Some(at) = (lo..hi).find(|i| self.tok(*i) == Some(Tok::Mod)) else { return Ok(None) };
        if at == lo || at + 1 >= hi {
            return Err(Stop::Inapplicable);
        }
        let end = if self.tok(at - 1) == Some(Tok::Open(b'(')) { at - 1 } else { at };
        let mut modulus = None;
        for i in at + 1..hi {
            match self.tok(i) {
                Some(Tok::Num(_)) if modulus.is_none() => modulus = self.integer(i),
                Some(Tok::LBrace | Tok::RBrace | Tok::Close(_)) => {}
                _ => return Err(Stop::Inapplicable),
            }
        }
        let (Some(modulus), true) = (modulus, end > lo) else { return Err(Stop::Inapplicable) };
        let residue = match self.value(lo, end)? {
            Value::Assign(_, inner) => *inner,
            other => other,
        };
        match residue {
            Value::Expr(_) => Ok(Some(Value::Labelled(format!("mod {modulus}"), Box::new(residue)))),
            _ => Err(Stop::Inapplicable),
        }
    }

    /// Ratios, times of day, and labels with a colon.
    pub(super) fn colon(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let cuts = self.positions(lo, hi, |t| t == Tok::Colon);
        let Some(&first) = cuts.first() else { return self.ratio_in_words(lo, hi) };
        if let Some(v) = self.time(lo, hi)? {
            return Ok(Some(v));
        }
        if (lo..first).all(|i| self.tok(i) == Some(Tok::Word)) {
            return self.value(first + 1, hi).map(Some);
        }
        self.ratio(lo, cuts, hi)
    }

    /// The expressions between cuts; none if one of them is something else.
    fn ratio(&mut self, lo: usize, cuts: Vec<usize>, hi: usize) -> Bounded<Option<Value>> {
        let mut sides = Vec::with_capacity(cuts.len() + 1);
        let mut from = lo;
        for cut in cuts.into_iter().chain([hi]) {
            match self.expr(from, cut) {
                Ok(e) => sides.push(e),
                Err(Stop::Inapplicable) => return Ok(None),
                Err(stop) => return Err(stop),
            }
            from = cut + 1;
        }
        Ok(Some(Value::Ratio(sides)))
    }

    /// `3 to 4 to 5`.
    fn ratio_in_words(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let words = self.positions(lo, hi, |t| t == Tok::Word);
        if words.is_empty() || words.iter().any(|at| self.text_of(*at) != "to") {
            return Ok(None);
        }
        self.ratio(lo, words, hi)
    }

    /// `3:30 p.m.`
    fn time(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let (Some(hour), Some(Tok::Colon), Some(minute)) =
            (self.integer(lo), self.tok(lo + 1), self.integer(lo + 2))
        else {
            return Ok(None);
        };
        let digits = self.p.tokens[lo + 2];
        if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || digits.end - digits.start != 2 {
            return Ok(None);
        }
        if hi != lo + 4 || self.tok(lo + 3) != Some(Tok::Word) {
            return Ok(None);
        }
        let pm = match self.text_of(lo + 3).replace('.', "").as_str() {
            "pm" => true,
            "am" => false,
            _ => return Ok(None),
        };
        Ok(Some(Value::Time { minutes: hour * 60 + minute, pm: Some(pm) }))
    }
}

/// Rows in brackets, as in code: a matrix.
fn nested_rows(open: u8, items: &[Value]) -> Option<Value> {
    if open != b'[' {
        return None;
    }
    let mut flat = Vec::new();
    let mut cols = 0;
    for row in items {
        let Value::Seq(Seq { open: b'[', close: b'[', items, .. }) = row else { return None };
        if cols != 0 && cols != items.len() {
            return None;
        }
        cols = items.len();
        for cell in items {
            let Value::Expr(e) = cell else { return None };
            flat.push(*e);
        }
    }
    Some(Value::Matrix { cols, items: flat })
}
