//! Exact rational numbers: 64-bit while they fit, big integers beyond, with a cap on the bits.

use crate::work::{Bounded, Stop, Work};
use num_bigint::{BigInt, Sign};
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive};
use std::cmp::Ordering;

/// Numerators and denominators with more bits than this are refused.
pub(crate) const MAX_BITS: u64 = 8192;

/// A rational number in lowest terms with a positive denominator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rat {
    Small(i64, i64),
    Big(Box<(BigInt, BigInt)>),
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        if a <= u64::MAX as u128 && b <= u64::MAX as u128 {
            let (mut x, mut y) = (a as u64, b as u64);
            while y != 0 {
                (x, y) = (y, x % y);
            }
            return x as u128;
        }
        (a, b) = (b, a % b);
    }
    a
}

/// Work of one operation on two small fractions: most of it is the gcd, in 128 bits if the parts are long.
fn small_units([n, d, p, q]: [i64; 4]) -> u32 {
    if d == 1 && q == 1 {
        1
    } else if [n, d, p, q].iter().all(|v| v.unsigned_abs() < 1 << 31) {
        4
    } else {
        40
    }
}

impl Rat {
    pub(crate) const ZERO: Rat = Rat::Small(0, 1);
    pub(crate) const ONE: Rat = Rat::Small(1, 1);

    pub(crate) fn int(value: i64) -> Rat {
        if value == i64::MIN {
            return Rat::Big(Box::new((BigInt::from(value), BigInt::one())));
        }
        Rat::Small(value, 1)
    }

    fn from_i128(num: i128, den: i128) -> Rat {
        let divisor = gcd(num.unsigned_abs(), den.unsigned_abs()).max(1);
        let Ok(divisor) = i128::try_from(divisor) else { return Rat::from_big(num.into(), den.into()) };
        let (mut n, mut d) = (num / divisor, den / divisor);
        if d < 0 {
            (n, d) = (-n, -d);
        }
        match (i64::try_from(n), i64::try_from(d)) {
            (Ok(a), Ok(b)) if a != i64::MIN => Rat::Small(a, b),
            _ => Rat::Big(Box::new((n.into(), d.into()))),
        }
    }

    fn whole(value: BigInt) -> Rat {
        match value.to_i64() {
            Some(a) if a != i64::MIN => Rat::Small(a, 1),
            _ => Rat::Big(Box::new((value, BigInt::one()))),
        }
    }

    /// The integers, if both numbers are integers and `bits` is no more than the cap; charged without a gcd.
    fn integers(
        a: &Rat,
        b: &Rat,
        bits: u64,
        units: u64,
        work: &mut Work,
    ) -> Bounded<Option<(BigInt, BigInt)>> {
        if !a.is_integer() || !b.is_integer() || bits > MAX_BITS {
            return Ok(None);
        }
        work.charge(20 + units as u32)?;
        Ok(Some((a.num(), b.num())))
    }

    /// `num / den` in lowest terms. `den` must not be zero.
    pub(crate) fn from_big(num: BigInt, den: BigInt) -> Rat {
        let divisor = num.gcd(&den);
        let (mut n, mut d) = if divisor.is_one() { (num, den) } else { (num / &divisor, den / &divisor) };
        if d.is_negative() {
            (n, d) = (-n, -d);
        }
        match (n.to_i64(), d.to_i64()) {
            (Some(a), Some(b)) if a != i64::MIN => Rat::Small(a, b),
            _ => Rat::Big(Box::new((n, d))),
        }
    }

    pub(crate) fn num(&self) -> BigInt {
        match self {
            Rat::Small(n, _) => BigInt::from(*n),
            Rat::Big(b) => b.0.clone(),
        }
    }

