//! Equations, inequalities and assignments: which side is the answer, and which only names it.

use super::Reader;
use crate::exact;
use crate::expr::{Arena, Node};
use crate::lex::{Rel, Tok};
use crate::value::{EQUALS, Ex, Value};
use crate::work::{Bounded, Stop};

impl Reader<'_> {
    /// Equations, inequalities, assignments.
    pub(super) fn relation(&mut self, lo: usize, hi: usize) -> Bounded<Option<Value>> {
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
        if equations && let Some(answer) = self.exact_part(lo, &cuts, &ops)? {
            return Ok(Some(answer));
        }
        if equations && let Some(answer) = self.named(lo, &cuts, hi)? {
            return Ok(Some(answer));
        }
        Ok(Some(Value::Relation(ops, self.sides(lo, &cuts, hi)?)))
    }

    /// "exact, approximately decimal": the exact part is the answer.
    fn exact_part(&mut self, lo: usize, cuts: &[usize], ops: &[Rel]) -> Bounded<Option<Value>> {
        if let Some(k) = ops.iter().rposition(|o| *o == Rel::Approx)
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
        Ok(None)
    }

    /// A value with its name, on the right or on the left.
    fn named(&mut self, lo: usize, cuts: &[usize], hi: usize) -> Bounded<Option<Value>> {
        let (first, last) = (cuts[0], cuts[cuts.len() - 1]);
        let left = if first > lo { self.expr(lo, first).ok() } else { None };
        // A value with its name on the right: 5 = x.
        if let (Some(value), 1) = (left, cuts.len())
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
                self.is_label(l)? || (cuts.len() > 1 && !self.has_variable(l)?) || (!self.has_variable(l)?)
            }
        };
        if label {
            self.consistent(lo, cuts, hi)?;
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
        Ok(None)
    }

    /// The expressions between the signs.
    fn sides(&mut self, lo: usize, cuts: &[usize], hi: usize) -> Bounded<Vec<Ex>> {
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
        Ok(sides)
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

    pub(super) fn has_variable(&mut self, e: Ex) -> Bounded<bool> {
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
}
