//! The order of the rows: a keyed permutation, so that seeking is arithmetic and resuming needs one integer.

/// The order in which one epoch visits `len` rows: a bijection of `0..len` that is a function of (seed, epoch) alone.
///
/// A Feistel network over the smallest even number of bits that holds `len` (at least [`MIN_BITS`]) permutes that range;
/// an image outside `0..len` is sent through again until it is inside ("cycle walking", Black and Rogaway 2002), which
/// keeps it a bijection. The expected number of passes is below 4, or `2^MIN_BITS / len` for tiny `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

const ROUNDS: usize = 8;

/// Below this width a network has too few different round functions to reach all orders of a short list.
const MIN_BITS: u32 = 8;

impl Order {
    /// The order of epoch `epoch` over `len` rows.
    pub fn new(seed: u64, epoch: u64, len: u64) -> Self {
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(MIN_BITS);
        let mut state = mix(seed ^ mix(epoch.wrapping_add(GOLDEN)));
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(GOLDEN);
            mix(state)
        });
        Self { len, half_bits: bits.div_ceil(2), keys }
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row at place `index` of this epoch, `None` from `len` on.
    pub fn at(&self, index: u64) -> Option<u64> {
        if index >= self.len {
            return None;
        }
        let mut row = self.permute(index);
        while row >= self.len {
            row = self.permute(row);
        }
        Some(row)
    }

    /// The row at place `position` of an endless run over epochs 0, 1, 2 ..., each in its own order; `None` only if
    /// there are no rows. This is the one integer that a run has to remember.
    pub fn sample(seed: u64, len: u64, position: u64) -> Option<u64> {
        if len == 0 {
            return None;
        }
        Self::new(seed, position / len, len).at(position % len)
    }

    /// The rows in this epoch's order, from place `start` on.
    pub fn iter_from(self, start: u64) -> impl Iterator<Item = u64> {
        (start..self.len).filter_map(move |index| self.at(index))
    }

    fn permute(&self, value: u64) -> u64 {
        let mask = u64::MAX >> (u64::BITS - self.half_bits);
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_once() {
        for len in 0..=300 {
            for epoch in 0..2 {
                let order = Order::new(7, epoch, len);
                let mut seen = vec![false; len as usize];
                for index in 0..len {
                    let row = order.at(index).unwrap() as usize;
                    assert!(!seen[row], "len {len}: row {row} twice");
                    seen[row] = true;
                }
                assert!(seen.into_iter().all(|s| s));
                assert_eq!(order.at(len), None);
            }
        }
    }

    /// Too many rows to list: the inverse network is the witness that no two places share a row.
    #[test]
    fn bijective_beyond_32_bits() {
        for len in [(1 << 32) + 1, (1 << 40) - 3, 1 << 63, u64::MAX] {
            let order = Order::new(3, 1, len);
            for index in (0..2000).map(|k| k * (len / 2000)).chain(len - 50..len) {
                let row = order.at(index).unwrap();
                assert!(row < len);
                assert_eq!(inverse(&order, row), index);
            }
        }
    }

    fn inverse(order: &Order, row: u64) -> u64 {
        let mask = u64::MAX >> (u64::BITS - order.half_bits);
        let mut value = row;
        loop {
            let (mut left, mut right) = (value >> order.half_bits, value & mask);
            for key in order.keys.into_iter().rev() {
                (left, right) = (right ^ (mix(left ^ key) & mask), left);
            }
            value = left << order.half_bits | right;
            if value < order.len {
                return value;
            }
        }
    }

    #[test]
    fn seek_equals_skip() {
        let order = Order::new(11, 4, 1000);
        let all: Vec<u64> = order.iter_from(0).collect();
        for start in [0, 1, 17, 500, 999, 1000] {
            assert!(order.iter_from(start).eq(all[start as usize..].iter().copied()));
        }
        for position in 4000..5000 {
            assert_eq!(Order::sample(11, 1000, position), Some(all[position as usize - 4000]));
        }
    }

    #[test]
    fn each_seed_and_epoch_has_its_own_order() {
        let list = |seed, epoch| Order::new(seed, epoch, 50).iter_from(0).collect::<Vec<_>>();
        let mut seen = std::collections::HashSet::new();
        for seed in 0..20 {
            for epoch in 0..20 {
                assert!(seen.insert(list(seed, epoch)), "seed {seed} epoch {epoch} repeats an order");
            }
        }
        assert_eq!(list(5, 6), list(5, 6));
    }

    /// Which row comes first must be uniform over seeds, and so must each of the 24 orders of four rows.
    #[test]
    fn uniform() {
        let (seeds, len) = (24_000_u64, 24_u64);
        let mut first = vec![0.0; len as usize];
        let mut orders = std::collections::HashMap::<Vec<u64>, f64>::new();
        for seed in 0..seeds {
            first[Order::new(seed, 0, len).at(0).unwrap() as usize] += 1.0;
            *orders.entry(Order::new(seed, 0, 4).iter_from(0).collect()).or_default() += 1.0;
        }
        let expected = seeds as f64 / 24.0;
        let chi2 = |counts: &mut dyn Iterator<Item = f64>| {
            counts.map(|c| (c - expected).powi(2) / expected).sum::<f64>()
        };
        // 23 degrees of freedom: 49.7 is the 99.9 % quantile; seeds are fixed, so this does not flicker.
        assert_eq!(orders.len(), 24);
        assert!(chi2(&mut first.into_iter()) < 49.7);
        assert!(chi2(&mut orders.into_values()) < 49.7);
    }
}
