//! Exact values: rational functions over the rationals with square roots, the imaginary unit, pi, e and variables.
//!
//! Square roots of distinct primes and the imaginary unit are independent over the rationals, so a reduced
//! polynomial in them is zero only if all its coefficients are: equality and inequality are both proved. Functions
//! outside this field (a logarithm, a cube root) become generators known by their argument: equality is still
//! proved, inequality is not.

mod functions;
pub(crate) mod poly;
mod surds;

use crate::expr::{Arena, Node, NodeId};
use crate::literal::Value;
use crate::rational::Rat;
use crate::words::Func;
use crate::work::{Bounded, Stop, Work};
use poly::{MAX_GENERATORS, Poly};

/// A quotient of polynomials; the denominator is not zero.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quotient {
    pub(crate) num: Poly,
    pub(crate) den: Poly,
}

/// What a generator stands for.
#[derive(Debug, Clone, PartialEq)]
enum Generator {
    Var(u32),
    Pi,
    E,
    I,
    /// Square root of a prime (or of a cofactor without small square factors).
    Root(u64),
    /// A function outside the field, known by its name and arguments.
    Opaque(Opaque, Vec<Quotient>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opaque {
    Sqrt,
    Root,
    Pow,
    LogBase,
    Binom,
    Func(Func),
}

/// Evaluates expressions to quotients over a shared list of generators.
#[derive(Debug, Default)]
pub(crate) struct Exact {
    generators: Vec<Generator>,
    squares: Vec<Option<Poly>>,
    /// Some generator may depend on others, so that unequal quotients may be equal numbers.
    pub(crate) dependent: bool,
    /// Sign that plus-or-minus stands for.
    pub(crate) minus: bool,
}

/// The value of a purely rational expression, without polynomials. `None` if it is not rational.
pub(crate) fn rational(arena: &Arena, id: NodeId, work: &mut Work) -> Bounded<Option<Rat>> {
    work.charge(1)?;
    let two = |a, b, work: &mut Work| -> Bounded<Option<(Rat, Rat)>> {
        let Some(x) = rational(arena, a, work)? else { return Ok(None) };
        let Some(y) = rational(arena, b, work)? else { return Ok(None) };
        Ok(Some((x, y)))
    };
    Ok(match arena.get(id) {
        Node::Num(i) | Node::Based(i, ..) => match &arena.literal(i).value {
            Value::Exact(r) => Some(r.clone()),
            Value::Huge { .. } => None,
        },
        Node::Neg(a) => rational(arena, a, work)?.map(|r| r.neg()),
        Node::Percent(a) => match rational(arena, a, work)? {
            Some(r) => Some(r.div(&Rat::int(100), work)?),
            None => None,
        },
        Node::Add(a, b) => match two(a, b, work)? {
            Some((x, y)) => Some(x.add(&y, work)?),
            None => None,
        },
        Node::Mul(a, b) => match two(a, b, work)? {
            Some((x, y)) => Some(x.mul(&y, work)?),
            None => None,
        },
        Node::Div(a, b) => match two(a, b, work)? {
            Some((x, y)) if !y.is_zero() => Some(x.div(&y, work)?),
            _ => None,
        },
        Node::Pow(a, b) => match two(a, b, work)? {
            Some((x, y)) => match y.as_i64() {
                Some(n) if !(x.is_zero() && n <= 0) => Some(x.pow(n, work)?),
                _ => None,
            },
            None => None,
        },
        _ => None,
    })
}

impl Exact {
    fn intern(&mut self, generator: Generator, square: Option<Poly>) -> Bounded<Poly> {
        if let Some(i) = self.generators.iter().position(|g| *g == generator) {
            return Ok(Poly::generator(i));
        }
        if self.generators.len() >= MAX_GENERATORS {
            return Err(Stop::Budget);
        }
        if matches!(generator, Generator::Opaque(..)) {
            self.dependent = true;
        }
        let other = match generator {
            Generator::Pi => Some(Generator::E),
            Generator::E => Some(Generator::Pi),
            _ => None,
        };
        // Whether e and pi are algebraically independent is not known.
        if other.is_some_and(|o| self.generators.contains(&o)) {
            self.dependent = true;
        }
        self.generators.push(generator);
        self.squares.push(square);
        Ok(Poly::generator(self.generators.len() - 1))
    }

    fn opaque(&mut self, kind: Opaque, arguments: Vec<Quotient>, work: &mut Work) -> Bounded<Quotient> {
        for i in 0..self.generators.len() {
            let Generator::Opaque(k, known) = &self.generators[i] else { continue };
            if *k != kind || known.len() != arguments.len() {
                continue;
            }
            let known = known.clone();
            let mut same = true;
            for (a, b) in known.iter().zip(&arguments) {
                same = same && self.equal(a, b, work)?;
            }
            if same {
                return Ok(whole(Poly::generator(i)));
            }
        }
        let square = match (kind, arguments.first()) {
            (Opaque::Sqrt, Some(q)) if q.den.is_one() => Some(q.num.clone()),
            _ => None,
        };
        Ok(whole(self.intern(Generator::Opaque(kind, arguments), square)?))
    }

    /// Value of an expression.
    pub(crate) fn eval(&mut self, arena: &Arena, id: NodeId, work: &mut Work) -> Bounded<Quotient> {
        work.charge(2)?;
        match arena.get(id) {
            Node::Num(i) | Node::Based(i, ..) => match &arena.literal(i).value {
                Value::Exact(r) => Ok(constant(r.clone())),
                Value::Huge { .. } => Err(Stop::Budget),
            },
            Node::Var(s) => Ok(whole(self.intern(Generator::Var(s), None)?)),
            Node::Pi => Ok(whole(self.intern(Generator::Pi, None)?)),
            Node::E => Ok(whole(self.intern(Generator::E, None)?)),
            Node::I => self.imaginary(),
            Node::Infinity => Err(Stop::Inapplicable),
            Node::Add(a, b) => {
                let (x, y) = (self.eval(arena, a, work)?, self.eval(arena, b, work)?);
                self.add(&x, &y, work)
            }
            Node::Mul(a, b) => {
                let (x, y) = (self.eval(arena, a, work)?, self.eval(arena, b, work)?);
                self.mul(&x, &y, work)
            }
            Node::Div(a, b) => {
                let (x, y) = (self.eval(arena, a, work)?, self.eval(arena, b, work)?);
                self.mul(&x, &inverse(y)?, work)
            }
            Node::Neg(a) => {
                let x = self.eval(arena, a, work)?;
                Ok(Quotient { num: x.num.neg(), den: x.den })
            }
            Node::Sign(plus, a) => {
                let x = self.eval(arena, a, work)?;
                Ok(if plus == self.minus { Quotient { num: x.num.neg(), den: x.den } } else { x })
            }
            Node::Percent(a) => {
                let x = self.eval(arena, a, work)?;
                self.mul(&x, &constant(Rat::Small(1, 100)), work)
            }
            Node::Degree(a) => {
                let x = self.eval(arena, a, work)?;
                let pi = whole(self.intern(Generator::Pi, None)?);
                let turn = self.mul(&pi, &constant(Rat::Small(1, 180)), work)?;
                self.mul(&x, &turn, work)
            }
            Node::Sqrt(a) => {
                let x = self.eval(arena, a, work)?;
                self.sqrt(x, work)
            }
            Node::Root(n, a) => {
                let n = self.eval(arena, n, work)?;
                let x = self.eval(arena, a, work)?;
                self.root(n, x, work)
            }
            Node::Pow(a, b) => {
                let exponent = self.eval(arena, b, work)?;
                let base = self.eval(arena, a, work)?;
                self.power(base, exponent, work)
            }
            Node::Func(f, a) => {
                let x = self.eval(arena, a, work)?;
                self.function(f, x, work)
            }
            Node::LogBase(b, a) => {
                let b = self.eval(arena, b, work)?;
                let x = self.eval(arena, a, work)?;
                self.logarithm(b, x, work)
            }
            Node::Binom(n, k) => {
                let n = self.eval(arena, n, work)?;
                let k = self.eval(arena, k, work)?;
                self.binomial(n, k, work)
            }
        }
    }

    fn add(&self, x: &Quotient, y: &Quotient, work: &mut Work) -> Bounded<Quotient> {
        if x.den == y.den {
            return Ok(Quotient { num: x.num.add(&y.num, work)?, den: x.den.clone() });
        }
        let s = &self.squares;
        let num = x.num.mul(&y.den, s, work)?.add(&y.num.mul(&x.den, s, work)?, work)?;
        Ok(Quotient { num, den: x.den.mul(&y.den, s, work)? })
    }

    fn mul(&self, x: &Quotient, y: &Quotient, work: &mut Work) -> Bounded<Quotient> {
        let num = x.num.mul(&y.num, &self.squares, work)?;
        Ok(Quotient { num, den: x.den.mul(&y.den, &self.squares, work)? })
    }

    /// Whether two quotients are the same element.
    pub(crate) fn equal(&self, x: &Quotient, y: &Quotient, work: &mut Work) -> Bounded<bool> {
        if x.den == y.den {
            return Ok(x.num == y.num);
        }
        Ok(x.num.mul(&y.den, &self.squares, work)? == y.num.mul(&x.den, &self.squares, work)?)
    }

    /// Whether the numerators are equal up to a constant factor, and the sign of the factor if it is rational.
    pub(crate) fn proportional(&self, x: &Poly, y: &Poly, work: &mut Work) -> Bounded<Option<Factor>> {
        if x.is_zero() || y.is_zero() {
            return Ok((x.is_zero() && y.is_zero()).then_some(Factor::Positive));
        }
        let (p, q) = (self.leading(x), self.leading(y));
        let same = x.mul(&q, &self.squares, work)? == y.mul(&p, &self.squares, work)?;
        if !same {
            return Ok(None);
        }
        Ok(Some(match (p.as_rational(), q.as_rational()) {
            (Some(a), Some(b)) if a.is_negative() == b.is_negative() => Factor::Positive,
            (Some(_), Some(_)) => Factor::Negative,
            _ => Factor::Unknown,
        }))
    }

    /// Coefficient (a polynomial in the constants) of the greatest monomial in the variables.
    fn leading(&self, p: &Poly) -> Poly {
        let mut mask = 0u64;
        for (i, g) in self.generators.iter().enumerate() {
            if matches!(g, Generator::Var(_) | Generator::Opaque(..)) {
                mask |= 0xffu64 << (8 * i);
            }
        }
        let top = p.0.iter().map(|t| t.0 & mask).max().unwrap_or(0);
        Poly(p.0.iter().filter(|t| t.0 & mask == top).map(|t| (t.0 & !mask, t.1.clone())).collect())
    }
}

/// The factor between two proportional polynomials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factor {
    Positive,
    Negative,
    Unknown,
}

impl Quotient {
    pub(crate) fn as_rational(&self, work: &mut Work) -> Bounded<Option<Rat>> {
        match (self.num.as_rational(), self.den.as_rational()) {
            (Some(n), Some(d)) => Ok(Some(n.div(&d, work)?)),
            _ => Ok(None),
        }
    }
}

pub(crate) fn constant(value: Rat) -> Quotient {
    whole(Poly::constant(value))
}

fn whole(num: Poly) -> Quotient {
    Quotient { num, den: Poly::constant(Rat::ONE) }
}

/// One over the quotient; not applicable to zero.
fn inverse(x: Quotient) -> Bounded<Quotient> {
    if x.num.is_zero() { Err(Stop::Inapplicable) } else { Ok(Quotient { num: x.den, den: x.num }) }
}
