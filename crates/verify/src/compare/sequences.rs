//! Tuples, lists, sets and matrices.

use super::{Comparer, Decision, both};
use crate::expr::Node;
use crate::policy::Convention;
use crate::value::{Seq, Value};
use crate::verdict::{Certainty, Rule};
use crate::work::Bounded;
use Decision::{Different, Same, Unknown};

/// Larger sets are compared in order only.
const MAX_UNORDERED: usize = 48;

impl Comparer<'_> {
    /// Two sequences: their brackets say how they compare.
    pub(super) fn sequences(&mut self, s: &Seq, t: &Seq) -> Bounded<Decision> {
        if let (Seq { open: b'(' | b'[', .. }, Seq { open: b'(' | b'[', .. }) = (s, t) {
            let half_open = s.open != s.close || t.open != t.close;
            if (s.open, s.close) != (t.open, t.close) && (s.items.len() <= 2 || half_open) {
                self.rule = Rule::Kinds;
                return Ok(Different);
            }
            return self.in_order(&s.items, &t.items);
        }
        match (s.open, t.open) {
            (b'{', b'{') => self.multisets(&s.items, &t.items),
            (0, 0) => {
                if let Some(decision) = self.inequality_lists(s, t)? {
                    return Ok(decision);
                }
                self.lists(&s.items, &t.items)
            }
            (b'{', 0) | (0, b'{') => {
                let inner = self.multisets(&s.items, &t.items)?;
                Ok(self.grant(inner, Convention::SetAsList))
            }
            (b'{', _) | (_, b'{') => Ok(Different),
            (0, _) | (_, 0) => {
                let (list, tuple) = if s.open == 0 { (s, t) } else { (t, s) };
                // Square brackets hold a list in code; half-open ones are an interval.
                let labelled = list.items.iter().any(|v| matches!(v, Value::Assign(..)));
                if tuple.open != tuple.close || (tuple.open == b'[' && labelled) || self.one_name(&list.items)
                {
                    self.rule = Rule::Kinds;
                    return Ok(Different);
                }
                let inner = match self.by_label(&list.items) {
                    Some(sorted) => self.in_order(&sorted, &tuple.items)?,
                    None => self.in_order(&list.items, &tuple.items)?,
                };
                Ok(self.grant(inner, Convention::TupleAsList))
            }
            _ => self.in_order(&s.items, &t.items),
        }
    }

    fn lists(&mut self, a: &[Value], b: &[Value]) -> Bounded<Decision> {
        let (a, b) = (flattened(a), flattened(b));
        let ordered = self.in_order(&a, &b)?;
        if ordered != Different || !self.policy.allows(Convention::ListOrder) {
            return Ok(ordered);
        }
        let inner = self.multisets(&a, &b)?;
        Ok(self.grant(inner, Convention::ListOrder))
    }

    /// Whether all items are values of one name: several solutions, not the parts of one.
    fn one_name(&self, items: &[Value]) -> bool {
        let name = |v: &Value| match v {
            Value::Assign(label, _) => Some(self.arena.get(label.node)),
            _ => None,
        };
        let first = items.first().and_then(name);
        items.len() > 1 && first.is_some() && items.iter().all(|v| name(v) == first)
    }

    /// Assignments to single letters, sorted by letter.
    fn by_label(&self, items: &[Value]) -> Option<Vec<Value>> {
        let mut labelled = Vec::with_capacity(items.len());
        for item in items {
            let Value::Assign(label, _) = item else { return None };
            let Node::Var(symbol) = self.arena.get(label.node) else { return None };
            labelled.push((symbol, item.clone()));
        }
        labelled.sort_by_key(|l| l.0);
        Some(labelled.into_iter().map(|l| l.1).collect())
    }

    pub(super) fn in_order(&mut self, a: &[Value], b: &[Value]) -> Bounded<Decision> {
        if a.len() != b.len() {
            self.rule = Rule::Items;
            return Ok(Different);
        }
        let mut decision = Same(Certainty::Proof);
        for (x, y) in a.iter().zip(b) {
            decision = both(decision, self.values(x, y)?);
            if decision == Different {
                break;
            }
        }
        self.rule = Rule::Items;
        Ok(decision)
    }

    /// Equal as collections without order: every item has its own partner.
    pub(super) fn multisets(&mut self, a: &[Value], b: &[Value]) -> Bounded<Decision> {
        let (a, b) = (flattened(a), flattened(b));
        if a.len() != b.len() || a.len() > MAX_UNORDERED {
            return if a.len() == b.len() { self.in_order(&a, &b) } else { Ok(Different) };
        }
        let mut free: Vec<&Value> = b.iter().collect();
        let mut decision = Same(Certainty::Proof);
        for x in &a {
            let mut found = None;
            let mut unknown = false;
            for (k, y) in free.iter().enumerate() {
                match self.values(x, y)? {
                    Same(c) => {
                        found = Some((k, c));
                        break;
                    }
                    Unknown => unknown = true,
                    Different => {}
                }
            }
            self.rule = Rule::Items;
            match found {
                Some((k, c)) => {
                    free.remove(k);
                    decision = both(decision, Same(c));
                }
                None if unknown => decision = both(decision, Unknown),
                None => return Ok(Different),
            }
        }
        Ok(decision)
    }

    pub(super) fn matrices(&mut self, a: &Value, b: &Value) -> Bounded<Decision> {
        let (Value::Matrix { cols: m, items: x }, Value::Matrix { cols: n, items: y }) = (a, b) else {
            return Ok(Different);
        };
        if m != n || x.len() != y.len() {
            self.rule = Rule::Items;
            return Ok(Different);
        }
        let mut decision = Same(Certainty::Proof);
        for (p, q) in x.iter().zip(y) {
            decision = both(decision, self.numbers(*p, *q)?);
            if decision == Different {
                break;
            }
        }
        self.rule = Rule::Items;
        Ok(decision)
    }

    /// A row or column vector against a tuple.
    pub(super) fn vector_and_tuple(&mut self, matrix: &Value, tuple: &Seq) -> Bounded<Decision> {
        let Value::Matrix { cols, items } = matrix else { return Ok(Different) };
        if (*cols != 1 && *cols != items.len()) || tuple.open == b'{' {
            return Ok(Different);
        }
        let items: Vec<Value> = items.iter().map(|e| Value::Expr(*e)).collect();
        let inner = self.in_order(&items, &tuple.items)?;
        Ok(self.grant(inner, Convention::VectorAsTuple))
    }
}

