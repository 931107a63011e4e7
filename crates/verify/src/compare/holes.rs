//! Subsets of the real line with single points left out: `x > 2 and x \neq 3`, `\mathbb{R} \setminus \{1, 2\}`.

use super::Comparer;
use super::sets::{End, Piece, RealSet};
use crate::expr::Node;
use crate::lex::Rel;
use crate::rational::Rat;
use crate::value::{Ex, Seq, Value};
use crate::work::Bounded;

impl Comparer<'_> {
    /// The line without several points, if their order is known.
    pub(super) fn without_points(&mut self, items: &[Value]) -> Bounded<Option<RealSet>> {
        let mut points = Vec::with_capacity(items.len());
        for item in super::sequences::flattened(items) {
            let Value::Expr(e) = item else { return Ok(None) };
            let Some(r) = self.rational_value(e)? else { return Ok(None) };
            points.push((r, e));
        }
        if points.len() > 16 {
            return Ok(None);
        }
        // Insertion sort: the comparison is charged and may be refused.
        for k in 1..points.len() {
            let mut at = k;
            while at > 0 && points[at].0.order(&points[at - 1].0, self.work)?.is_lt() {
                points.swap(at, at - 1);
                at -= 1;
            }
        }
        let mut pieces = Vec::with_capacity(points.len() + 1);
        let mut low = End::Open(false);
        for (_, e) in points {
            pieces.push(Piece { low, high: End::At(e, false) });
            low = End::At(e, false);
        }
        pieces.push(Piece { low, high: End::Open(false) });
        Ok(Some(RealSet { pieces, variable: None, inequality: false }))
    }

    /// Several values that a variable does not take: `x \neq 2, 5`, `x \neq 2 and x \neq 5`.
    pub(super) fn left_out(&mut self, s: &Seq) -> Bounded<Option<RealSet>> {
        let mut variable = None;
        let mut points = Vec::with_capacity(s.items.len());
        for item in &s.items {
            match item {
                Value::Relation(ops, sides) if ops.as_slice() == [Rel::Ne] => {
                    let Node::Var(v) = self.arena.get(sides[0].node) else { return Ok(None) };
                    if variable.is_some_and(|known| known != v) {
                        return Ok(None);
                    }
                    variable = Some(v);
                    points.push(Value::Expr(sides[1]));
                }
                Value::Expr(_) if variable.is_some() => points.push(item.clone()),
                _ => return Ok(None),
            }
        }
        if s.or || points.len() < 2 {
            return Ok(None);
        }
        let set = self.without_points(&points)?;
        Ok(set.map(|set| RealSet { variable, inequality: true, ..set }))
    }

    /// Inequalities that all hold, some of which only leave out a point: the others' set without these points.
    pub(super) fn with_holes(&mut self, s: &Seq) -> Bounded<Option<RealSet>> {
        let leaves_out = |v: &Value| matches!(v, Value::Relation(ops, _) if ops.as_slice() == [Rel::Ne]);
        let (holes, rest): (Vec<Value>, Vec<Value>) = s.items.iter().cloned().partition(leaves_out);
        if s.or || holes.is_empty() || rest.is_empty() || s.items.len() > 8 {
            return Ok(None);
        }
        let Some(mut set) = self.combined(&Seq { items: rest, ..s.clone() })? else { return Ok(None) };
        for hole in holes {
            let Value::Relation(_, sides) = hole else { continue };
            let Node::Var(v) = self.arena.get(sides[0].node) else { return Ok(None) };
            let Some(point) = self.rational_value(sides[1])? else { return Ok(None) };
            if set.variable != Some(v) || !self.puncture(&mut set.pieces, sides[1], &point)? {
                return Ok(None);
            }
        }
        Ok(Some(set))
    }

    /// Intervals without the points of a set: `(0,\infty) \setminus \{1\}`.
    pub(super) fn punctured(&mut self, whole: &Value, points: &Seq) -> Bounded<Option<RealSet>> {
        if points.open != b'{' || points.items.len() > 8 {
            return Ok(None);
        }
        let Some(mut set) = self.real_set(whole)? else { return Ok(None) };
        for item in &points.items {
            let Value::Expr(hole) = item else { return Ok(None) };
            let Some(point) = self.rational_value(*hole)? else { return Ok(None) };
            if !self.puncture(&mut set.pieces, *hole, &point)? {
                return Ok(None);
            }
        }
        Ok(Some(set))
    }

    /// Takes a point out of the piece that it lies in; whether its place could be told.
    fn puncture(&mut self, pieces: &mut Vec<Piece>, hole: Ex, point: &Rat) -> Bounded<bool> {
        for at in 0..pieces.len() {
            let Piece { low, high } = pieces[at];
            let (Some(below), Some(above)) =
                (self.is_past(low, point, true)?, self.is_past(high, point, false)?)
            else {
                return Ok(false);
            };
            if below && above {
                pieces[at] = Piece { low, high: End::At(hole, false) };
                pieces.push(Piece { low: End::At(hole, false), high });
                break;
            }
        }
        Ok(true)
    }

    /// Whether a point lies past an end, above a low one or below a high one; `None` if that is not known.
    fn is_past(&mut self, end: End, point: &Rat, low: bool) -> Bounded<Option<bool>> {
        let End::At(e, _) = end else { return Ok(Some(true)) };
        let Some(end) = self.rational_value(e)? else { return Ok(None) };
        let order = point.order(&end, self.work)?;
        Ok(Some(if low { order.is_gt() } else { order.is_lt() }))
    }
}
