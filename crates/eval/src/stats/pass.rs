//! pass@k: the chance that at least one of k samples is right.

/// The unbiased estimate of pass@k from `samples` samples of which `right` are right: `1 - C(n - c, k) / C(n, k)`
/// (Chen et al., arXiv 2107.03374, eq. 1), as a product that neither overflows nor cancels.
///
/// `None` where it cannot be estimated: `k` is 0 or above `samples`, or more are right than there are.
pub fn pass_at_k(samples: usize, right: usize, k: usize) -> Option<f64> {
    if k == 0 || k > samples || right > samples {
        return None;
    }
    if samples - right < k {
        return Some(1.0);
    }
    let none = (0..k).map(|i| (samples - right - i) as f64 / (samples - i) as f64).product::<f64>();
    Some(1.0 - none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms() {
        // k = 1 is the mean, k = n asks for any right sample.
        for n in 1..=20 {
            for c in 0..=n {
                let mean = c as f64 / n as f64;
                assert!((pass_at_k(n, c, 1).unwrap() - mean).abs() < 1e-15);
                assert_eq!(pass_at_k(n, c, n), Some(f64::from(u8::from(c > 0))));
            }
        }
        // 1 - C(3, 2) / C(5, 2).
        assert!((pass_at_k(5, 2, 2).unwrap() - 0.7).abs() < 1e-15);
        // 1 - C(999, 500) / C(1000, 500) is 1/2: the factorials would overflow.
        assert!((pass_at_k(1000, 1, 500).unwrap() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_estimated() {
        assert_eq!(pass_at_k(4, 1, 5), None);
        assert_eq!(pass_at_k(4, 1, 0), None);
        assert_eq!(pass_at_k(4, 5, 1), None);
    }
}
