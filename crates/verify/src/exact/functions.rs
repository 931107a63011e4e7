//! Powers, functions, logarithms and binomial coefficients in the exact field.

use super::{Exact, Opaque, Quotient, constant, inverse};
use crate::rational::{self, Rat};
use crate::words::Func;
use crate::work::{Bounded, Stop, Work};
use num_traits::One;

impl Exact {
    /// A power; exponents that are not rational stay opaque.
    pub(super) fn power(&mut self, base: Quotient, exponent: Quotient, work: &mut Work) -> Bounded<Quotient> {
        let Some(e) = exponent.as_rational(work)? else {
            return self.opaque(Opaque::Pow, vec![base, exponent], work);
        };
        if let Some(n) = e.as_i64() {
            return self.integer_power(base, n, work);
        }
        let Rat::Small(p, q) = e else { return Err(Stop::Budget) };
        let root = self.root(constant(Rat::int(q)), base, work)?;
        self.integer_power(root, p, work)
    }

    fn integer_power(&mut self, base: Quotient, n: i64, work: &mut Work) -> Bounded<Quotient> {
        let base = if n < 0 { inverse(base)? } else { base };
        if n == 0 {
            return if base.num.is_zero() { Err(Stop::Inapplicable) } else { Ok(constant(Rat::ONE)) };
        }
        let n = u32::try_from(n.unsigned_abs()).map_err(|_| Stop::Budget)?;
        let s = &self.squares;
        Ok(Quotient { num: base.num.pow(n, s, work)?, den: base.den.pow(n, s, work)? })
    }

    /// A function of one argument; what is not solved stays opaque.
    pub(super) fn function(&mut self, f: Func, x: Quotient, work: &mut Work) -> Bounded<Quotient> {
        let rational = x.as_rational(work)?;
        match (f, &rational) {
            (Func::Abs, Some(r)) => return Ok(constant(r.abs())),
            (Func::Floor | Func::Ceil, Some(r)) => {
                let (num, den) = (r.num(), r.den());
                let floor = num_integer::Integer::div_floor(&num, &den);
                let value = if f == Func::Ceil && !r.is_integer() { floor + 1 } else { floor };
                return Ok(constant(Rat::from_big(value, num_bigint::BigInt::one())));
            }
            (Func::Fact, Some(r)) => {
                if let Some(n) = r.as_i64()
                    && n >= 0
                {
                    let value = rational::falling(n, n, work)?;
                    return Ok(constant(Rat::from_big(value, num_bigint::BigInt::one())));
                }
                return Err(Stop::Inapplicable);
            }
            (Func::Ln | Func::Log, Some(r)) if r.is_one() => return Ok(constant(Rat::ZERO)),
            (Func::Ln, Some(r)) if r.is_zero() => return Err(Stop::Inapplicable),
            (Func::Log, Some(_)) => return self.logarithm(constant(Rat::int(10)), x, work),
            (Func::Log, None) => return self.opaque(Opaque::LogBase, vec![constant(Rat::int(10)), x], work),
            _ => {}
        }
        if let Some(value) = self.special_angle(f, &x, work)? {
            return Ok(value);
        }
        self.opaque(Opaque::Func(f), vec![x], work)
    }

    /// A logarithm; an integer power of the base is solved, the rest stays opaque.
    pub(super) fn logarithm(&mut self, base: Quotient, x: Quotient, work: &mut Work) -> Bounded<Quotient> {
        if let (Some(b), Some(r)) = (base.as_rational(work)?, x.as_rational(work)?)
            && !b.is_one()
            && b.num().bits() < 64
            && r.bits() <= 1024
            && !r.is_negative()
            && !r.is_zero()
            && !b.is_negative()
            && !b.is_zero()
        {
            let (mut up, mut down) = (Rat::ONE, Rat::ONE);
            for k in 0..64 {
                if up == r {
                    return Ok(constant(Rat::int(k)));
                }
                if down == r {
                    return Ok(constant(Rat::int(-k)));
                }
                if up.bits() > 1100 || down.bits() > 1100 {
                    break;
                }
                up = up.mul(&b, work)?;
                down = down.div(&b, work)?;
            }
        }
        self.opaque(Opaque::LogBase, vec![base, x], work)
    }

    /// A binomial coefficient of whole numbers; others stay opaque.
    pub(super) fn binomial(&mut self, n: Quotient, k: Quotient, work: &mut Work) -> Bounded<Quotient> {
        let (Some(a), Some(b)) = (n.as_rational(work)?, k.as_rational(work)?) else {
            return self.opaque(Opaque::Binom, vec![n, k], work);
        };
        let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) else { return Err(Stop::Inapplicable) };
        if b < 0 || a < 0 {
            return Err(Stop::Inapplicable);
        }
        if b > a {
            return Ok(constant(Rat::ZERO));
        }
        let b = b.min(a - b);
        let top = rational::falling(a, b, work)?;
        let bottom = rational::falling(b, b, work)?;
        Ok(constant(Rat::from_big(top / bottom, num_bigint::BigInt::one())))
    }
}
