//! What the evaluator needs of real interval arithmetic, and its version on doubles.

use crate::rational::Rat;
use std::cmp::Ordering;

/// A closed interval of reals; every operation returns an interval that contains all results.
/// `None` means that the operation is not defined on the whole interval, or overflows.
pub(crate) trait Real: Clone + Sized {
    /// Work units of one multiplication, relative to which the other operations are charged.
    fn cost(like: &Self) -> u32;
    /// An interval around a rational number, as precise as `like`.
    fn rational(like: &Self, value: &Rat) -> Option<Self>;
    fn add(&self, other: &Self) -> Option<Self>;
    fn neg(&self) -> Self;
    fn mul(&self, other: &Self) -> Option<Self>;
    fn div(&self, other: &Self) -> Option<Self>;
    fn sqrt(&self) -> Option<Self>;
    fn exp(&self) -> Option<Self>;
    fn ln(&self) -> Option<Self>;
    fn sin(&self) -> Option<Self>;
    fn cos(&self) -> Option<Self>;
    fn atan(&self) -> Option<Self>;
    fn pi(like: &Self) -> Self;
    /// Sign of all numbers in the interval; `None` if zero is inside and it is not zero itself.
    fn sign(&self) -> Option<Ordering>;
    /// The integer part, if it is the same for the whole interval.
    fn floor(&self) -> Option<i64>;
    /// The integer inside, if the interval is narrow and contains one.
    fn integer(&self) -> Option<i64>;
    fn overlaps(&self, other: &Self) -> bool;
    /// Narrow enough, relative to one or to its own size, for an overlap to mean agreement.
    fn narrow(&self) -> bool;
}

/// An interval of doubles, rounded outward after every operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Doubles {
    pub(crate) lo: f64,
    pub(crate) hi: f64,
}

impl Doubles {
    fn new(lo: f64, hi: f64) -> Option<Doubles> {
        let (lo, hi) = (lo.next_down(), hi.next_up());
        (lo.is_finite() && hi.is_finite()).then_some(Doubles { lo, hi })
    }

    /// Around values of a library function, whose error is taken as at most four units in the last place.
    fn loose(lo: f64, hi: f64) -> Option<Doubles> {
        let slack = |x: f64| x.abs() * 4.0 * f64::EPSILON + f64::MIN_POSITIVE;
        Doubles::new(lo - slack(lo), hi + slack(hi))
    }

    fn around_function(&self, f: fn(f64) -> f64) -> Option<Doubles> {
        // Sine and cosine change no faster than their argument.
        let middle = 0.5 * (self.lo + self.hi);
        if middle.abs() > 1e9 {
            return None;
        }
        let radius = (0.5 * (self.hi - self.lo)).next_up() + middle.abs() * f64::EPSILON;
        let v = f(middle);
        let e = radius + 4.0 * f64::EPSILON;
        Doubles::new((v - e).max(-1.0), (v + e).min(1.0))
    }
}

impl Real for Doubles {
    fn cost(_: &Self) -> u32 {
        1
    }

    fn rational(_: &Self, value: &Rat) -> Option<Self> {
        if let Rat::Small(n, 1) = value
            && n.unsigned_abs() < 1 << 53
        {
            return Some(Doubles { lo: *n as f64, hi: *n as f64 });
        }
        let v = value.to_f64();
        // The quotient of two rounded integers is off by at most three roundings.
        Doubles::loose(v, v)
    }

    fn add(&self, other: &Self) -> Option<Self> {
        Doubles::new(self.lo + other.lo, self.hi + other.hi)
    }

    fn neg(&self) -> Self {
        Doubles { lo: -self.hi, hi: -self.lo }
    }

    fn mul(&self, other: &Self) -> Option<Self> {
        let p = [self.lo * other.lo, self.lo * other.hi, self.hi * other.lo, self.hi * other.hi];
        Doubles::new(
            p.iter().copied().fold(f64::INFINITY, f64::min),
            p.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    }

    fn div(&self, other: &Self) -> Option<Self> {
        if other.lo <= 0.0 && other.hi >= 0.0 {
            return None;
        }
        let p = [self.lo / other.lo, self.lo / other.hi, self.hi / other.lo, self.hi / other.hi];
        Doubles::new(
            p.iter().copied().fold(f64::INFINITY, f64::min),
            p.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    }

    fn sqrt(&self) -> Option<Self> {
        if self.hi < 0.0 { None } else { Doubles::new(self.lo.max(0.0).sqrt(), self.hi.sqrt()) }
    }

    fn exp(&self) -> Option<Self> {
        Doubles::loose(self.lo.exp(), self.hi.exp())
    }

    fn ln(&self) -> Option<Self> {
        if self.lo <= 0.0 { None } else { Doubles::loose(self.lo.ln(), self.hi.ln()) }
    }

    fn sin(&self) -> Option<Self> {
        self.around_function(f64::sin)
    }

    fn cos(&self) -> Option<Self> {
        self.around_function(f64::cos)
    }

    fn atan(&self) -> Option<Self> {
        Doubles::loose(self.lo.atan(), self.hi.atan())
    }

    fn pi(_: &Self) -> Self {
        Doubles { lo: std::f64::consts::PI.next_down(), hi: std::f64::consts::PI.next_up() }
    }

    fn sign(&self) -> Option<Ordering> {
        if self.lo > 0.0 {
            Some(Ordering::Greater)
        } else if self.hi < 0.0 {
            Some(Ordering::Less)
        } else if self.lo == 0.0 && self.hi == 0.0 {
            Some(Ordering::Equal)
        } else {
            None
        }
    }

    fn floor(&self) -> Option<i64> {
        let (a, b) = (self.lo.floor(), self.hi.floor());
        (a == b && a.abs() < 1e15).then_some(a as i64)
    }

    fn integer(&self) -> Option<i64> {
        let n = (0.5 * (self.lo + self.hi)).round();
        (self.hi - self.lo < 1e-6 && self.lo <= n && n <= self.hi && n.abs() < 1e9).then_some(n as i64)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }

    fn narrow(&self) -> bool {
        self.hi - self.lo <= 1e-9 * self.hi.abs().max(self.lo.abs()).max(1.0)
    }
}
