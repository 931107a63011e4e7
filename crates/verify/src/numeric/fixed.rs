//! Real intervals in fixed point on big integers, for when doubles are too coarse.
//!
//! Functions are computed with 64 guard bits; their series and reductions lose fewer than 32 of them, and results are
//! widened by that much before they are rounded outward.

use super::real::Real;
use crate::rational::Rat;
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;
use std::sync::OnceLock;

/// Bits carried beyond the precision inside a function.
const GUARD: u32 = 64;
/// Bits of the result of a function that are not trusted, of the guard bits.
const SLACK: u32 = 32;
/// Values with more bits before the point than this are given up.
const MAX_WHOLE: u64 = 1024;

/// An interval with ends `lo / 2^bits` and `hi / 2^bits`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fixed {
    lo: BigInt,
    hi: BigInt,
    bits: u32,
}

impl Fixed {
    /// Zero at a precision of `bits` after the point.
    pub(crate) fn zero(bits: u32) -> Fixed {
        Fixed { lo: BigInt::zero(), hi: BigInt::zero(), bits }
    }

    fn new(lo: BigInt, hi: BigInt, bits: u32) -> Option<Fixed> {
        let whole = lo.bits().max(hi.bits()).saturating_sub(u64::from(bits));
        (whole <= MAX_WHOLE).then_some(Fixed { lo, hi, bits })
    }

    /// Around values with guard bits, each off by less than the slack.
    fn outward(&self, lo: BigInt, hi: BigInt) -> Option<Fixed> {
        let slack = BigInt::one() << SLACK;
        let lo = (lo - &slack) >> GUARD;
        let hi = ((hi + slack) >> GUARD) + 1;
        Fixed::new(lo, hi, self.bits)
    }

    fn working_bits(&self) -> u32 {
        self.bits + GUARD
    }

    /// Sine and cosine change no faster than their argument: the middle decides, the radius widens.
    fn at_middle(&self, cosine: bool) -> Option<Fixed> {
        let w = self.working_bits();
        if self.lo.bits().max(self.hi.bits()) > u64::from(self.bits) + 64 {
            return None;
        }
        let middle = (&self.lo + &self.hi) << (GUARD - 1);
        let radius = (&self.hi - &self.lo) << (GUARD - 1);
        let v = sine_or_cosine(&middle, cosine, w);
        self.outward(&v - &radius, v + radius)
    }
}

/// Constants at the few precisions in use, computed once: the values do not depend on who computes them.
fn constant(cells: &'static [OnceLock<(u32, BigInt)>], w: u32, compute: fn(u32) -> BigInt) -> BigInt {
    for cell in cells {
        let known = cell.get_or_init(|| (w, compute(w)));
        if known.0 == w {
            return known.1.clone();
        }
    }
    compute(w)
}

fn pi_bits(w: u32) -> BigInt {
    static PI: [OnceLock<(u32, BigInt)>; 6] = [const { OnceLock::new() }; 6];
    constant(&PI, w, compute_pi)
}

fn ln2_bits(w: u32) -> BigInt {
    static LN2: [OnceLock<(u32, BigInt)>; 4] = [const { OnceLock::new() }; 4];
    constant(&LN2, w, compute_ln2)
}

/// pi with `w` bits, by Machin's formula.
fn compute_pi(w: u32) -> BigInt {
    let inverse_atan = |k: i64| {
        let mut power = (BigInt::one() << w) / k;
        let mut sum = BigInt::zero();
        let mut n = 1;
        while !power.is_zero() {
            let term = &power / n;
            sum = if n % 4 == 1 { sum + term } else { sum - term };
            power /= k * k;
            n += 2;
        }
        sum
    };
    inverse_atan(5) * 16 - inverse_atan(239) * 4
}

/// The logarithm of two with `w` bits, as a sum of three inverse hyperbolic tangents.
fn compute_ln2(w: u32) -> BigInt {
    let atanh = |k: i64| {
        let mut power = (BigInt::one() << w) / k;
        let mut sum = BigInt::zero();
        let mut n = 1;
        while !power.is_zero() {
            sum += &power / n;
            power /= k * k;
            n += 2;
        }
        sum
    };
    atanh(26) * 18 - atanh(4801) * 2 + atanh(8749) * 8
}

/// Exponential of a number with `w` bits; `None` beyond about e^±700.
fn exp_bits(x: &BigInt, w: u32) -> Option<BigInt> {
    let ln2 = ln2_bits(w);
    let (k, r) = x.div_mod_floor(&ln2);
    let k = k.to_i64().filter(|k| k.abs() <= MAX_WHOLE as i64)?;
    // exp(r) = exp(r / 2^8)^(2^8)
    let r: BigInt = r >> 8;
    let one = BigInt::one() << w;
    let (mut sum, mut term, mut n) = (one.clone(), one, 1);
    loop {
        term = ((term * &r) >> w) / n;
        if term.is_zero() {
            break;
        }
        sum += &term;
        n += 1;
    }
    for _ in 0..8 {
        sum = (&sum * &sum) >> w;
    }
    Some(if k >= 0 { sum << k.unsigned_abs() } else { sum >> k.unsigned_abs() })
}

