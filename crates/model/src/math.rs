//! Elementary functions in a form that the compiler turns into vector code.

/// `e^x` to within 2 units in the last place; 0 below -87.3, the largest finite value above 88.7.
///
/// Cody-Waite reduction by `n ln 2` and a polynomial of degree 6 on `[-ln2/2, ln2/2]`; no branches, so that loops over
/// it become vector code.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
    let clamped = x.clamp(-87.3, 88.7);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.388_888_9e-3_f32
        .mul_add(r, 8.333_334e-3)
        .mul_add(r, 4.166_666_6e-2)
        .mul_add(r, 1.666_666_7e-1)
        .mul_add(r, 0.5)
        .mul_add(r, 1.0)
        .mul_add(r, 1.0);
    // 2^n in two factors: n reaches 128, whose power alone is not finite.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let scale = |e: i32| f32::from_bits(((e + 127) << 23) as u32);
    let value = p * scale(half) * scale(n - half);
    if x < -87.3 { 0.0 } else { value }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Sum of products in 16 interleaved partial sums: a fixed order that vector code can keep.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a_blocks, b_blocks) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for i in 0..16 {
            lanes[i] = x[i].mul_add(y[i], lanes[i]);
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// Largest element, `-inf` for none. NaN elements are passed over.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let blocks = x.chunks_exact(16);
    let tail = blocks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for block in blocks {
        for i in 0..16 {
            lanes[i] = if block[i] > lanes[i] { block[i] } else { lanes[i] };
        }
    }
    lanes.iter().copied().fold(tail, f32::max)
}

/// Sum of `term(i, x[i])` in 16 interleaved partial sums of f64.
#[inline(always)]
pub fn sum(x: &[f32], term: impl Fn(usize, f32) -> f32) -> f64 {
    let mut lanes = [0.0f64; 16];
    let (blocks, rest) = x.as_chunks::<16>();
    for (block, x) in blocks.iter().enumerate() {
        // Not `array::from_fn`, which is not always inlined: see `vectorized`.
        let mut terms = [0.0f32; 16];
        for i in 0..16 {
            terms[i] = term(16 * block + i, x[i]);
        }
        for i in 0..16 {
            lanes[i] += f64::from(terms[i]);
        }
    }
    let mut tail = 0.0f64;
    for (i, x) in rest.iter().enumerate() {
        tail += f64::from(term(16 * blocks.len() + i, *x));
    }
    lanes.iter().sum::<f64>() + tail
}

/// Logarithm of the sum of `e^(scale x)`; NaN for a row of -inf or with +inf, which has no distribution.
#[inline(always)]
pub fn log_sum_exp(x: &[f32], scale: f32) -> f32 {
    let max = max(x) * scale;
    if !max.is_finite() {
        return f32::NAN;
    }
    max + sum(x, |_, x| exp(x.mul_add(scale, -max))).ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_of_the_library() {
        for i in -8_700_000..8_860_000 {
            let x = i as f32 * 1e-5;
            let (ours, exact) = (exp(x), f64::from(x).exp());
            // 2.4e-7 is two units in the last place, relative.
            assert!(((f64::from(ours) - exact) / exact).abs() < 2.4e-7, "exp({x}) = {ours}, {exact}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn log_sum_exp_is_that_of_its_definition() {
        for len in [1, 15, 16, 100] {
            let x: Vec<f32> = (0..len).map(|i| 20.0 * (i as f32 * 0.7).sin()).collect();
            let exact = x.iter().map(|x| f64::from(*x * 0.5).exp()).sum::<f64>().ln();
            // Two units in the last place of values up to 16.
            assert!((f64::from(log_sum_exp(&x, 0.5)) - exact).abs() < 2e-6);
        }
        assert!(log_sum_exp(&[f32::NEG_INFINITY; 20], 1.0).is_nan());
        assert!(log_sum_exp(&[0.0, f32::INFINITY], 1.0).is_nan());
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY, 3.0], 1.0), 3.0);
    }

    #[test]
    fn dot_and_max_agree_with_plain_loops() {
        for len in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
            let plain: f32 = a.iter().map(|x| x * x).sum();
            // 100 terms of at most 1: 100 * 2^-24 is 6e-6.
            assert!((dot(&a, &a) - plain).abs() < 6e-6);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
