//! Complex intervals: a real part and, if it is not exactly zero, an imaginary part. Principal branches.

use super::real::Real;
use crate::rational::Rat;
use std::cmp::Ordering;

#[derive(Debug, Clone)]
pub(crate) struct Complex<R> {
    pub(crate) re: R,
    /// `None` for a real number.
    pub(crate) im: Option<R>,
}

impl<R: Real> Complex<R> {
    pub(crate) fn real(re: R) -> Complex<R> {
        Complex { re, im: None }
    }

    fn constant(&self, n: i64, d: i64) -> Option<R> {
        R::rational(&self.re, &Rat::Small(n, d))
    }

    pub(crate) fn add(&self, other: &Self) -> Option<Self> {
        let im = match (&self.im, &other.im) {
            (Some(a), Some(b)) => Some(a.add(b)?),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        Some(Complex { re: self.re.add(&other.re)?, im })
    }

    pub(crate) fn neg(&self) -> Self {
        Complex { re: self.re.neg(), im: self.im.as_ref().map(R::neg) }
    }

    pub(crate) fn mul(&self, other: &Self) -> Option<Self> {
        match (&self.im, &other.im) {
            (None, None) => Some(Complex::real(self.re.mul(&other.re)?)),
            (Some(b), None) => Some(Complex { re: self.re.mul(&other.re)?, im: Some(b.mul(&other.re)?) }),
            (None, Some(d)) => Some(Complex { re: self.re.mul(&other.re)?, im: Some(self.re.mul(d)?) }),
            (Some(b), Some(d)) => Some(Complex {
                re: self.re.mul(&other.re)?.add(&b.mul(d)?.neg())?,
                im: Some(self.re.mul(d)?.add(&b.mul(&other.re)?)?),
            }),
        }
    }

    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        let Some(d) = &other.im else {
            let im = match &self.im {
                Some(b) => Some(b.div(&other.re)?),
                None => None,
            };
            return Some(Complex { re: self.re.div(&other.re)?, im });
        };
        let norm = square(&other.re)?.add(&square(d)?)?;
        let conjugate = Complex { re: other.re.clone(), im: Some(d.neg()) };
        self.mul(&conjugate)?.div(&Complex::real(norm))
    }

    /// Modulus.
    pub(crate) fn abs(&self) -> Option<R> {
        match &self.im {
            None => match self.re.sign() {
                Some(Ordering::Less) => Some(self.re.neg()),
                Some(_) => Some(self.re.clone()),
                None => square(&self.re)?.sqrt(),
            },
            Some(b) => square(&self.re)?.add(&square(b)?)?.sqrt(),
        }
    }

    /// Argument in (-pi, pi].
    fn arg(&self) -> Option<R> {
        let pi = R::pi(&self.re);
        let Some(b) = &self.im else {
            return match self.re.sign()? {
                Ordering::Less => Some(pi),
                _ => self.constant(0, 1),
            };
        };
        let half = pi.mul(&self.constant(1, 2)?)?;
        match (self.re.sign(), b.sign()) {
            (Some(Ordering::Greater), _) => b.div(&self.re)?.atan(),
            (_, Some(Ordering::Greater)) => half.add(&self.re.div(b)?.atan()?.neg()),
            (_, Some(Ordering::Less)) => half.neg().add(&self.re.div(b)?.atan()?.neg()),
            _ => None,
        }
    }

    pub(crate) fn ln(&self) -> Option<Self> {
        if self.im.is_none() && self.re.sign() == Some(Ordering::Greater) {
            return Some(Complex::real(self.re.ln()?));
        }
        Some(Complex { re: self.abs()?.ln()?, im: Some(self.arg()?) })
    }

    pub(crate) fn exp(&self) -> Option<Self> {
        let size = self.re.exp()?;
        match &self.im {
            None => Some(Complex::real(size)),
            Some(b) => Some(Complex { re: size.mul(&b.cos()?)?, im: Some(size.mul(&b.sin()?)?) }),
        }
    }

    pub(crate) fn sqrt(&self) -> Option<Self> {
        if self.im.is_none() {
            return match self.re.sign() {
                Some(Ordering::Less) => {
                    Some(Complex { re: self.constant(0, 1)?, im: Some(self.re.neg().sqrt()?) })
                }
                _ => Some(Complex::real(self.re.sqrt()?)),
            };
        }
        let half = Complex::real(self.constant(1, 2)?);
        self.ln()?.mul(&half)?.exp()
    }

    /// Power with an integer exponent.
    pub(crate) fn powi(&self, exponent: i64) -> Option<Self> {
        let one = Complex::real(self.constant(1, 1)?);
        if exponent < 0 {
            return one.div(&self.powi(exponent.checked_neg()?)?);
        }
        let mut result = one;
        let mut base = self.clone();
        let mut left = exponent;
        while left > 0 {
            if left & 1 == 1 {
                result = result.mul(&base)?;
            }
            left >>= 1;
            if left > 0 {
                base = base.mul(&base)?;
            }
        }
        Some(result)
    }

    pub(crate) fn pow(&self, exponent: &Self) -> Option<Self> {
        self.ln()?.mul(exponent)?.exp()
    }

    pub(crate) fn sin(&self) -> Option<Self> {
        match &self.im {
            None => Some(Complex::real(self.re.sin()?)),
            Some(b) => {
                let (cosh, sinh) = hyperbolic(b)?;
                Some(Complex { re: self.re.sin()?.mul(&cosh)?, im: Some(self.re.cos()?.mul(&sinh)?) })
            }
        }
    }

    pub(crate) fn cos(&self) -> Option<Self> {
        match &self.im {
            None => Some(Complex::real(self.re.cos()?)),
            Some(b) => {
                let (cosh, sinh) = hyperbolic(b)?;
                Some(Complex { re: self.re.cos()?.mul(&cosh)?, im: Some(self.re.sin()?.mul(&sinh)?.neg()) })
            }
        }
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let zero = R::rational(&self.re, &Rat::ZERO);
        let imaginary = match (&self.im, &other.im, zero) {
            (None, None, _) => true,
            (Some(a), Some(b), _) => a.overlaps(b),
            (Some(a), None, Some(z)) | (None, Some(a), Some(z)) => a.overlaps(&z),
            _ => true,
        };
        self.re.overlaps(&other.re) && imaginary
    }

    pub(crate) fn narrow(&self) -> bool {
        self.re.narrow() && self.im.as_ref().is_none_or(R::narrow)
    }
}

fn square<R: Real>(x: &R) -> Option<R> {
    match x.sign() {
        Some(_) => x.mul(x),
        // The interval straddles zero: the product of its ends understates the lower end, which is safe.
        None => x.mul(x),
    }
}

/// Hyperbolic cosine and sine.
pub(crate) fn hyperbolic<R: Real>(x: &R) -> Option<(R, R)> {
    let half = R::rational(x, &Rat::Small(1, 2))?;
    let (up, down) = (x.exp()?, x.neg().exp()?);
    Some((up.add(&down)?.mul(&half)?, up.add(&down.neg())?.mul(&half)?))
}
