//! Numbers and expressions: signs of percent, degree and base, then exact and numeric comparison.

use super::{Comparer, Decision, both};
use crate::exact::{self, Exact};
use crate::expr::{Node, NodeId};
use crate::finite;
use crate::literal::{Value as LiteralValue, Written};
use crate::numeric;
use crate::policy::Convention;
use crate::rational::Rat;
use crate::units::Unit;
use crate::value::Ex;
use crate::verdict::{Certainty, Rule};
use crate::work::{Bounded, Stop};
use Decision::{Different, Same, Unknown};

impl Comparer<'_> {
    /// Compares two expressions under the conventions on percent signs, degrees, bases and decimals.
    pub(super) fn numbers(&mut self, a: Ex, b: Ex) -> Bounded<Decision> {
        let (x, y) = (self.arena.get(a.node), self.arena.get(b.node));
        if let (Node::Based(_, d, s), Node::Based(_, e, t)) = (x, y)
            && s == t
        {
            self.rule = Rule::Rational;
            let same = self.arena.literal(d).value == self.arena.literal(e).value;
            return Ok(if same { Same(Certainty::Proof) } else { Different });
        }
        let plain = self.expressions(a, b)?;
        if matches!(plain, Same(_)) {
            return Ok(plain);
        }
        for (ambiguous, other) in [(a, b), (b, a)] {
            if let Some(number) = self.other_reading(ambiguous.node)?
                && let found @ Same(_) = self.expressions(Ex::plain(number), other)?
            {
                return Ok(found);
            }
        }
        for (marked, other) in [(a, b), (b, a)] {
            if let Some(decision) = self.based_and_letters(marked, other)? {
                return Ok(decision);
            }
            if let Some((bare, convention)) = self.without_mark(marked, other)? {
                let decision = self.expressions(Ex { node: bare, ..marked }, other)?;
                return Ok(self.grant(decision, convention));
            }
        }
        Ok(plain)
    }

    /// The number that `5e-2` is where it is no sum: the literal says that the `e` stands tightly behind it.
    fn other_reading(&mut self, node: NodeId) -> Bounded<Option<NodeId>> {
        let Node::Add(product, _) = self.arena.get(node) else { return Ok(None) };
        let (product, negative) = match self.arena.get(product) {
            Node::Neg(inner) => (inner, true),
            _ => (product, false),
        };
        let Node::Mul(number, _) = self.arena.get(product) else { return Ok(None) };
        let Node::Num(i) = self.arena.get(number) else { return Ok(None) };
        let literal = self.arena.literal(i);
        let (true, LiteralValue::Exact(value)) = (literal.written.other_exponent < 0, &literal.value) else {
            return Ok(None);
        };
        let power = Rat::int(10).pow(i64::from(literal.written.other_exponent), self.work)?;
        let value = value.mul(&power, self.work)?;
        let value = if negative { value.neg() } else { value };
        self.arena.number(value).map(Some)
    }

    /// The expression without its percent, degree or base mark, if only this side has one.
    fn without_mark(&mut self, e: Ex, other: Ex) -> Bounded<Option<(NodeId, Convention)>> {
        let (node, negative) = match self.arena.get(e.node) {
            Node::Neg(inner) => (inner, true),
            _ => (e.node, false),
        };
        let other = match self.arena.get(other.node) {
            Node::Neg(inner) => self.arena.get(inner),
            n => n,
        };
        let (inner, convention) = match (self.arena.get(node), other) {
            (Node::Percent(_), Node::Percent(_))
            | (Node::Degree(_), Node::Degree(_))
            | (Node::Based(..), Node::Based(..)) => return Ok(None),
            (Node::Percent(inner), _) => (inner, Convention::PercentOmitted),
            (Node::Degree(inner), _) => (inner, Convention::DegreesOmitted),
            (Node::Based(_, digits, _), _) => (self.arena.push(Node::Num(digits))?, Convention::BaseOmitted),
            _ => return Ok(None),
        };
        let inner = if negative { self.arena.push(Node::Neg(inner))? } else { inner };
        Ok(Some((inner, convention)))
    }

    /// Compares two expressions: same form, rational, infinite, exact, finite field, numeric.
    pub(super) fn expressions(&mut self, a: Ex, b: Ex) -> Bounded<Decision> {
        if a.minus == b.minus && self.arena.same(a.node, b.node, self.work)? {
            self.rule = Rule::SameForm;
            return Ok(Same(Certainty::Proof));
        }
        if let Some(decision) = self.rationals(a, b)? {
            return Ok(decision);
        }
        if let Some(decision) = self.huge(a.node, b.node) {
            return Ok(decision);
        }
        let (p, q) = (self.infinite(a)?, self.infinite(b)?);
        if p.is_some() || q.is_some() {
            self.rule = Rule::SameForm;
            return Ok(if p == q { Same(Certainty::Proof) } else { Different });
        }
        match self.exactly(a, b) {
            Ok(Unknown) | Err(Stop::Inapplicable) => {}
            Ok(decision) => {
                self.rule = Rule::Exact;
                if decision == Different {
                    return self.rounded(a, b);
                }
                return Ok(decision);
            }
            Err(Stop::Budget) if self.work.used() >= self.policy.work => return Err(Stop::Budget),
            Err(Stop::Budget) => {}
        }
        self.by_points(a, b)
    }

    /// Two rational numbers.
    fn rationals(&mut self, a: Ex, b: Ex) -> Bounded<Option<Decision>> {
        let capped = |r: Bounded<Option<Rat>>| match r {
            Ok(v) => Ok(v),
            Err(_) => Ok(None),
        };
        let Some(x) = capped(exact::rational(self.arena, a.node, self.work))? else { return Ok(None) };
        let Some(y) = capped(exact::rational(self.arena, b.node, self.work))? else { return Ok(None) };
        self.rule = Rule::Rational;
        if x == y {
            return Ok(Some(Same(Certainty::Proof)));
        }
        self.rounded(a, b).map(Some)
    }

    /// Integers with too many digits for arithmetic.
    fn huge(&mut self, a: NodeId, b: NodeId) -> Option<Decision> {
        let (Node::Num(i), Node::Num(j)) = (self.arena.get(a), self.arena.get(b)) else { return None };
        self.rule = Rule::Rational;
        match (&self.arena.literal(i).value, &self.arena.literal(j).value) {
            (LiteralValue::Huge { digits: x, .. }, LiteralValue::Huge { digits: y, .. }) => {
                Some(if x == y { Same(Certainty::Proof) } else { Different })
            }
            (LiteralValue::Exact(_), LiteralValue::Exact(_)) => None,
            _ => Some(Different),
        }
    }

    /// Sign of an infinite value: `Some(true)` for minus infinity.
    pub(super) fn infinite(&mut self, e: Ex) -> Bounded<Option<bool>> {
        Ok(match self.arena.get(e.node) {
            Node::Infinity => Some(false),
            Node::Neg(inner) => self.infinite(Ex { node: inner, ..e })?.map(|s| !s),
            Node::Sign(plus, inner) => self.infinite(Ex { node: inner, ..e })?.map(|s| s ^ (plus == e.minus)),
            _ => None,
        })
    }

    fn exactly(&mut self, a: Ex, b: Ex) -> Bounded<Decision> {
        let mut field = Exact::default();
        field.minus = a.minus;
        let x = field.eval(self.arena, a.node, self.work)?;
        field.minus = b.minus;
        let y = field.eval(self.arena, b.node, self.work)?;
        Ok(match (field.equal(&x, &y, self.work)?, field.dependent) {
            (true, _) => Same(Certainty::Proof),
            (false, false) => Different,
            (false, true) => Unknown,
        })
    }

    /// Finite field where it applies, else intervals.
    fn by_points(&mut self, a: Ex, b: Ex) -> Bounded<Decision> {
        match finite::compare(self.arena, a, b, self.work) {
            Ok(decision) => {
                self.rule = Rule::FiniteField;
                return Ok(decision);
            }
            Err(Stop::Budget) if self.work.used() >= self.policy.work => return Err(Stop::Budget),
            Err(_) => {}
        }
        self.rule = Rule::Numeric;
        match numeric::compare(self.arena, a, b, self.work) {
            Ok(Different) => self.rounded(a, b),
            Ok(decision) => Ok(decision),
            Err(Stop::Budget) => Err(Stop::Budget),
            Err(Stop::Inapplicable) => Ok(Unknown),
        }
    }

    /// Whether one side is a decimal that rounds the other.
    fn rounded(&mut self, a: Ex, b: Ex) -> Bounded<Decision> {
        if !self.policy.allows(Convention::DecimalRounded) {
            return Ok(Different);
        }
        let (da, db) = (self.decimal(a.node), self.decimal(b.node));
        let (decimal, exact) = match (da, db) {
            (Some(w), None) => ((a, w), b),
            (None, Some(w)) => ((b, w), a),
            (Some(v), Some(w)) if v.significant < w.significant => ((a, v), b),
            (Some(_), Some(w)) => ((b, w), a),
            _ => return Ok(Different),
        };
        let (decimal, written) = decimal;
        if written.places < self.policy.decimal_places || written.significant + 1 < self.policy.decimal_places
        {
            return Ok(Different);
        }
        // One unit in the last place: correct rounding and truncation both pass.
        let unit = Rat::int(10).pow(i64::from(written.exponent) - i64::from(written.places), self.work)?;
        let Some(value) = exact::rational(self.arena, decimal.node, self.work)? else { return Ok(Different) };
        let near = match exact::rational(self.arena, exact.node, self.work) {
            Ok(Some(y)) => value.add(&y.neg(), self.work)?.abs().order(&unit, self.work)?.is_lt(),
            _ => numeric::within(self.arena, exact, &value, &unit, self.work).unwrap_or(false),
        };
        Ok(if near { self.grant(Same(Certainty::Probable), Convention::DecimalRounded) } else { Different })
    }

    /// How a decimal literal (or its negative) was written.
    fn decimal(&self, node: NodeId) -> Option<Written> {
        match self.arena.get(node) {
            Node::Neg(inner) => self.decimal(inner),
            Node::Num(i) => Some(self.arena.literal(i).written).filter(|w| w.places > 0),
            _ => None,
        }
    }

    /// Numbers with units on both sides: the same dimension, and values equal after conversion.
    pub(super) fn quantities(&mut self, x: Ex, u: &Unit, y: Ex, v: &Unit) -> Bounded<Decision> {
        if u == v {
            return self.numbers(x, y);
        }
        // "Square units" may be any area, and no volume.
        let power = |unit: &Unit| match (unit.measure, unit.dims.as_slice()) {
            (0, [(name, power)]) if name == "m" => *power,
            (measure, _) => measure,
        };
        if u.measure + v.measure > 0 {
            if power(u) != power(v) {
                return Ok(Different);
            }
            let bare = self.numbers(x, y)?;
            return Ok(if u.measure == v.measure { bare } else { self.grant(bare, Convention::UnitOmitted) });
        }
        if u.dims == v.dims {
            let p = self.arena.number(u.factor.clone())?;
            let q = self.arena.number(v.factor.clone())?;
            let left = self.arena.push(Node::Mul(p, x.node))?;
            let right = self.arena.push(Node::Mul(q, y.node))?;
            return self.expressions(Ex { node: left, ..x }, Ex { node: right, ..y });
        }
        // Counted things: the same if they share a word.
        if !u.known && !v.known && u.dims.iter().any(|d| v.dims.contains(d)) {
            let bare = self.numbers(x, y)?;
            return Ok(self.grant(bare, Convention::UnitOmitted));
        }
        self.rule = Rule::Kinds;
        Ok(Different)
    }

    /// Ratios are equal if their terms are proportional.
    pub(super) fn ratios(&mut self, x: &[Ex], y: &[Ex]) -> Bounded<Decision> {
        if x.len() != y.len() {
            return Ok(Different);
        }
        let mut decision = Same(Certainty::Proof);
        for k in 1..x.len() {
            let left = self.arena.push(Node::Mul(x[0].node, y[k].node))?;
            let right = self.arena.push(Node::Mul(y[0].node, x[k].node))?;
            decision = both(decision, self.expressions(Ex::plain(left), Ex::plain(right))?);
        }
        Ok(decision)
    }

    /// Times of day; without a.m. or p.m. on one side the clock face decides.
    pub(super) fn times(&mut self, a: &crate::value::Value, b: &crate::value::Value) -> Bounded<Decision> {
        self.rule = Rule::Text;
        let (Some((m, p)), Some((n, q))) = (self.clock(a)?, self.clock(b)?) else { return Ok(Different) };
        let face = if m % 720 == n % 720 { Same(Certainty::Proof) } else { Different };
        Ok(match (p, q) {
            (Some(s), Some(t)) if s != t => Different,
            (Some(_), Some(_)) => face,
            _ => self.grant(face, Convention::MeridiemOmitted),
        })
    }

    fn clock(&mut self, v: &crate::value::Value) -> Bounded<Option<(i64, Option<bool>)>> {
        use crate::value::Value;
        Ok(match v {
            Value::Time { minutes, pm } => Some((*minutes, *pm)),
            Value::Ratio(sides) if sides.len() == 2 => {
                let h = exact::rational(self.arena, sides[0].node, self.work)?.and_then(|r| r.as_i64());
                let m = exact::rational(self.arena, sides[1].node, self.work)?.and_then(|r| r.as_i64());
                match (h, m) {
                    (Some(h @ 0..=24), Some(m @ 0..60)) => Some((h * 60 + m, None)),
                    _ => None,
                }
            }
            _ => None,
        })
    }
}