/// Logarithm of a positive number with `w` bits, by Halley's iteration on the exponential.
fn ln_bits(x: &BigInt, w: u32) -> Option<BigInt> {
    let shift = i64::try_from(x.bits()).ok()? - 1 - i64::from(w);
    // m in [1, 2)
    let m = if shift >= 0 { x >> shift.unsigned_abs() } else { x << shift.unsigned_abs() };
    let rough = (&m >> (w - 52)).to_f64()? / 2f64.powi(52);
    let mut y = BigInt::from((rough.ln() * 2f64.powi(52)) as i64) << (w - 52);
    for _ in 0..3 {
        let e = exp_bits(&y, w)?;
        let step: BigInt = ((&m - &e) << (w + 1)) / (&m + &e);
        y += step;
    }
    Some(y + ln2_bits(w) * shift)
}

/// Inverse tangent of a number with `w` bits.
fn atan_bits(x: &BigInt, w: u32) -> BigInt {
    let one = BigInt::one() << w;
    if x.is_negative() {
        return -atan_bits(&-x, w);
    }
    if *x > one {
        return (pi_bits(w) >> 1) - atan_bits(&((&one << w) / x), w);
    }
    // atan x = 8 atan(x') after three halvings of the angle.
    let mut x = x.clone();
    for _ in 0..3 {
        let root = ((&one << w) + &x * &x).sqrt();
        x = (x << w) / (&one + root);
    }
    let square = (&x * &x) >> w;
    let (mut sum, mut power, mut n) = (BigInt::zero(), x, 1);
    while !power.is_zero() {
        let term = &power / n;
        sum = if n % 4 == 1 { sum + term } else { sum - term };
        power = (power * &square) >> w;
        n += 2;
    }
    sum << 3
}

/// Sine or cosine of a number with `w` bits.
fn sine_or_cosine(x: &BigInt, cosine: bool, w: u32) -> BigInt {
    // 128 more bits of pi make up for multiples of it.
    let turn = pi_bits(w + 128) << 1;
    let wide: BigInt = x << 128;
    let half: BigInt = &turn >> 1;
    let quotient = (&wide + half).div_floor(&turn);
    let r: BigInt = (wide - quotient * turn) >> 128;
    let square: BigInt = (&r * &r) >> w;
    let (mut term, mut n) = if cosine { (BigInt::one() << w, 0) } else { (r, 1) };
    let mut sum = BigInt::zero();
    while !term.is_zero() {
        sum += &term;
        // Towards zero, so that the series ends.
        let product = &term * &square;
        let scaled: BigInt = if product.is_negative() { -((-product) >> w) } else { product >> w };
        let divisor: i64 = (n + 1) * (n + 2);
        term = -(scaled / divisor);
        n += 2;
    }
    sum
}

/// Quotient rounded up.
fn div_up(a: &BigInt, b: &BigInt) -> BigInt {
    -((-a).div_floor(b))
}

impl Real for Fixed {
    fn cost(_: &Self) -> u32 {
        24
    }

    fn rational(like: &Self, value: &Rat) -> Option<Self> {
        let (num, den) = (value.num() << like.bits, value.den());
        Fixed::new(num.div_floor(&den), div_up(&num, &den), like.bits)
    }

    fn add(&self, other: &Self) -> Option<Self> {
        Fixed::new(&self.lo + &other.lo, &self.hi + &other.hi, self.bits)
    }

    fn neg(&self) -> Self {
        Fixed { lo: -&self.hi, hi: -&self.lo, bits: self.bits }
    }

    fn mul(&self, other: &Self) -> Option<Self> {
        let p = [&self.lo * &other.lo, &self.lo * &other.hi, &self.hi * &other.lo, &self.hi * &other.hi];
        let (lo, hi) = (p.iter().min()?, p.iter().max()?);
        Fixed::new(lo >> self.bits, -((-hi) >> self.bits), self.bits)
    }

    fn div(&self, other: &Self) -> Option<Self> {
        if !other.lo.is_positive() && !other.hi.is_negative() {
            return None;
        }
        let (a, b) = (&self.lo << self.bits, &self.hi << self.bits);
        let pairs = [(&a, &other.lo), (&a, &other.hi), (&b, &other.lo), (&b, &other.hi)];
        let lo = pairs.iter().map(|(n, d)| n.div_floor(d)).min()?;
        let hi = pairs.iter().map(|(n, d)| div_up(n, d)).max()?;
        Fixed::new(lo, hi, self.bits)
    }

    fn sqrt(&self) -> Option<Self> {
        if self.hi.is_negative() {
            return None;
        }
        let low = if self.lo.is_negative() { BigInt::zero() } else { (&self.lo << self.bits).sqrt() };
        Fixed::new(low, (&self.hi << self.bits).sqrt() + 1, self.bits)
    }