    pub(crate) fn den(&self) -> BigInt {
        match self {
            Rat::Small(_, d) => BigInt::from(*d),
            Rat::Big(b) => b.1.clone(),
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        matches!(self, Rat::Small(0, _))
    }

    pub(crate) fn is_one(&self) -> bool {
        matches!(self, Rat::Small(1, 1))
    }

    pub(crate) fn is_integer(&self) -> bool {
        match self {
            Rat::Small(_, d) => *d == 1,
            Rat::Big(b) => b.1.is_one(),
        }
    }

    /// The value as a machine integer, if it is one.
    pub(crate) fn as_i64(&self) -> Option<i64> {
        match self {
            Rat::Small(n, 1) => Some(*n),
            _ => None,
        }
    }

    pub(crate) fn is_negative(&self) -> bool {
        match self {
            Rat::Small(n, _) => *n < 0,
            Rat::Big(b) => b.0.sign() == Sign::Minus,
        }
    }

    /// Bits of the larger of numerator and denominator.
    pub(crate) fn bits(&self) -> u64 {
        match self {
            Rat::Small(..) => 64,
            Rat::Big(b) => b.0.bits().max(b.1.bits()),
        }
    }

    /// Charges for one operation on `a` and `b`, and refuses results beyond the cap.
    fn admit(a: &Rat, b: &Rat, work: &mut Work) -> Bounded<()> {
        if let (Rat::Small(n, d), Rat::Small(p, q)) = (a, b) {
            return work.charge(small_units([*n, *d, *p, *q]));
        }
        let bits = a.bits() + b.bits();
        if bits > MAX_BITS {
            return Err(Stop::Budget);
        }
        // A gcd of n words takes 64 n shifts and differences, each of n word steps and an overhead.
        let words = (bits / 64 + 1) as u32;
        work.charge(30 + 40 * words + 6 * words * words)
    }

    pub(crate) fn add(&self, other: &Rat, work: &mut Work) -> Bounded<Rat> {
        if let (Rat::Small(a, b), Rat::Small(c, d)) = (self, other) {
            work.charge(small_units([*a, *b, *c, *d]))?;
            let (a, b, c, d) = (*a as i128, *b as i128, *c as i128, *d as i128);
            if b == 1 && d == 1 {
                return Ok(Rat::from_i128(a + c, 1));
            }
            if let Some(num) = (a * d).checked_add(c * b) {
                return Ok(Rat::from_i128(num, b * d));
            }
        } else {
            let bits = self.bits().max(other.bits()) + 1;
            if let Some((a, b)) = Rat::integers(self, other, bits, bits / 64, work)? {
                return Ok(Rat::whole(a + b));
            }
        }
        Rat::admit(self, other, work)?;
        Ok(Rat::from_big(self.num() * other.den() + other.num() * self.den(), self.den() * other.den()))
    }

    pub(crate) fn neg(&self) -> Rat {
        match self {
            Rat::Small(n, d) => Rat::Small(-n, *d),
            // In lowest terms already, and no smaller.
            Rat::Big(b) => Rat::Big(Box::new((-&b.0, b.1.clone()))),
        }
    }

    pub(crate) fn mul(&self, other: &Rat, work: &mut Work) -> Bounded<Rat> {
        let small = matches!((self, other), (Rat::Small(..), Rat::Small(..)));
        let words = (self.bits() / 64 + 1) * (other.bits() / 64 + 1);
        if !small && let Some((a, b)) = Rat::integers(self, other, self.bits() + other.bits(), words, work)? {
            return Ok(Rat::whole(a * b));
        }
        Rat::admit(self, other, work)?;
        if let (Rat::Small(a, b), Rat::Small(c, d)) = (self, other) {
            return Ok(Rat::from_i128(*a as i128 * *c as i128, *b as i128 * *d as i128));
        }
        Ok(Rat::from_big(self.num() * other.num(), self.den() * other.den()))
    }

    /// `1 / self`; not applicable to zero.
    pub(crate) fn inv(&self) -> Bounded<Rat> {
        match self {
            Rat::Small(0, _) => Err(Stop::Inapplicable),
            Rat::Small(n, d) if *n < 0 => Ok(Rat::Small(-d, -n)),
            Rat::Small(n, d) => Ok(Rat::Small(*d, *n)),
            Rat::Big(b) if b.0.is_negative() => Ok(Rat::Big(Box::new((-&b.1, -&b.0)))),
            Rat::Big(b) => Ok(Rat::Big(Box::new((b.1.clone(), b.0.clone())))),
        }
    }

    pub(crate) fn div(&self, other: &Rat, work: &mut Work) -> Bounded<Rat> {
        self.mul(&other.inv()?, work)
    }

    /// `self ^ exponent`, with the bits of the result checked first.
    pub(crate) fn pow(&self, exponent: i64, work: &mut Work) -> Bounded<Rat> {
        if exponent < 0 {
            return self.inv()?.pow(exponent.checked_neg().ok_or(Stop::Budget)?, work);
        }
        if self.is_zero() || self.is_one() {
            return Ok(if exponent == 0 { Rat::ONE } else { self.clone() });
        }
        if *self == Rat::Small(-1, 1) {
            return Ok(if exponent % 2 == 0 { Rat::ONE } else { self.clone() });
        }
        let exact_bits = self.num().bits().max(self.den().bits());
        let bits = exact_bits.saturating_mul(exponent.unsigned_abs());
        if bits > MAX_BITS {
            return Err(Stop::Budget);
        }
        let words = (bits / 64 + 1) as u32;
        work.charge(20 + 2 * words * words)?;
        let e = u32::try_from(exponent).map_err(|_| Stop::Budget)?;
        if bits < 63
            && let Rat::Small(n, d) = self
        {
            return Ok(Rat::Small(n.pow(e), d.pow(e)));
        }
        // Powers of a fraction in lowest terms are in lowest terms.
        if self.is_integer() {
            return Ok(Rat::whole(self.num().pow(e)));
        }
        Ok(Rat::from_big(self.num().pow(e), self.den().pow(e)))
    }

    /// Compares two numbers in size.
    pub(crate) fn order(&self, other: &Rat, work: &mut Work) -> Bounded<Ordering> {
        Rat::admit(self, other, work)?;
        if let (Rat::Small(a, b), Rat::Small(c, d)) = (self, other) {
            return Ok((*a as i128 * *d as i128).cmp(&(*c as i128 * *b as i128)));
        }
        Ok((self.num() * other.den()).cmp(&(other.num() * self.den())))
    }

    pub(crate) fn abs(&self) -> Rat {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// `mantissa * 10^exponent` from ASCII digits; refused above the cap on bits.
    pub(crate) fn from_digits(digits: &[u8], exponent: i64, work: &mut Work) -> Bounded<Rat> {
        let start = digits.iter().position(|d| *d != b'0').unwrap_or(digits.len());
        let digits = &digits[start..];
        if digits.len() <= 18 {
            let mut mantissa = 0i64;
            for d in digits {
                mantissa = mantissa * 10 + i64::from(d - b'0');
            }
            if mantissa == 0 || exponent == 0 {
                return Ok(Rat::Small(mantissa, 1));
            }
            if (-18..0).contains(&exponent) {
                return Ok(Rat::from_i128(i128::from(mantissa), 10i128.pow(exponent.unsigned_abs() as u32)));
            }
            return Rat::Small(mantissa, 1).mul(&Rat::int(10).pow(exponent, work)?, work);
        }
        if digits.len() as u64 * 4 > MAX_BITS {
            return Err(Stop::Budget);
        }
        let words = (digits.len() / 16 + 1) as u32;
        work.charge(30 + 6 * words * words)?;
        let mantissa = BigInt::parse_bytes(digits, 10).ok_or(Stop::Inapplicable)?;
        let value = Rat::from_big(mantissa, BigInt::one());
        if exponent == 0 { Ok(value) } else { value.mul(&Rat::int(10).pow(exponent, work)?, work) }
    }

    /// Nearest double, for display and rough size.
    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Rat::Small(n, d) => *n as f64 / *d as f64,
            Rat::Big(b) => {
                let shift = b.0.bits() as i64 - b.1.bits() as i64;
                let scaled: BigInt = if shift >= 0 {
                    (&b.0 << 64) / (&b.1 << shift.unsigned_abs())
                } else {
                    ((&b.0 << 64) << shift.unsigned_abs()) / &b.1
                };
                let shift = shift.clamp(-5000, 5000) as i32;
                scaled.to_f64().unwrap_or(f64::INFINITY) * 2f64.powi(-64) * 2f64.powi(shift)
            }
        }
    }
}

