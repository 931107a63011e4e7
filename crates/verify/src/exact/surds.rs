//! Square roots, higher roots and special angles in the exact field.

use super::{Exact, Generator, Opaque, Quotient, constant, inverse, whole};
use crate::exact::poly::Poly;
use crate::rational::{Rat, exact_sqrt};
use crate::words::Func;
use crate::work::{Bounded, Stop, Work};
use num_traits::ToPrimitive;

/// Trial division goes up to this prime.
const TRIAL: u64 = 1 << 11;

impl Exact {
    pub(super) fn imaginary(&mut self) -> Bounded<Quotient> {
        Ok(whole(self.intern(Generator::I, Some(Poly::constant(Rat::int(-1))))?))
    }

    /// Square root: of a rational number as a product of roots of primes, of anything else opaque.
    pub(super) fn sqrt(&mut self, x: Quotient, work: &mut Work) -> Bounded<Quotient> {
        let Some(r) = x.as_rational(work)? else {
            return self.opaque(Opaque::Sqrt, vec![x], work);
        };
        if r.is_zero() {
            return Ok(constant(Rat::ZERO));
        }
        let root = self.sqrt_positive(&r.abs(), work)?;
        if r.is_negative() {
            let i = self.imaginary()?;
            return self.mul(&root, &i, work);
        }
        Ok(root)
    }

    fn sqrt_positive(&mut self, r: &Rat, work: &mut Work) -> Bounded<Quotient> {
        let (n, d) = (r.num(), r.den());
        if let (Some(a), Some(b)) = (exact_sqrt(&n, work)?, exact_sqrt(&d, work)?) {
            return Ok(constant(Rat::from_big(a, b)));
        }
        // sqrt(n/d) = sqrt(n d) / d
        let Some(mut left) = (n * &d).to_u64() else { return Err(Stop::Budget) };
        let mut outside = 1i64;
        let mut result = constant(Rat::ONE);
        let mut prime = 2u64;
        while prime < TRIAL && prime * prime <= left {
            work.charge(1)?;
            let mut power = 0;
            while left.is_multiple_of(prime) {
                left /= prime;
                power += 1;
            }
            for _ in 0..power / 2 {
                outside = outside.checked_mul(prime as i64).ok_or(Stop::Budget)?;
            }
            if power % 2 == 1 {
                let g = self.prime_root(prime)?;
                result = self.mul(&result, &g, work)?;
            }
            prime += if prime == 2 { 1 } else { 2 };
        }
        if left > 1 {
            let root = left.isqrt();
            if root * root == left {
                outside = outside.checked_mul(root as i64).ok_or(Stop::Budget)?;
            } else {
                // Beyond the trial bound the cofactor may be composite: its root may then depend on other roots.
                if left > TRIAL * TRIAL {
                    self.dependent = true;
                }
                let g = self.prime_root(left)?;
                result = self.mul(&result, &g, work)?;
            }
        }
        let scale = Rat::int(outside).div(&Rat::from_big(d, 1.into()), work)?;
        self.mul(&result, &constant(scale), work)
    }

    fn prime_root(&mut self, prime: u64) -> Bounded<Quotient> {
        let square = Poly::constant(Rat::int(i64::try_from(prime).map_err(|_| Stop::Budget)?));
        Ok(whole(self.intern(Generator::Root(prime), Some(square))?))
    }

    /// The `n`-th root.
    pub(super) fn root(&mut self, n: Quotient, x: Quotient, work: &mut Work) -> Bounded<Quotient> {
        let index = n.as_rational(work)?.and_then(|r| r.as_i64());
        let Some(index) = index else { return self.opaque(Opaque::Root, vec![n, x], work) };
        if index < 0 {
            let root = self.root(constant(Rat::int(-index)), x, work)?;
            return inverse(root);
        }
        match index {
            0 => return Err(Stop::Inapplicable),
            1 => return Ok(x),
            2 => return self.sqrt(x, work),
            _ => {}
        }
        if let Some(r) = x.as_rational(work)?
            && let Some(root) = rational_root(&r, index, work)?
        {
            return Ok(constant(root));
        }
        self.opaque(Opaque::Root, vec![constant(Rat::int(index)), x], work)
    }

