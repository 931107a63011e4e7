//! Evaluation of an expression in complex intervals at a point.

use super::complex::{Complex, hyperbolic};
use super::real::Real;
use crate::expr::{Arena, Node, NodeId};
use crate::literal::Value;
use crate::rational::Rat;
use crate::words::Func;
use crate::work::{Bounded, Stop, Work};
use std::cmp::Ordering;

/// Which pseudo-random point the variables take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Points {
    /// Near and far from zero, on both sides.
    Real(u32),
    /// Positive integers.
    Integer(u32),
}

impl Points {
    fn value(self, symbol: u32) -> Rat {
        // SplitMix64 on symbol and point.
        let (Points::Real(k) | Points::Integer(k)) = self;
        let mut z = (u64::from(symbol) << 32 | u64::from(k)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        match self {
            Points::Integer(k) => Rat::int((z % if k % 2 == 0 { 11 } else { 29 } + 1) as i64),
            Points::Real(k) => {
                // Odd numerators over 1024, between 0.2 and 3.2 or eight times as far out.
                let n = (z % 1536) as i64 * 2 + 205;
                let (far, negative) = match k % 6 {
                    0 => (1, false),
                    1 => (1, true),
                    2 => (8, false),
                    3 => (8, z >> 40 & 1 == 1),
                    4 => (1, z >> 40 & 1 == 1),
                    _ => (8, true),
                };
                Rat::Small(if negative { -n } else { n }, 1024 / far)
            }
        }
    }
}

pub(crate) struct Evaluator<'a, R> {
    pub(crate) arena: &'a Arena,
    /// Precision to work at.
    pub(crate) like: R,
    pub(crate) points: Points,
    pub(crate) minus: bool,
    /// A root or logarithm of a negative number was taken.
    pub(crate) left_reals: bool,
}

type C<R> = Complex<R>;

fn defined<T>(value: Option<T>) -> Bounded<T> {
    value.ok_or(Stop::Inapplicable)
}

/// How many real evaluations one of a function at `x` takes, about.
fn parts<R>(x: &C<R>) -> u32 {
    if x.im.is_some() { 3 } else { 1 }
}