impl std::fmt::Display for Rat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rat::Small(n, 1) => write!(f, "{n}"),
            Rat::Small(n, d) => write!(f, "{n}/{d}"),
            Rat::Big(b) if b.1.is_one() => write!(f, "{}", b.0),
            Rat::Big(b) => write!(f, "{}/{}", b.0, b.1),
        }
    }
}

/// Product of `count` consecutive integers ending in `last`: `last! / (last - count)!`, bits checked first.
pub(crate) fn falling(last: i64, count: i64, work: &mut Work) -> Bounded<BigInt> {
    if !(0..=2000).contains(&count) || last < count {
        return Err(Stop::Budget);
    }
    let bits = (64 - last.leading_zeros() as u64).saturating_mul(count.unsigned_abs());
    if bits > MAX_BITS {
        return Err(Stop::Budget);
    }
    let words = (bits / 64 + 1) as u32;
    work.charge(10 + count as u32 * (2 + words))?;
    let mut product = BigInt::one();
    for k in 0..count {
        product *= last - k;
    }
    Ok(product)
}

/// Integer square root if `value` is a perfect square.
pub(crate) fn exact_sqrt(value: &BigInt, work: &mut Work) -> Bounded<Option<BigInt>> {
    if value.is_negative() {
        return Ok(None);
    }
    let words = (value.bits() / 64 + 1) as u32;
    work.charge(20 + 8 * words * words)?;
    let root = value.sqrt();
    Ok(if &root * &root == *value { Some(root) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_terms_and_sign() {
        let mut w = Work::new(10_000);
        let a = Rat::int(6).div(&Rat::int(-4), &mut w).unwrap();
        assert_eq!(a, Rat::Small(-3, 2));
        assert_eq!(a.add(&Rat::Small(3, 2), &mut w).unwrap(), Rat::ZERO);
        assert!(Rat::int(1).div(&Rat::ZERO, &mut w).is_err());
    }

    #[test]
    fn grows_into_big_and_back() {
        let mut w = Work::new(100_000);
        let big = Rat::int(10).pow(40, &mut w).unwrap();
        assert!(matches!(big, Rat::Big(_)));
        assert_eq!(big.div(&Rat::int(10).pow(39, &mut w).unwrap(), &mut w).unwrap(), Rat::int(10));
        assert_eq!(big.to_f64(), 1e40);
        assert_eq!(Rat::from_digits(b"000125", -2, &mut w).unwrap(), Rat::Small(5, 4));
    }

    #[test]
    fn refuses_towers() {
        let mut w = Work::new(100_000);
        assert_eq!(Rat::int(10).pow(1_000_000_000, &mut w), Err(Stop::Budget));
        assert_eq!(falling(1_000_000, 1_000_000, &mut w), Err(Stop::Budget));
        assert!(w.used() < 100);
    }
}