    /// Sine, cosine and the like of a multiple of fifteen degrees.
    pub(super) fn special_angle(
        &mut self,
        f: Func,
        x: &Quotient,
        work: &mut Work,
    ) -> Bounded<Option<Quotient>> {
        if !matches!(f, Func::Sin | Func::Cos | Func::Tan | Func::Cot | Func::Sec | Func::Csc) {
            return Ok(None);
        }
        let Some(turns) = self.multiple_of_pi(x, work)? else { return Ok(None) };
        let twelfths = turns.mul(&Rat::int(12), work)?;
        let Some(k) = twelfths.as_i64() else { return Ok(None) };
        let k = k.rem_euclid(24);
        let sin = self.sine(k, work)?;
        let cos = self.sine((k + 6) % 24, work)?;
        let value = match f {
            Func::Sin => sin,
            Func::Cos => cos,
            Func::Tan => self.mul(&sin, &inverse(cos)?, work)?,
            Func::Cot => self.mul(&cos, &inverse(sin)?, work)?,
            Func::Sec => inverse(cos)?,
            _ => inverse(sin)?,
        };
        Ok(Some(value))
    }

    /// `x / pi` if that is rational.
    fn multiple_of_pi(&mut self, x: &Quotient, work: &mut Work) -> Bounded<Option<Rat>> {
        if x.num.is_zero() {
            return Ok(Some(Rat::ZERO));
        }
        let Some(pi) = self.generators.iter().position(|g| *g == Generator::Pi) else { return Ok(None) };
        match (x.num.0.as_slice(), x.den.as_rational()) {
            ([(m, c)], Some(d)) if *m == 1u64 << (8 * pi) => Ok(Some(c.div(&d, work)?)),
            _ => Ok(None),
        }
    }

    /// Sine of `k` times fifteen degrees, `0 <= k < 24`.
    fn sine(&mut self, k: i64, work: &mut Work) -> Bounded<Quotient> {
        if k >= 12 {
            let s = self.sine(k - 12, work)?;
            return Ok(Quotient { num: s.num.neg(), den: s.den });
        }
        let k = if k > 6 { 12 - k } else { k };
        let quarter = constant(Rat::Small(1, 4));
        let half = constant(Rat::Small(1, 2));
        let mut root = |n: i64| self.sqrt(constant(Rat::int(n)), work);
        let (a, b) = match k {
            0 => return Ok(constant(Rat::ZERO)),
            1 => (root(6)?, root(2)?),
            2 => return Ok(half),
            3 => {
                let r = root(2)?;
                return self.mul(&r, &half, work);
            }
            4 => {
                let r = root(3)?;
                return self.mul(&r, &half, work);
            }
            5 => (root(6)?, root(2)?),
            _ => return Ok(constant(Rat::ONE)),
        };
        let b = if k == 1 { Quotient { num: b.num.neg(), den: b.den } } else { b };
        let sum = self.add(&a, &b, work)?;
        self.mul(&sum, &quarter, work)
    }
}

/// The rational `n`-th root of a rational number, real for odd `n`.
fn rational_root(r: &Rat, n: i64, work: &mut Work) -> Bounded<Option<Rat>> {
    let Ok(k) = u32::try_from(n) else { return Ok(None) };
    if k > 64 || (r.is_negative() && k.is_multiple_of(2)) || r.bits() > 4096 {
        return Ok(None);
    }
    let words = (r.bits() / 64 + 1) as u32;
    work.charge(60 + 30 * words * words)?;
    let (num, den) = (r.num(), r.den());
    let (a, b) = (num.nth_root(k), den.nth_root(k));
    if a.pow(k) == num && b.pow(k) == den { Ok(Some(Rat::from_big(a, b))) } else { Ok(None) }
}
