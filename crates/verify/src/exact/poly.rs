//! Polynomials with rational coefficients in at most eight generators, some of which square to a polynomial.

use crate::rational::Rat;
use crate::work::{Bounded, Stop, Work};

/// Exponents of eight generators, one byte each.
pub(crate) type Mono = u64;

/// Generators per comparison.
pub(crate) const MAX_GENERATORS: usize = 8;
/// Terms of a polynomial.
const MAX_TERMS: usize = 400;

/// Terms in descending order of monomial, no zero coefficients. Empty is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poly(pub(crate) Vec<(Mono, Rat)>);

impl Poly {
    pub(crate) fn constant(value: Rat) -> Poly {
        if value.is_zero() { Poly(Vec::new()) } else { Poly(vec![(0, value)]) }
    }

    pub(crate) fn generator(index: usize) -> Poly {
        Poly(vec![(1u64 << (8 * index), Rat::ONE)])
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_one(&self) -> bool {
        matches!(self.0.as_slice(), [(0, c)] if c.is_one())
    }

    /// The value if the polynomial is a rational constant.
    pub(crate) fn as_rational(&self) -> Option<Rat> {
        match self.0.as_slice() {
            [] => Some(Rat::ZERO),
            [(0, c)] => Some(c.clone()),
            _ => None,
        }
    }

    pub(crate) fn neg(mut self) -> Poly {
        for term in &mut self.0 {
            term.1 = term.1.neg();
        }
        self
    }

    pub(crate) fn add(&self, other: &Poly, work: &mut Work) -> Bounded<Poly> {
        let (a, b) = (&self.0, &other.0);
        work.charge(2 * (a.len() + b.len()) as u32)?;
        let mut sum = Vec::with_capacity(a.len() + b.len());
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            let left = a.get(i).map(|t| t.0);
            let right = b.get(j).map(|t| t.0);
            if left > right {
                sum.push(a[i].clone());
                i += 1;
            } else if right > left {
                sum.push(b[j].clone());
                j += 1;
            } else {
                let c = a[i].1.add(&b[j].1, work)?;
                if !c.is_zero() {
                    sum.push((a[i].0, c));
                }
                i += 1;
                j += 1;
            }
        }
        if sum.len() > MAX_TERMS {
            return Err(Stop::Budget);
        }
        Ok(Poly(sum))
    }

    pub(crate) fn scale(&self, factor: &Rat, work: &mut Work) -> Bounded<Poly> {
        if factor.is_zero() {
            return Ok(Poly(Vec::new()));
        }
        if factor.is_one() {
            return Ok(self.clone());
        }
        let mut terms = Vec::with_capacity(self.0.len());
        for (m, c) in &self.0 {
            terms.push((*m, c.mul(factor, work)?));
        }
        Ok(Poly(terms))
    }

    /// Product; `squares[g]` is what the square of generator `g` equals, if it is algebraic.
    pub(crate) fn mul(&self, other: &Poly, squares: &[Option<Poly>], work: &mut Work) -> Bounded<Poly> {
        if let [(0, c)] = self.0.as_slice() {
            return other.scale(c, work);
        }
        if let [(0, c)] = other.0.as_slice() {
            return self.scale(c, work);
        }
        let count = self.0.len() * other.0.len();
        if count > 8 * MAX_TERMS {
            return Err(Stop::Budget);
        }
        work.charge(6 * count as u32 + 2)?;
        let mut terms = Vec::with_capacity(count);
        for (m, c) in &self.0 {
            for (n, d) in &other.0 {
                terms.push((mono_mul(*m, *n)?, c.mul(d, work)?));
            }
        }
        reduce(terms, squares, work)
    }

    pub(crate) fn pow(&self, exponent: u32, squares: &[Option<Poly>], work: &mut Work) -> Bounded<Poly> {
        if let [(0, c)] = self.0.as_slice() {
            return Ok(Poly::constant(c.pow(i64::from(exponent), work)?));
        }
        if exponent > 255 {
            return Err(Stop::Budget);
        }
        let mut result = Poly::constant(Rat::ONE);
        let mut base = self.clone();
        let mut left = exponent;
        while left > 0 {
            if left & 1 == 1 {
                result = result.mul(&base, squares, work)?;
            }
            left >>= 1;
            if left > 0 {
                base = base.mul(&base, squares, work)?;
            }
        }
        Ok(result)
    }
}

fn mono_mul(a: Mono, b: Mono) -> Bounded<Mono> {
    // A byte sum above 255 shows as a carry out of that byte.
    let low = 0x7f7f_7f7f_7f7f_7f7fu64;
    if (a | b) & !low != 0 {
        return Err(Stop::Budget);
    }
    Ok(a + b)
}

/// Sorts, merges, and replaces squares of algebraic generators.
fn reduce(terms: Vec<(Mono, Rat)>, squares: &[Option<Poly>], work: &mut Work) -> Bounded<Poly> {
    let mut done: Vec<(Mono, Rat)> = Vec::with_capacity(terms.len());
    let mut stack = terms;
    while let Some((m, c)) = stack.pop() {
        work.charge(2)?;
        let hit = squares.iter().enumerate().find(|(g, s)| s.is_some() && (m >> (8 * g)) & 0xff >= 2);
        match hit {
            Some((g, Some(square))) => {
                let rest = m - (2u64 << (8 * g));
                for (n, d) in &square.0 {
                    stack.push((mono_mul(rest, *n)?, c.mul(d, work)?));
                }
                if stack.len() > 8 * MAX_TERMS {
                    return Err(Stop::Budget);
                }
            }
            _ => done.push((m, c)),
        }
    }
    work.charge(6 * done.len() as u32)?;
    done.sort_unstable_by_key(|t| std::cmp::Reverse(t.0));
    let mut merged: Vec<(Mono, Rat)> = Vec::with_capacity(done.len());
    for (m, c) in done {
        match merged.last_mut() {
            Some(last) if last.0 == m => last.1 = last.1.add(&c, work)?,
            _ => merged.push((m, c)),
        }
    }
    merged.retain(|t| !t.1.is_zero());
    if merged.len() > MAX_TERMS {
        return Err(Stop::Budget);
    }
    Ok(Poly(merged))
}
