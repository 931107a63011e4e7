//! Arithmetic in the prime field of 2^61 - 1 elements, for testing identities of rational functions at points.

/// The Mersenne prime 2^61 - 1.
pub(crate) const P: u64 = (1 << 61) - 1;

pub(crate) fn add(a: u64, b: u64) -> u64 {
    let s = a + b;
    if s >= P { s - P } else { s }
}

pub(crate) fn neg(a: u64) -> u64 {
    if a == 0 { 0 } else { P - a }
}

pub(crate) fn mul(a: u64, b: u64) -> u64 {
    let t = u128::from(a) * u128::from(b);
    let s = (t as u64 & P) + (t >> 61) as u64;
    if s >= P { s - P } else { s }
}

pub(crate) fn pow(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul(result, base);
        }
        base = mul(base, base);
        exponent >>= 1;
    }
    result
}

/// Inverse of a non-zero element, by Fermat's little theorem.
pub(crate) fn inv(a: u64) -> Option<u64> {
    (a != 0).then(|| pow(a, P - 2))
}

/// The integer written by ASCII digits, modulo the prime.
pub(crate) fn residue_of_digits(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |r, d| add(mul(r, 10), u64::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_laws() {
        assert_eq!(mul(inv(12345).unwrap(), 12345), 1);
        assert_eq!(pow(3, P - 1), 1);
        assert_eq!(add(neg(5), 5), 0);
        assert_eq!(inv(0), None);
        assert_eq!(residue_of_digits(b"2305843009213693952"), 1);
    }
}
