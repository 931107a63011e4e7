//! Equations, inequalities and assignments.

use super::{Comparer, Decision};
use crate::exact::poly::Poly;
use crate::exact::{Exact, Factor};
use crate::expr::{Node, mirrored};
use crate::lex::Rel;
use crate::policy::Convention;
use crate::symbols;
use crate::value::{Ex, Value};
use crate::verdict::{Certainty, Rule};
use crate::words::Func;
use crate::work::{Bounded, Stop};
use Decision::{Different, Same, Unknown};

impl Comparer<'_> {
    pub(super) fn assignments(&mut self, l: Ex, x: &Value, m: Ex, y: &Value) -> Bounded<Decision> {
        let inner = self.values(x, y)?;
        let (l, m) = (self.without_bars(l), self.without_bars(m));
        let same_label = self.arena.same(l.node, m.node, self.work)?;
        if same_label {
            return Ok(inner);
        }
        let derivatives = self.is_derivative(l) && self.is_derivative(m);
        if matches!(inner, Same(_)) && (derivatives || self.name_one_function(l, m)) {
            return Ok(self.grant(inner, Convention::LabelOmitted));
        }
        if matches!(inner, Same(_)) && self.numbered_solution(l, m) {
            return Ok(self.grant(inner, Convention::LabelOmitted));
        }
        if let found @ Same(_) = self.other_argument(l, x, m, y)? {
            return Ok(found);
        }
        // Variables can be solved for one another; values of functions and names of lengths cannot.
        let variables = self.is_product_of_variables(l) && self.is_product_of_variables(m);
        match (x, y) {
            (Value::Expr(x), Value::Expr(y)) if variables => {
                self.relations(&[Rel::Eq], &[l, *x], &[Rel::Eq], &[m, *y])
            }
            _ => Ok(Different),
        }
    }

    /// The name of a length without the bars around it: `|AB|` is `AB`.
    fn without_bars(&self, e: Ex) -> Ex {
        let Node::Func(Func::Abs, node) = self.arena.get(e.node) else { return e };
        let Node::Mul(a, b) = self.arena.get(node) else { return e };
        let point = |n| match self.arena.get(n) {
            Node::Var(s) => symbols::latin(s).is_some_and(|l| l.is_ascii_uppercase()),
            _ => false,
        };
        if point(a) && point(b) { Ex { node, ..e } } else { e }
    }

    fn is_product_of_variables(&self, e: Ex) -> bool {
        match self.arena.get(e.node) {
            Node::Var(_) => true,
            Node::Mul(a, b) => {
                let factor = |node| self.is_product_of_variables(Ex { node, ..e });
                factor(a) && factor(b)
            }
            _ => false,
        }
    }

    /// Whether one label is a letter and the other the same letter with the number of a solution: `x` and `x_1`.
    fn numbered_solution(&self, l: Ex, m: Ex) -> bool {
        let (Node::Var(s), Node::Var(t)) = (self.arena.get(l.node), self.arena.get(m.node)) else {
            return false;
        };
        [(s, t), (t, s)].into_iter().any(|(letter, numbered)| {
            symbols::latin(letter).is_some()
                && (b'1'..=b'9').any(|number| symbols::named(letter, &[number]) == numbered)
        })
    }

    /// Whether one label is `y` and the other the name of a function, such as `f(x)`.
    fn name_one_function(&self, l: Ex, m: Ex) -> bool {
        let is_y = |e: Ex| self.arena.get(e.node) == Node::Var(u32::from(b'y'));
        let is_function = |e: Ex| match self.arena.get(e.node) {
            Node::Mul(f, x) => {
                matches!((self.arena.get(f), self.arena.get(x)), (Node::Var(_) | Node::Pow(..), Node::Var(_)))
            }
            _ => false,
        };
        (is_y(l) && is_function(m)) || (is_function(l) && is_y(m))
    }

    /// Whether a label is the first derivative of `y` with respect to `x`: `y'`, `f'(x)`, `\frac{dy}{dx}`.
    fn is_derivative(&self, e: Ex) -> bool {
        let var = |id, name: u32| self.arena.get(id) == Node::Var(name);
        let letter = |l: u8| u32::from(l);
        let primed =
            |id| var(id, symbols::named(letter(b'y'), b"'")) || var(id, symbols::named(letter(b'f'), b"'"));
        let differential = |id, of: u8| match self.arena.get(id) {
            Node::Mul(d, x) => var(d, letter(b'd')) && var(x, letter(of)),
            _ => false,
        };
        match self.arena.get(e.node) {
            Node::Var(_) => primed(e.node),
            Node::Mul(f, x) => primed(f) && var(x, letter(b'x')),
            Node::Div(a, b) => differential(a, b'y') && differential(b, b'x'),
            _ => false,
        }
    }

    pub(super) fn assignment_as_equation(
        &mut self,
        label: Ex,
        value: &Value,
        ops: &[Rel],
        sides: &[Ex],
    ) -> Bounded<Decision> {
        match value {
            Value::Expr(e) => self.relations(&[Rel::Eq], &[label, *e], ops, sides),
            _ => Ok(Different),
        }
    }

    /// An identity says what its sides are worth: `\binom{n}{2} = \frac{n(n-1)}{2}` against either side.
    pub(super) fn identity(&mut self, ops: &[Rel], sides: &[Ex], e: Ex) -> Bounded<Decision> {
        if ops.iter().any(|o| *o != Rel::Eq) {
            return Ok(Different);
        }
        for pair in sides.windows(2) {
            if !matches!(self.expressions(pair[0], pair[1])?, Same(_)) {
                return Ok(Different);
            }
        }
        let inner = self.numbers(sides[0], e)?;
        Ok(self.grant(inner, Convention::LabelOmitted))
    }

    /// Relations are equal if their sides are, or if left minus right is the same up to a factor.
    pub(super) fn relations(&mut self, o: &[Rel], x: &[Ex], p: &[Rel], y: &[Ex]) -> Bounded<Decision> {
        if o.len() != p.len() {
            return Ok(Different);
        }
        for flip in [false, true] {
            let matching = (0..o.len()).all(|k| {
                let other = if flip { mirrored(p[p.len() - 1 - k]) } else { p[k] };
                o[k] == other
            });
            if !matching {
                continue;
            }
            let mut same = true;
            for k in 0..x.len() {
                let other = if flip { y[y.len() - 1 - k] } else { y[k] };
                if !matches!(self.expressions(x[k], other)?, Same(_)) {
                    same = false;
                    break;
                }
            }
            if same {
                self.rule = Rule::Items;
                return Ok(Same(Certainty::Proof));
            }
        }
        if o.len() != 1 {
            return Ok(Different);
        }
        self.rule = Rule::Proportional;
        match self.proportional(o[0], x, p[0], y) {
            Err(Stop::Inapplicable) => Ok(Different),
            other => other,
        }
    }

    fn proportional(&mut self, o: Rel, x: &[Ex], p: Rel, y: &[Ex]) -> Bounded<Decision> {
        let difference = |s: &mut Self, sides: &[Ex]| -> Bounded<u32> {
            let right = s.arena.push(Node::Neg(sides[1].node))?;
            s.arena.push(Node::Add(sides[0].node, right))
        };
        let (left, right) = (difference(self, x)?, difference(self, y)?);
        let mut field = Exact::default();
        let a = field.eval(self.arena, left, self.work)?;
        let b = field.eval(self.arena, right, self.work)?;
        let factor = field.proportional(&a.num, &b.num, self.work)?;
        let decision = match (factor, o == p, o == mirrored(p)) {
            (None, _, _) if field.dependent => Unknown,
            (None, _, _) => Different,
            (Some(_), true, true) => Same(Certainty::Proof),
            (Some(Factor::Positive), true, _) | (Some(Factor::Negative), _, true) => {
                // An inequality may not be multiplied by a denominator of unknown sign.
                let positive = |p: &Poly| p.as_rational().is_some_and(|r| !r.is_negative());
                if a.den == b.den || (positive(&a.den) && positive(&b.den)) {
                    Same(Certainty::Proof)
                } else {
                    Unknown
                }
            }
            (Some(Factor::Unknown), _, _) => Unknown,
            _ => Different,
        };
        Ok(decision)
    }
}