impl<R: Real> Evaluator<'_, R> {
    fn rational(&self, value: &Rat) -> Bounded<C<R>> {
        Ok(Complex::real(defined(R::rational(&self.like, value))?))
    }

    pub(crate) fn eval(&mut self, id: NodeId, work: &mut Work) -> Bounded<C<R>> {
        let cost = R::cost(&self.like);
        let node = self.arena.get(id);
        // A quotient of intervals takes four quotients, and a constant two.
        let divides = matches!(node, Node::Div(..) | Node::Percent(_) | Node::Degree(_));
        work.charge(if divides { 6 } else { 2 } * cost)?;
        let value = match node {
            Node::Num(i) | Node::Based(i, ..) => match &self.arena.literal(i).value {
                Value::Exact(r) => return self.rational(r),
                Value::Huge { .. } => return Err(Stop::Inapplicable),
            },
            Node::Var(s) => return self.rational(&self.points.value(s)),
            Node::Pi => Some(Complex::real(R::pi(&self.like))),
            Node::E => {
                work.charge(30 * cost)?;
                self.rational(&Rat::ONE)?.exp()
            }
            Node::I => {
                let zero = self.rational(&Rat::ZERO)?;
                Some(Complex { re: zero.re, im: Some(self.rational(&Rat::ONE)?.re) })
            }
            Node::Infinity => None,
            Node::Add(a, b) => self.eval(a, work)?.add(&self.eval(b, work)?),
            Node::Mul(a, b) => self.eval(a, work)?.mul(&self.eval(b, work)?),
            Node::Div(a, b) => self.eval(a, work)?.div(&self.eval(b, work)?),
            Node::Neg(a) => Some(self.eval(a, work)?.neg()),
            Node::Sign(plus, a) => {
                let x = self.eval(a, work)?;
                Some(if plus == self.minus { x.neg() } else { x })
            }
            Node::Percent(a) => self.eval(a, work)?.div(&self.rational(&Rat::int(100))?),
            Node::Degree(a) => {
                let turn = Complex::real(R::pi(&self.like)).div(&self.rational(&Rat::int(180))?);
                self.eval(a, work)?.mul(&defined(turn)?)
            }
            Node::Sqrt(a) => {
                let x = self.eval(a, work)?;
                self.note_sign(&x);
                // The root of a complex number takes a logarithm, an exponential, a sine and a cosine.
                work.charge(if x.im.is_some() { 300 } else { 20 } * cost)?;
                x.sqrt()
            }
            Node::Root(n, a) => {
                let (n, x) = (self.eval(n, work)?, self.eval(a, work)?);
                return self.root(&x, &n, work);
            }
            Node::Pow(a, b) => return self.power(a, b, work),
            Node::LogBase(b, a) => {
                let (b, x) = (self.eval(b, work)?, self.eval(a, work)?);
                self.note_sign(&x);
                // Two logarithms.
                work.charge(120 * cost * parts(&x))?;
                defined(x.ln())?.div(&defined(b.ln())?)
            }
            Node::Binom(n, k) => {
                let (n, k) = (self.integer(n, work)?, self.integer(k, work)?);
                return self.binomial(n, k, work);
            }
            Node::Func(f, a) => return self.function(f, a, work),
        };
        defined(value)
    }

    fn note_sign(&mut self, x: &C<R>) {
        if x.im.is_some() || x.re.sign() == Some(Ordering::Less) {
            self.left_reals = true;
        }
    }

    fn integer(&mut self, id: NodeId, work: &mut Work) -> Bounded<i64> {
        let x = self.eval(id, work)?;
        if x.im.is_some() { Err(Stop::Inapplicable) } else { defined(x.re.integer()) }
    }

    fn binomial(&mut self, n: i64, k: i64, work: &mut Work) -> Bounded<C<R>> {
        if !(0..=1000).contains(&n) || k < 0 {
            return Err(Stop::Inapplicable);
        }
        if k > n {
            return self.rational(&Rat::ZERO);
        }
        let k = k.min(n - k);
        let top = crate::rational::falling(n, k, work)?;
        let bottom = crate::rational::falling(k, k, work)?;
        self.rational(&Rat::from_big(top / bottom, 1.into()))
    }

    fn root(&mut self, x: &C<R>, n: &C<R>, work: &mut Work) -> Bounded<C<R>> {
        // A logarithm and an exponential.
        work.charge(120 * R::cost(&self.like) * parts(x))?;
        if x.im.is_none() && x.re.sign() == Some(Ordering::Equal) {
            return self.rational(&Rat::ZERO);
        }
        let odd = n.im.is_none() && n.re.integer().is_some_and(|k| k % 2 != 0);
        let exponent = defined(self.rational(&Rat::ONE)?.div(n))?;
        if odd && x.im.is_none() && x.re.sign() == Some(Ordering::Less) {
            return Ok(defined(x.neg().pow(&exponent))?.neg());
        }
        self.note_sign(x);
        defined(x.pow(&exponent))
    }

    fn power(&mut self, base: NodeId, exponent: NodeId, work: &mut Work) -> Bounded<C<R>> {
        let cost = R::cost(&self.like);
        if self.arena.get(base) == Node::E {
            let x = self.eval(exponent, work)?;
            work.charge(60 * cost * parts(&x))?;
            return defined(x.exp());
        }
        let x = self.eval(base, work)?;
        let y = self.eval(exponent, work)?;
        if y.im.is_none()
            && let Some(n) = y.re.integer()
            && n.unsigned_abs() <= 4096
        {
            work.charge(40 * cost)?;
            if n > 0 && x.im.is_none() && x.re.sign() == Some(Ordering::Equal) {
                return self.rational(&Rat::ZERO);
            }
            return defined(x.powi(n));
        }
        // A rational exponent with an odd denominator has a real value at a negative base.
        if x.im.is_none()
            && x.re.sign() == Some(Ordering::Less)
            && let Ok(Some(Rat::Small(p, q))) = crate::exact::rational(self.arena, exponent, work)
            && q % 2 == 1
        {
            let q = self.rational(&Rat::int(q))?;
            let root = self.root(&x, &q, work)?;
            return defined(root.powi(p));
        }
        work.charge(120 * cost * parts(&x).max(parts(&y)))?;
        self.note_sign(&x);
        defined(x.pow(&y))
    }

    fn function(&mut self, f: Func, a: NodeId, work: &mut Work) -> Bounded<C<R>> {
        use Func::*;
        let cost = R::cost(&self.like);
        if f == Fact {
            let n = self.integer(a, work)?;
            if !(0..=170).contains(&n) {
                return Err(Stop::Inapplicable);
            }
            let product = crate::rational::falling(n, n, work)?;
            return self.rational(&Rat::from_big(product, 1.into()));
        }
        let x = self.eval(a, work)?;
        // Some take two evaluations of another function.
        let evaluations =
            if matches!(f, Tan | Cot | Sinh | Cosh | Tanh | Log | Arcsin | Arccos | Arcsec | Arccsc) {
                2
            } else {
                1
            };
        work.charge(60 * evaluations * cost * parts(&x))?;
        let one = self.rational(&Rat::ONE)?;
        let value = match f {
            Sin => x.sin(),
            Cos => x.cos(),
            Tan => defined(x.sin())?.div(&defined(x.cos())?),
            Cot => defined(x.cos())?.div(&defined(x.sin())?),
            Sec => one.div(&defined(x.cos())?),
            Csc => one.div(&defined(x.sin())?),
            Sinh | Cosh | Tanh => {
                if x.im.is_some() {
                    return Err(Stop::Inapplicable);
                }
                let (cosh, sinh) = defined(hyperbolic(&x.re))?;
                match f {
                    Sinh => Some(Complex::real(sinh)),
                    Cosh => Some(Complex::real(cosh)),
                    _ => sinh.div(&cosh).map(Complex::real),
                }
            }
            Ln => {
                self.note_sign(&x);
                x.ln()
            }
            Log => {
                self.note_sign(&x);
                defined(x.ln())?.div(&defined(self.rational(&Rat::int(10))?.ln())?)
            }
            Exp => x.exp(),
            Abs => x.abs().map(Complex::real),
            Floor | Ceil if x.im.is_none() => {
                let floor = match x.re.integer() {
                    // Exactly an integer, as far as intervals tell.
                    Some(n) => Some(n),
                    None if f == Floor => x.re.floor(),
                    None => x.re.floor().map(|n| n + 1),
                };
                return self.rational(&Rat::int(defined(floor)?));
            }
            Re => Some(Complex::real(x.re)),
            Im => match x.im {
                Some(im) => Some(Complex::real(im)),
                None => return self.rational(&Rat::ZERO),
            },
            Arcsin | Arccos | Arctan | Arccot | Arcsec | Arccsc => return self.inverse_trigonometric(f, &x),
            Floor | Ceil | Fact | Cis => None,
        };
        defined(value)
    }

    fn inverse_trigonometric(&mut self, f: Func, x: &C<R>) -> Bounded<C<R>> {
        use Func::*;
        if x.im.is_some() {
            return Err(Stop::Inapplicable);
        }
        let one = self.rational(&Rat::ONE)?.re;
        let half_pi = defined(R::pi(&self.like).div(&defined(one.add(&one))?))?;
        let x = match f {
            Arcsec | Arccsc => defined(one.div(&x.re))?,
            _ => x.re.clone(),
        };
        // arcsin x = 2 atan(x / (1 + sqrt(1 - x^2)))
        let arcsin = |x: &R| -> Option<R> {
            let root = one.add(&x.mul(x)?.neg())?;
            if root.sign() == Some(Ordering::Less) {
                return None;
            }
            let half = x.div(&one.add(&root.sqrt()?)?)?.atan()?;
            half.add(&half)
        };
        let value = match f {
            Arctan => x.atan(),
            Arccot => x.atan().and_then(|a| half_pi.add(&a.neg())),
            Arcsin | Arccsc => arcsin(&x),
            _ => arcsin(&x).and_then(|a| half_pi.add(&a.neg())),
        };
        defined(value.map(Complex::real))
    }
}
