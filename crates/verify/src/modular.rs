//! Arithmetic in a prime field of almost 2^61 elements, for testing identities of rational functions at points.

/// The greatest prime P below 2^61 for which (P - 1) / 2 is prime too. Every element but 0, 1 and -1 then has an order of
/// at least (P - 1) / 2, so that powers with different exponents differ; modulo 2^61 - 1 two would have order 61.
pub(crate) const P: u64 = 2_305_843_009_213_691_579;

pub(crate) fn add(a: u64, b: u64) -> u64 {
    let s = a + b;
    if s >= P { s - P } else { s }
}

pub(crate) fn neg(a: u64) -> u64 {
    if a == 0 { 0 } else { P - a }
}

pub(crate) fn mul(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(P)) as u64
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
    // Eighteen digits at a time fit a machine word.
    digits.chunks(18).fold(0, |r, chunk| {
        let value = chunk.iter().fold(0, |v, d| v * 10 + u64::from(d - b'0'));
        add(mul(r, 10u64.pow(chunk.len() as u32)), value % P)
    })
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
        assert_eq!(residue_of_digits(b"2305843009213691580"), 1);
        assert_eq!(residue_of_digits(b"12345678901234567890123"), {
            let high = 12_345_678_901_234_567u64;
            add(mul(high % P, 1_000_000), 890_123)
        });
        // Small numbers do not return to one after few powers, as two does modulo 2^61 - 1.
        for base in 2..50 {
            assert!((1..100).all(|k| pow(base, k) != 1), "{base}");
        }
    }
}
