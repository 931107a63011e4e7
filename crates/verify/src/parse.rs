//! Token ranges to typed values: lists, relations, brackets, matrices, quantities, choices, text.

mod pieces;
mod quantities;
mod sets;
mod text;

use crate::exact;
use crate::expr::{Arena, Node, Parser};
use crate::lex::{self, Rel, Tok};
use crate::literal::{Literal, Value as LiteralValue};
use crate::units::Unit;
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
        let hi = self.before_remark(lo, hi);
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

    /// Drops closing punctuation, an equals sign at the start, and braces around the whole range.
    fn trimmed(&self, lo: usize, hi: usize) -> (usize, usize) {
        let (mut lo, mut hi) = (lo, hi);
        loop {
            if lo >= hi {
                return (lo, hi);
            }
            let junk = |t: Option<Tok>| matches!(t, Some(Tok::Comma | Tok::Semi | Tok::Row));
            if junk(self.tok(hi - 1)) || self.tok(hi - 1) == Some(Tok::Colon) {
                hi -= 1;
            } else if junk(self.tok(lo)) || matches!(self.tok(lo), Some(Tok::Rel(Rel::Eq))) && lo + 1 < hi {
                // "= 5" goes on with a line before it.
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
        if hi - lo == 1 && self.tok(lo) == Some(Tok::Dots) {
            return Ok(Value::Text(text::ELLIPSIS.to_string()));
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
        if let Some(v) = self.such_that(lo, hi)? {
            return Ok(v);
        }
        if let Some(v) = self.exception(lo, hi)? {
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
            Some(Tok::Reals) => {
                if let Some(v) = self.half_line(lo, hi)? {
                    return Ok(v);
                }
            }
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
            let mut cuts =
                self.positions(lo, hi, |t| matches!(t, Tok::Comma | Tok::And | Tok::Or | Tok::Amp));
            // An ampersand beside a relation aligns it.
            let aligns = |at: usize| {
                matches!(self.tok(at + 1), Some(Tok::Rel(_)))
                    || at > 0 && matches!(self.tok(at - 1), Some(Tok::Rel(_)))
            };
            cuts.retain(|at| self.tok(*at) != Some(Tok::Amp) || !aligns(*at));
            cuts
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
        if !or && (2..5).contains(&items.len()) && items.iter().all(|v| matches!(v, Value::Quantity(..))) {
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

    /// Equations are read by their end only if their rational parts agree.
    fn consistent(&mut self, lo: usize, cuts: &[usize], hi: usize) -> Bounded<()> {
        let mut known = None;
        let mut from = lo;
        for cut in cuts.iter().copied().chain([hi]) {
            if cut > from
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
                // The inverse function f^{-1}, the inverse matrix A^{-1}.
                Node::Pow(a, b) => {
                    let inverse_of = |id: u32| match arena.get(id) {
                        Node::Var(s) => (65..=90).contains(&s),
                        _ => false,
                    };
                    (depth > 0 || inverse_of(a)) && name(arena, a, depth + 1) && arena.is_minus_one(b)
                }
                _ => false,
            }
        }
        self.p.work.charge(8)?;
        Ok(name(self.p.arena, e.node, 0))
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
