//! Comparison of two values under a policy.

mod holes;
mod letters;
mod numbers;
mod relations;
mod sequences;
mod sets;

use crate::expr::{Arena, Node};
use crate::literal::Value as LiteralValue;
use crate::policy::{Convention, Conventions, Policy};
use crate::rational::Rat;
use crate::value::{EQUALS, Ex, Seq as Sequence, Value};
use crate::verdict::{Certainty, Rule};
use crate::work::{Bounded, Stop, Work};

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Same(Certainty),
    Different,
    /// No method decided within its bounds.
    Unknown,
}

use Decision::{Different, Same};

/// A comparison in progress.
pub(crate) struct Comparer<'a> {
    pub(crate) arena: &'a mut Arena,
    pub(crate) work: &'a mut Work,
    pub(crate) policy: &'a Policy,
    pub(crate) conventions: Conventions,
    pub(crate) rule: Rule,
    /// Some comparison met a cap on size.
    pub(crate) capped: bool,
    nesting: u32,
}

impl<'a> Comparer<'a> {
    pub(crate) fn new(arena: &'a mut Arena, work: &'a mut Work, policy: &'a Policy) -> Comparer<'a> {
        Comparer {
            arena,
            work,
            policy,
            conventions: Conventions::default(),
            rule: Rule::Kinds,
            capped: false,
            nesting: 0,
        }
    }

    /// Grants an equality that rests on a convention, if the policy allows it.
    fn grant(&mut self, decision: Decision, convention: Convention) -> Decision {
        match decision {
            Same(_) if self.policy.allows(convention) => {
                self.conventions.insert(convention);
                decision
            }
            Same(_) => Different,
            other => other,
        }
    }

    /// Compares two values.
    pub(crate) fn values(&mut self, a: &Value, b: &Value) -> Bounded<Decision> {
        self.nesting += 1;
        self.work.charge(4)?;
        if self.nesting > 24 {
            return Err(Stop::Budget);
        }
        let kept = self.conventions;
        let decision = match self.dispatch(a, b) {
            Ok(decision) => decision,
            // A cap on size, with work left: this comparison is undecided, others may decide.
            Err(_) if self.work.used() < self.policy.work => {
                self.capped = true;
                Decision::Unknown
            }
            Err(stop) => return Err(stop),
        };
        if !matches!(decision, Same(_)) {
            self.conventions = kept;
        }
        self.nesting -= 1;
        Ok(decision)
    }

    fn dispatch(&mut self, a: &Value, b: &Value) -> Bounded<Decision> {
        use Value::*;
        match (a, b) {
            (Expr(x), Expr(y)) => match self.numbers(*x, *y)? {
                Same(_) if self.other_order(*x, *y)? => Ok(Different),
                Different => match self.other_constant(*x, *y)? {
                    Different => match self.other_parameter(*x, *y)? {
                        Different => Ok(self.choice_letters(*x, *y)),
                        decided => Ok(decided),
                    },
                    decided => Ok(decided),
                },
                decided => Ok(decided),
            },
            (Nothing, _) | (_, Nothing) => Ok(Decision::Unknown),
            (Choice(..), _) | (_, Choice(..)) => self.choices(a, b),
            (Assign(l, x), Assign(m, y)) => self.assignments(*l, x, *m, y),
            (Assign(l, x), other) | (other, Assign(l, x)) => {
                if let Relation(ops, sides) = other {
                    return self.assignment_as_equation(*l, x, ops, sides);
                }
                let inner = self.values(x, other)?;
                Ok(self.grant(inner, Convention::LabelOmitted))
            }
            (Quantity(x, u), Quantity(y, v)) => self.quantities(*x, u, *y, v),
            (Quantity(x, u), Expr(y)) | (Expr(y), Quantity(x, u)) => self.quantity_and_expression(*x, u, *y),
            (Text(s), Text(t)) | (Unread(s), Unread(t)) | (Text(s), Unread(t)) | (Unread(s), Text(t)) => {
                self.rule = Rule::Text;
                Ok(self.texts(s, t))
            }
            (Text(s), Expr(e)) | (Expr(e), Text(s)) => self.text_and_letters(s, *e),
            (Unread(_), _) | (_, Unread(_)) => Ok(Decision::Unknown),
            (Truth(s), Truth(t)) => {
                self.rule = Rule::Text;
                Ok(if s == t { Same(Certainty::Proof) } else { Different })
            }
            (Truth(s), Text(t)) | (Text(t), Truth(s)) => {
                self.rule = Rule::Text;
                Ok(self.texts(t, if *s { "true" } else { "false" }))
            }
            (Labelled(s, x), Labelled(t, y)) => {
                if s != t && !(s.starts_with(EQUALS) && t.starts_with(EQUALS)) {
                    return Ok(Different);
                }
                if s == "angle"
                    && s == t
                    && let Some(decision) = self.angles(x, y)?
                {
                    return Ok(decision);
                }
                if s == "triangle"
                    && s == t
                    && let (Expr(x), Expr(y)) = (x.as_ref(), y.as_ref())
                {
                    // The vertices of a triangle have no order.
                    return self.numbers(*x, *y);
                }
                let inner = self.values(x, y)?;
                Ok(if s == t { inner } else { self.grant(inner, Convention::LabelOmitted) })
            }
            (Labelled(_, x), other) | (other, Labelled(_, x)) => {
                let inner = self.values(x, other)?;
                Ok(self.grant(inner, Convention::LabelOmitted))
            }
            (Empty, Empty) | (Reals, Reals) => Ok(Same(Certainty::Proof)),
            (Ratio(x), Ratio(y)) => self.ratios(x, y),
            (Time { .. }, Time { .. } | Ratio(_)) | (Ratio(_), Time { .. }) => self.times(a, b),
            (Ratio(x), Expr(e)) | (Expr(e), Ratio(x)) if x.len() == 2 => {
                let quotient = self.arena.push(Node::Div(x[0].node, x[1].node))?;
                let inner = self.numbers(Ex::plain(quotient), *e)?;
                Ok(self.grant(inner, Convention::RatioAsQuotient))
            }
            (Matrix { .. }, Matrix { .. }) => self.matrices(a, b),
            (Relation(o, x), Relation(p, y)) => self.relations(o, x, p, y),
            (Relation(ops, sides), Expr(e)) | (Expr(e), Relation(ops, sides)) => {
                self.identity(ops, sides, *e)
            }
            _ => self.structures(a, b),
        }
    }

    /// Sequences, sets, intervals, matrices, in any pairing.
    fn structures(&mut self, a: &Value, b: &Value) -> Bounded<Decision> {
        use Value::*;
        if let (Seq(s), Seq(t)) = (a, b) {
            if (relational(s) || relational(t))
                && let Some(decision) = self.as_real_sets(a, b)?
            {
                return Ok(decision);
            }
            return self.sequences(s, t);
        }
        if let Some(decision) = self.as_real_sets(a, b)? {
            return Ok(decision);
        }
        if let (vector, Expr(sum)) | (Expr(sum), vector) = (a, b)
            && let Some(components) = Comparer::components(vector)
        {
            // A column written as a binomial coefficient is.
            if let (Node::Binom(x, y), [p, q], Matrix { cols: 1, .. }) =
                (self.arena.get(sum.node), components.as_slice(), vector)
            {
                return Ok(both(self.numbers(*p, Ex::plain(x))?, self.numbers(*q, Ex::plain(y))?));
            }
            return self.base_vectors(&components, *sum);
        }
        match (a, b) {
            (Seq(s), Matrix { .. }) => self.vector_and_tuple(b, s),
            (Matrix { .. }, Seq(s)) => self.vector_and_tuple(a, s),
            (Seq(s), other) | (other, Seq(s))
                if s.open == 0 && s.or && !matches!(other, Seq(_) | Union(_)) =>
            {
                // The same answer written twice: "1/2 or 0.5".
                let mut decision = Same(Certainty::Proof);
                for item in &s.items {
                    decision = both(decision, self.values(item, other)?);
                }
                Ok(decision)
            }
            (Seq(s), word @ (Text(_) | Expr(_))) | (word @ (Text(_) | Expr(_)), Seq(s))
                if s.open == 0 && s.items.iter().all(|v| matches!(v, Choice(_, None))) =>
            {
                self.choices_as_word(s, word)
            }
            (Seq(s), Text(t)) | (Text(t), Seq(s)) if s.open == 0 && !s.or => {
                let words = s.items.iter().map(|v| if let Text(w) = v { Some(w.as_str()) } else { None });
                let joined: Option<Vec<&str>> = words.collect();
                self.rule = Rule::Text;
                Ok(joined.map_or(Different, |w| self.texts(&w.join(" "), t)))
            }
            (Seq(s), Expr(e)) | (Expr(e), Seq(s)) if s.items.len() > 1 && matches!(s.open, 0 | b'{') => {
                match self.split_at_commas(*e)? {
                    Some(items) => self.sequences(s, &Sequence { open: 0, close: 0, or: false, items }),
                    None => Ok(Different),
                }
            }
            // The set that holds the empty set is not empty.
            (Seq(s), other) | (other, Seq(s))
                if s.items.len() == 1 && s.open == b'{' && !matches!(other, Empty) =>
            {
                let inner = self.values(&s.items[0], other)?;
                Ok(self.grant(inner, Convention::SingletonAsElement))
            }
            (Union(x), Union(y)) => self.multisets(x, y),
            (Without(x, p), Without(y, q)) => Ok(both(self.values(x, y)?, self.values(p, q)?)),
            _ => Ok(Different),
        }
    }

    /// A number such as `48,384`, read as a list instead.
    fn split_at_commas(&mut self, e: Ex) -> Bounded<Option<Vec<Value>>> {
        let Node::Num(i) = self.arena.get(e.node) else { return Ok(None) };
        let literal = self.arena.literal(i);
        let (true, LiteralValue::Exact(r)) = (literal.written.commas, &literal.value) else {
            return Ok(None);
        };
        let mut rest = match r.as_i64() {
            Some(n) => n,
            None => return Ok(None),
        };
        let mut items = Vec::new();
        while rest > 0 {
            let group = rest % 1000;
            rest /= 1000;
            if group < 100 && rest > 0 {
                return Ok(None);
            }
            let node = self.arena.number(Rat::int(group))?;
            items.push(Value::Expr(Ex::plain(node)));
        }
        items.reverse();
        Ok(Some(items))
    }

    fn choices(&mut self, a: &Value, b: &Value) -> Bounded<Decision> {
        self.rule = Rule::Text;
        match (a, b) {
            (Value::Choice(c, x), Value::Choice(d, y)) => {
                let same_letter = c.eq_ignore_ascii_case(d);
                if !same_letter {
                    return Ok(Different);
                }
                match (x, y) {
                    (None, None) => Ok(Same(Certainty::Proof)),
                    (Some(x), Some(y)) => self.values(x, y),
                    _ => Ok(self.grant(Same(Certainty::Proof), Convention::ChoiceContent)),
                }
            }
            (Value::Choice(c, content), other) | (other, Value::Choice(c, content)) => {
                if let Some(letter) = self.single_letter(other) {
                    let same = letter == *c
                        || (letter.eq_ignore_ascii_case(c) && self.policy.allows(Convention::TextCase));
                    return Ok(if !same {
                        Different
                    } else if content.is_some() {
                        self.grant(Same(Certainty::Proof), Convention::ChoiceContent)
                    } else {
                        Same(Certainty::Proof)
                    });
                }
                match content {
                    Some(content) => {
                        let inner = self.values(content, other)?;
                        Ok(self.grant(inner, Convention::ChoiceContent))
                    }
                    None => Ok(Different),
                }
            }
            _ => Ok(Different),
        }
    }

    /// Two letters of choices without brackets, `B` and `b`; `E` and `e` are not, for `e` is a number.
    fn choice_letters(&mut self, a: Ex, b: Ex) -> Decision {
        let letter = |e: Ex| match self.arena.get(e.node) {
            Node::Var(s) => {
                crate::symbols::latin(s).filter(|l| matches!(l.to_ascii_uppercase(), b'A'..=b'D'))
            }
            _ => None,
        };
        match (letter(a), letter(b)) {
            (Some(x), Some(y)) if x.eq_ignore_ascii_case(&y) => {
                self.grant(Same(Certainty::Proof), Convention::TextCase)
            }
            _ => Different,
        }
    }

    /// The letter if a value is a single variable.
    fn single_letter(&self, v: &Value) -> Option<u8> {
        match v {
            Value::Expr(e) => match self.arena.get(e.node) {
                Node::Var(s) => crate::symbols::latin(s),
                Node::E => Some(b'e'),
                _ => None,
            },
            Value::Text(s) if s.len() == 1 => Some(s.as_bytes()[0]),
            _ => None,
        }
    }
}

/// Whether the items are relations, with single values of their variable perhaps.
fn relational(s: &Sequence) -> bool {
    let relation = |v: &Value| matches!(v, Value::Relation(..));
    s.items.iter().any(relation) && s.items.iter().all(|v| relation(v) || matches!(v, Value::Assign(..)))
}

/// Both must hold: the weaker certainty, or the first failure.
pub(crate) fn both(a: Decision, b: Decision) -> Decision {
    match (a, b) {
        (Different, _) | (_, Different) => Different,
        (Decision::Unknown, _) | (_, Decision::Unknown) => Decision::Unknown,
        (Same(Certainty::Proof), Same(Certainty::Proof)) => Same(Certainty::Proof),
        _ => Same(Certainty::Probable),
    }
}