/// Bare lists inside a list are spread into it.
pub(super) fn flattened(items: &[Value]) -> Vec<Value> {
    let mut flat = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::Seq(s) if s.open == 0 => flat.extend(s.items.iter().cloned()),
            Value::Seq(s) if s.open == b'(' => match both_signs(s) {
                Some(two) => flat.extend(two),
                None => flat.push(item.clone()),
            },
            Value::Assign(label, inner) => match inner.as_ref() {
                Value::Seq(s) if s.open == 0 => {
                    flat.extend(s.items.iter().map(|v| Value::Assign(*label, Box::new(v.clone()))));
                }
                _ => flat.push(item.clone()),
            },
            other => flat.push(other.clone()),
        }
    }
    flat
}

/// The two tuples that one with a single plus-or-minus among its items stands for: `(\pm 1, 0)`.
fn both_signs(tuple: &Seq) -> Option<[Value; 2]> {
    let signed = |v: &Value| matches!(v, Value::Seq(s) if s.open == 0 && s.or && s.items.len() == 2);
    let mut at = tuple.items.iter().enumerate().filter(|(_, v)| signed(v)).map(|(k, _)| k);
    let (Some(at), None) = (at.next(), at.next()) else { return None };
    let Value::Seq(signs) = &tuple.items[at] else { return None };
    let with = |sign: &Value| {
        let mut items = tuple.items.clone();
        items[at] = sign.clone();
        Value::Seq(Seq { items, ..tuple.clone() })
    };
    Some([with(&signs.items[0]), with(&signs.items[1])])
}