    fn exp(&self) -> Option<Self> {
        let w = self.working_bits();
        let lo = exp_bits(&(&self.lo << GUARD), w)?;
        let hi = exp_bits(&(&self.hi << GUARD), w)?;
        // A large result has its error multiplied with it.
        let error = (&hi >> (w - SLACK)) + 1;
        self.outward(lo - &error, hi + error)
    }

    fn ln(&self) -> Option<Self> {
        if !self.lo.is_positive() {
            return None;
        }
        let w = self.working_bits();
        self.outward(ln_bits(&(&self.lo << GUARD), w)?, ln_bits(&(&self.hi << GUARD), w)?)
    }

    fn sin(&self) -> Option<Self> {
        self.at_middle(false)
    }

    fn cos(&self) -> Option<Self> {
        self.at_middle(true)
    }

    fn atan(&self) -> Option<Self> {
        let w = self.working_bits();
        self.outward(atan_bits(&(&self.lo << GUARD), w), atan_bits(&(&self.hi << GUARD), w))
    }

    fn pi(like: &Self) -> Self {
        let v = pi_bits(like.working_bits()) >> GUARD;
        Fixed { lo: &v - 1, hi: v + 2, bits: like.bits }
    }

    fn sign(&self) -> Option<Ordering> {
        if self.lo.is_positive() {
            Some(Ordering::Greater)
        } else if self.hi.is_negative() {
            Some(Ordering::Less)
        } else if self.lo.is_zero() && self.hi.is_zero() {
            Some(Ordering::Equal)
        } else {
            None
        }
    }

    fn floor(&self) -> Option<i64> {
        let (a, b) = (&self.lo >> self.bits, &self.hi >> self.bits);
        if a == b { a.to_i64() } else { None }
    }

    fn integer(&self) -> Option<i64> {
        let width = &self.hi - &self.lo;
        let n: BigInt = div_up(&self.lo, &(BigInt::one() << self.bits));
        let narrow = width < BigInt::one() << (self.bits / 2);
        if narrow && (&n << self.bits) <= self.hi {
            n.to_i64().filter(|n| n.abs() < 1_000_000_000)
        } else {
            None
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }

    fn narrow(&self) -> bool {
        let size = self.hi.bits().max(self.lo.bits()).max(u64::from(self.bits));
        (&self.hi - &self.lo).bits() + u64::from(self.bits) / 2 <= size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(x: &Fixed) -> (f64, f64) {
        let scale = |b: &BigInt| (b >> (x.bits - 60)).to_f64().unwrap() / 2f64.powi(60);
        (scale(&x.lo), scale(&x.hi))
    }

    #[test]
    fn functions_enclose_what_the_library_computes() {
        let like = Fixed::zero(192);
        for (n, d) in [(1, 3), (7, 2), (-5, 4), (100, 7), (1, 1000), (-30, 1)] {
            let x = Fixed::rational(
                &like,
                &Rat::int(n).div(&Rat::int(d), &mut crate::work::Work::new(1000)).unwrap(),
            )
            .unwrap();
            let v = n as f64 / d as f64;
            let mut cases =
                vec![(x.sin(), v.sin()), (x.cos(), v.cos()), (x.atan(), v.atan()), (x.exp(), v.exp())];
            if v > 0.0 {
                cases.push((x.ln(), v.ln()));
                cases.push((x.sqrt(), v.sqrt()));
            }
            for (k, (got, want)) in cases.into_iter().enumerate() {
                let got = got.unwrap();
                assert!(got.narrow() && got.lo <= got.hi);
                let (lo, hi) = decimal(&got);
                // Doubles from the library are off by a few units in the last place, and large values by their size.
                let slack = 1e-15 * want.abs().max(1.0) * 4.0;
                assert!(lo - slack <= want && want <= hi + slack, "case {k} at {n}/{d}: {lo} {hi} {want}");
                assert!(hi - lo <= slack, "case {k} at {n}/{d} is wide: {lo} {hi}");
            }
        }
        let (lo, hi) = decimal(&Fixed::pi(&like));
        assert!(lo <= std::f64::consts::PI && std::f64::consts::PI <= hi);
    }

    #[test]
    fn identities_hold_to_the_last_bits() {
        let like = Fixed::zero(448);
        let two = Fixed::rational(&like, &Rat::int(2)).unwrap();
        let back = two.ln().unwrap().exp().unwrap();
        assert!(back.overlaps(&two) && back.narrow());
        let one = Fixed::rational(&like, &Rat::ONE).unwrap();
        let quarter = one.atan().unwrap();
        let pi = quarter.add(&quarter).unwrap().add(&quarter).unwrap().add(&quarter).unwrap();
        assert!(pi.overlaps(&Fixed::pi(&like)));
        // The width stays within the slack and a few roundings.
        assert!((&back.hi - &back.lo).bits() < 12, "{}", (&back.hi - &back.lo).bits());
    }
}
