//! Subsets of the real line: intervals, unions, inequalities, as lists of pieces.

use super::{Comparer, Decision, both};
use crate::expr::{Node, mirrored};
use crate::lex::Rel;
use crate::policy::Convention;
use crate::value::{Ex, Seq, Value};
use crate::verdict::{Certainty, Rule};
use crate::work::Bounded;
use Decision::{Different, Same};

/// An end of a piece.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// Without bound; whether a square bracket claims the infinite end.
    Open(bool),
    At(Ex, bool),
}

/// A piece of the real line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) low: End,
    pub(super) high: End,
}

/// Pieces, the variable they constrain if named, and whether an inequality was read.
pub(super) struct RealSet {
    pub(super) pieces: Vec<Piece>,
    pub(super) variable: Option<u32>,
    pub(super) inequality: bool,
}

impl Comparer<'_> {
    /// Compares two values as sets of reals, if both can be read so and one is not a plain sequence.
    pub(super) fn as_real_sets(&mut self, a: &Value, b: &Value) -> Bounded<Option<Decision>> {
        let (Some(x), Some(y)) = (self.real_set(a)?, self.real_set(b)?) else { return Ok(None) };
        if x.inequality && y.inequality && x.variable != y.variable {
            return Ok(Some(Different));
        }
        let decision = self.piece_sets(&x.pieces, &y.pieces)?;
        self.rule = Rule::Items;
        let decision = if x.inequality != y.inequality {
            self.grant(decision, Convention::IntervalAsInequality)
        } else {
            decision
        };
        Ok(Some(decision))
    }

    /// Lists of inequalities such as `x < 1 or x > 3`.
    pub(super) fn inequality_lists(&mut self, s: &Seq, t: &Seq) -> Bounded<Option<Decision>> {
        if !super::relational(s) || !super::relational(t) {
            return Ok(None);
        }
        let (a, b) = (Value::Seq(s.clone()), Value::Seq(t.clone()));
        self.as_real_sets(&a, &b)
    }

    pub(super) fn real_set(&mut self, v: &Value) -> Bounded<Option<RealSet>> {
        self.work.charge(4)?;
        let plain = |pieces| Some(RealSet { pieces, variable: None, inequality: false });
        Ok(match v {
            Value::Reals => plain(vec![Piece { low: End::Open(false), high: End::Open(false) }]),
            Value::Seq(s)
                if s.items.len() == 2 && matches!((s.open, s.close), (b'(' | b'[', b'(' | b'[')) =>
            {
                match (&s.items[0], &s.items[1]) {
                    (Value::Expr(l), Value::Expr(h)) => {
                        if self.infinite(*l)? == Some(false) || self.infinite(*h)? == Some(true) {
                            return Ok(None);
                        }
                        let low = self.end(*l, s.open == b'[')?;
                        let high = self.end(*h, s.close == b'[')?;
                        plain(vec![Piece { low, high }])
                    }
                    _ => None,
                }
            }
            Value::Seq(s) if s.open == 0 => self.combined(s)?,
            Value::Union(parts) => {
                let mut pieces = Vec::new();
                for part in parts {
                    match self.real_set(part)? {
                        Some(set) => pieces.extend(set.pieces),
                        None => match part {
                            Value::Seq(s) if s.open == b'{' => {
                                for item in &s.items {
                                    let Value::Expr(e) = item else { return Ok(None) };
                                    pieces.push(point(*e));
                                }
                            }
                            _ => return Ok(None),
                        },
                    }
                }
                plain(pieces)
            }
            Value::Without(whole, holes) => {
                let Value::Seq(s) = holes.as_ref() else { return Ok(None) };
                if !self.is_whole_line(whole)? {
                    return self.punctured(whole, s);
                }
                if s.open == b'{' && s.items.len() > 1 {
                    return self.without_points(&s.items);
                }
                if s.open != b'{' {
                    // Without an interval: what is left on either side of it.
                    let Some(hole) = self.real_set(holes)? else { return Ok(None) };
                    let [Piece { low: End::At(l, a), high: End::At(h, b) }] = hole.pieces[..] else {
                        return Ok(None);
                    };
                    let below = Piece { low: End::Open(false), high: End::At(l, !a) };
                    return Ok(plain(vec![below, Piece { low: End::At(h, !b), high: End::Open(false) }]));
                }
                if s.open == b'{'
                    && s.items.len() == 1
                    && let Value::Expr(e) = &s.items[0]
                {
                    plain(around(*e))
                } else {
                    None
                }
            }
            Value::Relation(ops, sides) => self.inequality(ops, sides)?,
            _ => None,
        })
    }

    pub(super) fn rational_value(&mut self, e: Ex) -> Bounded<Option<crate::rational::Rat>> {
        let mut field = crate::exact::Exact::default();
        field.minus = e.minus;
        match field.eval(self.arena, e.node, self.work) {
            Ok(q) => q.as_rational(self.work),
            Err(crate::work::Stop::Inapplicable) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    fn is_whole_line(&mut self, v: &Value) -> Bounded<bool> {
        Ok(match self.real_set(v)? {
            Some(RealSet { pieces, .. }) => {
                matches!(pieces.as_slice(), [Piece { low: End::Open(false), high: End::Open(false) }])
            }
            None => false,
        })
    }

    fn end(&mut self, e: Ex, closed: bool) -> Bounded<End> {
        Ok(if self.infinite(e)?.is_some() { End::Open(closed) } else { End::At(e, closed) })
    }

    /// Inequalities joined by "or" are a union; joined by "and" or a comma, an intersection of half-lines.
    pub(super) fn combined(&mut self, s: &Seq) -> Bounded<Option<RealSet>> {
        if let Some(set) = self.left_out(s)? {
            return Ok(Some(set));
        }
        if let Some(set) = self.with_holes(s)? {
            return Ok(Some(set));
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let mut variable = None;
        let mut intervals = false;
        for item in &s.items {
            let interval = matches!(item, Value::Seq(s) if s.open != 0);
            let set = match item {
                Value::Relation(..) => self.real_set(item)?,
                _ if interval => self.real_set(item)?,
                // A single value beside inequalities: `0 < x < 1 or x = 2`.
                Value::Assign(label, value) => self.single_point(*label, value),
                _ => None,
            };
            let Some(set) = set else { return Ok(None) };
            intervals |= interval;
            if variable.is_some() && variable != set.variable {
                return Ok(None);
            }
            variable = set.variable;
            pieces.extend(set.pieces);
        }
        if !s.or && !intervals {
            // Two half-lines that face each other.
            match pieces.as_slice() {
                [
                    Piece { low: l @ End::At(..), high: End::Open(false) },
                    Piece { low: End::Open(false), high: h @ End::At(..) },
                ]
                | [
                    Piece { low: End::Open(false), high: h @ End::At(..) },
                    Piece { low: l @ End::At(..), high: End::Open(false) },
                ] => {
                    let (low, high) = (*l, *h);
                    if self.facing(low, high)? {
                        pieces = vec![Piece { low, high }];
                    }
                }
                _ => {}
            }
        }
        Ok(Some(RealSet { pieces, variable, inequality: !intervals }))
    }

    fn single_point(&self, label: Ex, value: &Value) -> Option<RealSet> {
        let (Node::Var(v), Value::Expr(e)) = (self.arena.get(label.node), value) else { return None };
        Some(RealSet { pieces: vec![point(*e)], variable: Some(v), inequality: true })
    }

    /// Whether the low end is below the high end, so that the two half-lines overlap in an interval.
    fn facing(&mut self, low: End, high: End) -> Bounded<bool> {
        let (End::At(l, _), End::At(h, _)) = (low, high) else { return Ok(false) };
        let x = crate::exact::rational(self.arena, l.node, self.work)?;
        let y = crate::exact::rational(self.arena, h.node, self.work)?;
        match (x, y) {
            (Some(x), Some(y)) => Ok(x.order(&y, self.work)?.is_lt()),
            _ => Ok(true),
        }
    }

    fn inequality(&mut self, ops: &[Rel], sides: &[Ex]) -> Bounded<Option<RealSet>> {
        let variable = |s: &Self, e: Ex| match s.arena.get(e.node) {
            Node::Var(v) => Some(v),
            _ => None,
        };
        let inequality = true;
        match (ops, sides) {
            ([op], [left, right]) => {
                let (v, bound, op) = match (variable(self, *left), variable(self, *right)) {
                    (Some(v), _) => (v, *right, *op),
                    (None, Some(v)) => (v, *left, mirrored(*op)),
                    _ => return Ok(None),
                };
                let at = |closed| End::At(bound, closed);
                let pieces = match op {
                    Rel::Lt => vec![Piece { low: End::Open(false), high: at(false) }],
                    Rel::Le => vec![Piece { low: End::Open(false), high: at(true) }],
                    Rel::Gt => vec![Piece { low: at(false), high: End::Open(false) }],
                    Rel::Ge => vec![Piece { low: at(true), high: End::Open(false) }],
                    Rel::Ne if self.has_sign(bound)? => {
                        let both = [Value::Expr(bound), Value::Expr(Ex { minus: true, ..bound })];
                        let set = self.without_points(&both)?;
                        return Ok(set.map(|s| RealSet { variable: Some(v), inequality, ..s }));
                    }
                    Rel::Ne => around(bound),
                    _ => return Ok(None),
                };
                Ok(Some(RealSet { pieces, variable: Some(v), inequality }))
            }
            ([first, second], [left, middle, right]) => {
                let Some(v) = variable(self, *middle) else { return Ok(None) };
                let (low, a, b, high) = match (first, second) {
                    (Rel::Lt | Rel::Le, Rel::Lt | Rel::Le) => (*left, *first, *second, *right),
                    (Rel::Gt | Rel::Ge, Rel::Gt | Rel::Ge) => {
                        (*right, mirrored(*second), mirrored(*first), *left)
                    }
                    _ => return Ok(None),
                };
                let low = self.end(low, a == Rel::Le)?;
                let high = self.end(high, b == Rel::Le)?;
                Ok(Some(RealSet { pieces: vec![Piece { low, high }], variable: Some(v), inequality }))
            }
            _ => Ok(None),
        }
    }

    fn has_sign(&mut self, e: Ex) -> Bounded<bool> {
        self.arena.any(e.node, self.work, &|n| matches!(n, Node::Sign(..)))
    }

    fn piece_sets(&mut self, a: &[Piece], b: &[Piece]) -> Bounded<Decision> {
        if a.len() != b.len() || a.len() > 16 {
            return Ok(Different);
        }
        let mut free: Vec<Piece> = b.to_vec();
        let mut decision = Same(Certainty::Proof);
        for x in a {
            let mut found = None;
            for (k, y) in free.iter().enumerate() {
                let d = both(self.ends(x.low, y.low)?, self.ends(x.high, y.high)?);
                if d != Different {
                    found = Some((k, d));
                    break;
                }
            }
            match found {
                Some((k, d)) => {
                    free.remove(k);
                    decision = both(decision, d);
                }
                None => return Ok(Different),
            }
        }
        Ok(decision)
    }

    fn ends(&mut self, a: End, b: End) -> Bounded<Decision> {
        match (a, b) {
            (End::Open(p), End::Open(q)) if p == q => Ok(Same(Certainty::Proof)),
            (End::At(x, p), End::At(y, q)) if p == q => self.numbers(x, y),
            _ => Ok(Different),
        }
    }
}

fn point(e: Ex) -> Piece {
    Piece { low: End::At(e, true), high: End::At(e, true) }
}

/// The line without a point.
fn around(e: Ex) -> Vec<Piece> {
    vec![
        Piece { low: End::Open(false), high: End::At(e, false) },
        Piece { low: End::At(e, false), high: End::Open(false) },
    ]
}
