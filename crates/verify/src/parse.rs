//! Token ranges to typed values: lists, relations, brackets, matrices, quantities, choices, text.

mod pieces;
mod quantities;
mod relations;
mod sets;
mod text;

use crate::expr::{Arena, Node, Parser};
use crate::lex::{self, Rel, Tok};
use crate::literal::{Literal, Value as LiteralValue};
use crate::units::Unit;
use crate::value::{Ex, Seq, Value};
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
