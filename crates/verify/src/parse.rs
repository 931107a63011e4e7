//! Token ranges to typed values: lists, relations, brackets, matrices, quantities, choices, text.

mod pieces;
mod text;

use crate::exact;
use crate::expr::{Arena, Node, Parser};
use crate::lex::{self, Rel, Tok};
use crate::literal::{Literal, Value as LiteralValue};
use crate::rational::Rat;
use crate::units::{self, Unit};
use crate::value::{EQUALS, Ex, Seq, Value};
use crate::work::{Bounded, Stop, Work};

/// Nesting of values.
const MAX_NESTING: u32 = 12;

/// Reads a whole answer.
pub(crate) fn parse(src: &str, arena: &mut Arena, work: &mut Work) -> Bounded<Value> {
    let mut literals: Vec<Literal> = std::mem::take(&mut arena.literals);
    let tokens = lex::lex(src, &mut literals, work);
    arena.literals = literals;
    let tokens = tokens?;
    let hi = tokens.len();
    let mut reader = Reader { p: Parser::new(src.as_bytes(), &tokens, arena, work), nesting: 0 };
    reader.value(0, hi)
}

pub(crate) struct Reader<'a> {
    p: Parser<'a>,
    nesting: u32,
}

impl Reader<'_> {
    fn tok(&self, at: usize) -> Option<Tok> {
        self.p.tokens.get(at).map(|t| t.tok)
    }

    fn text_of(&self, at: usize) -> String {
        let t = self.p.tokens[at];
        String::from_utf8_lossy(&self.p.src[t.start as usize..t.end as usize]).to_lowercase()
    }

    /// Reads tokens `lo..hi`; what the grammar does not know becomes text.
    pub(crate) fn value(&mut self, lo: usize, hi: usize) -> Bounded<Value> {
        self.nesting += 1;
        self.p.work.charge((hi - lo) as u32 / 2 + 4)?;
        if self.nesting > MAX_NESTING {
            return Err(Stop::Budget);
        }
        let (lo, hi) = self.trimmed(lo, hi);
        let result = if lo >= hi {
            Ok(Value::Nothing)
        } else {
            match self.read(lo, hi) {
                Err(Stop::Inapplicable) => self.as_text(lo, hi),
                other => other,
            }
        };
        self.nesting -= 1;
        result
    }

    /// Drops closing punctuation, and braces around the whole range.
    fn trimmed(&self, lo: usize, hi: usize) -> (usize, usize) {
        let (mut lo, mut hi) = (lo, hi);
        loop {
            if lo >= hi {
                return (lo, hi);
            }
            let junk = |t: Option<Tok>| matches!(t, Some(Tok::Comma | Tok::Semi | Tok::Row));
            if junk(self.tok(hi - 1)) || self.tok(hi - 1) == Some(Tok::Colon) {
                hi -= 1;
            } else if junk(self.tok(lo)) {
                lo += 1;
            } else if self.tok(lo) == Some(Tok::LBrace) && self.closing(lo, hi) == Some(hi - 1) {
                lo += 1;
                hi -= 1;
            } else {
                return (lo, hi);
            }
        }
    }

    /// Index of the token that closes the bracket or environment opened at `at`.
    fn closing(&self, at: usize, hi: usize) -> Option<usize> {
        let mut depth = 0i32;
        for i in at..hi {
            depth += step(self.p.tokens[i].tok);
            if depth == 0 {
                return Some(i);
            }
        }
        None
    }

    /// Positions at depth zero in `lo..hi` whose token passes `test`.
    fn positions(&self, lo: usize, hi: usize, test: impl Fn(Tok) -> bool) -> Vec<usize> {
        let mut depth = 0i32;
        let mut found = Vec::new();
        for i in lo..hi {
            let t = self.p.tokens[i].tok;
            if depth == 0 && test(t) {
                found.push(i);
            }
            depth = (depth + step(t)).max(0);
        }
        found
    }

    fn expr(&mut self, lo: usize, hi: usize) -> Bounded<Ex> {
        Ok(Ex::plain(self.p.expression(lo, hi)?))
    }

    fn read(&mut self, lo: usize, hi: usize) -> Bounded<Value> {
        // The common case first: one number, or one expression without words.
        if hi - lo == 1
            && let Some(Tok::Num(i)) = self.tok(lo)
        {
            return Ok(Value::Expr(Ex::plain(self.p.arena.push(Node::Num(i))?)));
        }
        if let Some(choice) = self.choice(lo, hi)? {
            return Ok(choice);
        }
        if let Some(v) = self.whole_text(lo, hi) {
            return Ok(v);
        }
        if let Some(v) = self.based_letters(lo, hi)? {
            return Ok(v);
        }
        if let Some(v) = self.bracketed_alternative(lo, hi)? {
            return Ok(v);
        }
        if self.tok(lo) == Some(Tok::Close(b']'))
            && let Some(v) = self.reversed_interval(lo, hi)?
        {
            return Ok(v);
        }
        if let Some(list) = self.list(lo, hi)? {
            return Ok(list);
        }
        if let Some(v) = self.set_operations(lo, hi)? {
            return Ok(v);
        }
        if let Some(v) = self.residue(lo, hi)? {
            return Ok(v);
        }
        if let Some(v) = self.relation(lo, hi)? {
            return Ok(v);
        }
        if let Some(v) = self.bracketed(lo, hi)? {
            return Ok(v);
        }
        if let Some(v) = self.matrix(lo, hi)? {
            return Ok(v);
        }
        match self.tok(lo) {
            Some(Tok::EmptySet) if hi - lo == 1 => return Ok(Value::Empty),
            Some(Tok::Reals) if hi - lo == 1 => return Ok(Value::Reals),
            _ => {}
        }
        if let Some(v) = self.colon(lo, hi)? {
            return Ok(v);
        }
        match self.expr(lo, hi) {
            Ok(e) => return self.spread(e, lo, hi),
            Err(Stop::Budget) => return Err(Stop::Budget),
            Err(Stop::Inapplicable) => {}
        }
        self.quantity(lo, hi)
    }

    /// An expression with plus-or-minus marks is a list of two.
    fn spread(&mut self, e: Ex, lo: usize, hi: usize) -> Bounded<Value> {
        let marked = self.p.tokens[lo..hi].iter().any(|t| matches!(t.tok, Tok::PlusMinus | Tok::MinusPlus));
        if !marked {
            return Ok(Value::Expr(e));
        }
        let items = vec![Value::Expr(e), Value::Expr(Ex { node: e.node, minus: true })];
        Ok(Value::Seq(Seq { open: 0, close: 0, or: true, items }))
    }

    /// Values separated by commas, semicolons, "and", "or" at depth zero.
    fn list(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let semis = self.positions(lo, hi, |t| t == Tok::Semi);
        let cuts = if semis.is_empty() {
            self.positions(lo, hi, |t| matches!(t, Tok::Comma | Tok::And | Tok::Or))
        } else {
            semis
        };
        if cuts.is_empty() {
            return Ok(None);
        }
        let or = cuts.iter().any(|c| self.tok(*c) == Some(Tok::Or));
        let items = self.parts(lo, hi, &cuts)?;
        if items.len() == 1 {
            return Ok(items.into_iter().next());
        }
        if !or && items.iter().all(|v| matches!(v, Value::Quantity(..))) && items.len() < 5 {
            let parts = items.iter().filter_map(|v| match v {
                Value::Quantity(e, unit) => Some((*e, unit.clone())),
                _ => None,
            });
            let parts: Vec<(Ex, Unit)> = parts.collect();
            if let Some(sum) = self.total(parts)? {
                return Ok(Some(sum));
            }
        }
        let unread = items.iter().any(|v| matches!(v, Value::Unread(_)));
        if unread {
            return Err(Stop::Inapplicable);
        }
        Ok(Some(Value::Seq(Seq { open: 0, close: 0, or, items })))
    }

    /// The values between cuts; empty parts are skipped.
    fn parts(&mut self, lo: usize, hi: usize, cuts: &[usize]) -> Bounded<Vec<Value>> {
        let mut items = Vec::with_capacity(cuts.len() + 1);
        let mut from = lo;
        for cut in cuts.iter().copied().chain([hi]) {
            if cut > from && !self.is_aside(from, cut) {
                match self.value(from, cut)? {
                    Value::Nothing => {}
                    Value::Text(t) if text::announces(&t) => {}
                    v => items.push(v),
                }
            }
            from = cut + 1;
        }
        Ok(items)
    }

    /// A remark such as "k in Z" or "where n is an integer" between commas.
    fn is_aside(&self, lo: usize, hi: usize) -> bool {
        (lo..hi).any(|i| self.tok(i) == Some(Tok::In))
            && matches!(self.tok(hi - 1), Some(Tok::Integers | Tok::Reals))
    }

    /// Unions, intersections with the reals, differences, membership.
    fn set_operations(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        if let Some(&at) = self.positions(lo, hi, |t| t == Tok::In).first() {
            if self.is_aside(lo, hi) && self.tok(hi - 1) == Some(Tok::Integers) {
                // "... where k in Z"
                let word = self.positions(lo, hi, |t| t == Tok::Word).first().copied().unwrap_or(lo);
                return if word > lo { self.value(lo, word).map(Some) } else { Err(Stop::Inapplicable) };
            }
            return if at + 1 < hi { self.value(at + 1, hi).map(Some) } else { Err(Stop::Inapplicable) };
        }
        let cups = self.positions(lo, hi, |t| t == Tok::Cup);
        if !cups.is_empty() {
            return Ok(Some(Value::Union(self.parts(lo, hi, &cups)?)));
        }
        if let Some(&at) = self.positions(lo, hi, |t| t == Tok::Setminus).first() {
            let (a, b) = (self.value(lo, at)?, self.value(at + 1, hi)?);
            return Ok(Some(Value::Without(Box::new(a), Box::new(b))));
        }
        Ok(None)
    }

    /// Equations, inequalities, assignments.
    fn relation(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let cuts = self.positions(lo, hi, |t| matches!(t, Tok::Rel(_)));
        let Some(&last) = cuts.last() else { return Ok(None) };
        let mut ops = Vec::with_capacity(cuts.len());
        for c in &cuts {
            if let Some(Tok::Rel(r)) = self.tok(*c) {
                ops.push(r);
            }
        }
        if last + 1 >= hi {
            return Err(Stop::Inapplicable);
        }
        let equations = ops.iter().all(|o| matches!(o, Rel::Eq | Rel::Approx | Rel::Equiv));
        // "exact, approximately decimal": the exact part is the answer.
        if let Some(k) = ops.iter().rposition(|o| *o == Rel::Approx)
            && equations
            && cuts[k] > lo
        {
            let before = self.value(lo, cuts[k])?;
            let named = match &before {
                Value::Expr(e) => self.is_label(*e)?,
                Value::Text(_) | Value::Unread(_) | Value::Nothing => true,
                _ => false,
            };
            if !named {
                return Ok(Some(before));
            }
        }
        if equations {
            let first = cuts[0];
            let left = if first > lo { self.expr(lo, first).ok() } else { None };
            // A value with its name on the right: 5 = x.
            if let (Some(value), 1) = (left, ops.len())
                && !self.has_variable(value)?
                && let Ok(name) = self.expr(last + 1, hi)
                && self.has_variable(name)?
                && self.is_label(name)?
            {
                return Ok(Some(Value::Assign(name, Box::new(Value::Expr(value)))));
            }
            let label = match left {
                None => true,
                Some(l) => {
                    self.is_label(l)?
                        || (ops.len() > 1 && !self.has_variable(l)?)
                        || (!self.has_variable(l)?)
                }
            };
            if label {
                self.consistent(lo, &cuts, hi)?;
                let value = self.value(last + 1, hi)?;
                if matches!(value, Value::Unread(_) | Value::Nothing) {
                    return Err(Stop::Inapplicable);
                }
                return Ok(Some(match left {
                    Some(name) => Value::Assign(name, Box::new(value)),
                    None => {
                        let name = format!("{EQUALS}{}", self.normal_text(lo, first));
                        Value::Labelled(name, Box::new(value))
                    }
                }));
            }
        }
        let mut sides = Vec::with_capacity(cuts.len() + 1);
        let mut from = lo;
        for cut in cuts.iter().copied().chain([hi]) {
            sides.push(match self.expr(from, cut) {
                Ok(e) => e,
                // A unit behind a side of an inequality.
                Err(Stop::Inapplicable) => match self.quantity(from, cut)? {
                    Value::Quantity(e, _) | Value::Expr(e) => e,
                    _ => return Err(Stop::Inapplicable),
                },
                Err(stop) => return Err(stop),
            });
            from = cut + 1;
        }
        Ok(Some(Value::Relation(ops, sides)))
    }

    /// A chain of equations is read by its end only if its rational parts agree.
    fn consistent(&mut self, lo: usize, cuts: &[usize], hi: usize) -> Bounded<()> {
        let mut known = None;
        let mut from = lo;
        for cut in cuts.iter().copied().chain([hi]) {
            if cuts.len() > 1
                && cut > from
                && let Ok(part) = self.expr(from, cut)
                && let Ok(Some(value)) = exact::rational(self.p.arena, part.node, self.p.work)
                && known.replace(value.clone()).is_some_and(|k| k != value)
            {
                return Err(Stop::Inapplicable);
            }
            from = cut + 1;
        }
        Ok(())
    }

    fn has_variable(&mut self, e: Ex) -> Bounded<bool> {
        let (arena, work) = (&*self.p.arena, &mut *self.p.work);
        arena.any(e.node, work, &|n| matches!(n, Node::Var(_)))
    }

    /// Whether the left side only names the value on the right.
    fn is_label(&mut self, e: Ex) -> Bounded<bool> {
        fn name(arena: &Arena, id: u32, depth: u32) -> bool {
            if depth > 4 {
                return false;
            }
            match arena.get(id) {
                Node::Var(_) => true,
                Node::Mul(a, b) => {
                    let argument =
                        matches!(arena.get(b), Node::Num(_) | Node::Neg(_) | Node::E | Node::I | Node::Pi);
                    name(arena, a, depth + 1) && (argument || name(arena, b, depth + 1))
                }
                Node::Func(_, a) => name(arena, a, depth + 1),
                Node::Div(a, b) => name(arena, a, depth + 1) && name(arena, b, depth + 1),
                Node::Add(a, b) => {
                    let apart = |id: u32| matches!(arena.get(id), Node::Var(s) if !(120..=122).contains(&s));
                    (apart(a) || matches!(arena.get(a), Node::Add(..)) && name(arena, a, depth + 1))
                        && apart(b)
                }
                Node::I | Node::E => depth > 0,
                // The inverse function f^{-1}.
                Node::Pow(a, b) => depth > 0 && name(arena, a, depth + 1) && arena.is_minus_one(b),
                _ => false,
            }
        }
        self.p.work.charge(8)?;
        Ok(name(self.p.arena, e.node, 0))
    }

    /// A number with words before or behind it, or a currency sign.
    fn quantity(&mut self, lo: usize, hi: usize) -> Bounded<Value> {
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
        let starts = |t: Tok| matches!(t, Tok::Word | Tok::Currency);
        let mut end = self.positions(lo, hi, starts).first().copied().unwrap_or(hi);
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
        if unit.dims.is_empty() && unit.factor.is_one() {
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
    fn total(&mut self, parts: Vec<(Ex, Unit)>) -> Bounded<Option<Value>> {
        let dims = parts[0].1.dims.clone();
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
        Ok(sum.map(|s| Value::Quantity(Ex::plain(s), Unit { dims, factor: Rat::ONE, known: true })))
    }

    /// Digits with their base in words: `2516 (base 8)`.
    fn in_base(&mut self, digits: Ex, lo: usize, hi: usize) -> Bounded<Option<Value>> {
        let inside: Vec<usize> = (lo..hi)
            .filter(|i| !matches!(self.tok(*i), Some(Tok::Open(_) | Tok::Close(_) | Tok::Minus)))
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

    /// The integer of a number token.
    fn integer(&self, at: usize) -> Option<i64> {
        match self.tok(at) {
            Some(Tok::Num(i)) => match &self.p.arena.literal(i).value {
                LiteralValue::Exact(r) => r.as_i64(),
                LiteralValue::Huge { .. } => None,
            },
            _ => None,
        }
    }
}

/// Change of depth at a token.
fn step(tok: Tok) -> i32 {
    match tok {
        Tok::Open(_) | Tok::LBrace | Tok::Begin => 1,
        Tok::Close(_) | Tok::RBrace | Tok::End => -1,
        _ => 0,
    }
}
