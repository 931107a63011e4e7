//! Which pieces of device memory are idle and wait for the next buffer: bookkeeping alone, no memory of its own.
//!
//! Asking the driver for memory costs up to a millisecond and giving it back waits for the card, so that pieces are kept
//! and used again. Sizes are rounded up to classes, eight to a doubling: a piece is at most an eighth larger than asked, and
//! buffers of slightly different batches find each other's pieces. What is idle is bounded; the largest pieces go first.

use std::collections::{BTreeMap, BTreeSet};

/// The smallest piece: what the driver aligns to.
const SMALLEST: u64 = 512;
/// Classes to a doubling.
const STEPS: u64 = 8;

/// A piece of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins.
    pub address: u64,
    /// Its size in bytes, a class.
    pub bytes: u64,
}

/// The idle pieces.
#[derive(Debug, Default)]
pub struct Pool {
    /// Addresses by size. Of one size the lowest is taken, so that what a step is given depends on what is idle when it begins
    /// and not on the order in which that became idle: the next step is given the same.
    idle: BTreeMap<u64, BTreeSet<u64>>,
    idle_bytes: u64,
    most_idle: u64,
}

/// The size of the piece that holds so many bytes: the next multiple of an eighth of the power of two below.
pub fn class(bytes: u64) -> u64 {
    let bytes = bytes.max(SMALLEST);
    let below = 1 << bytes.ilog2();
    bytes.next_multiple_of((below / STEPS).max(SMALLEST))
}

impl Pool {
    /// A pool that keeps no more than so many bytes idle.
    pub fn new(most_idle: u64) -> Self {
        Self { most_idle, ..Self::default() }
    }

    /// An idle piece of this class, or of one at most a quarter larger.
    pub fn take(&mut self, class: u64) -> Option<Block> {
        let (&bytes, addresses) = self.idle.range_mut(class..=class + class / 4).next()?;
        let address = addresses.pop_first()?;
        if addresses.is_empty() {
            self.idle.remove(&bytes);
        }
        self.idle_bytes -= bytes;
        Some(Block { address, bytes })
    }

    /// Keeps a piece; returns those that are now too many, to be given back.
    pub fn put(&mut self, block: Block) -> Vec<Block> {
        self.idle.entry(block.bytes).or_default().insert(block.address);
        self.idle_bytes += block.bytes;
        let mut surplus = Vec::new();
        while self.idle_bytes > self.most_idle
            && let Some(&largest) = self.idle.keys().next_back()
        {
            surplus.extend(self.take(largest));
        }
        surplus
    }

    /// All idle pieces, to be given back.
    pub fn drain(&mut self) -> Vec<Block> {
        self.idle_bytes = 0;
        let all = std::mem::take(&mut self.idle).into_iter();
        all.flat_map(|(bytes, addresses)| addresses.into_iter().map(move |address| Block { address, bytes }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_are_at_most_an_eighth_larger_and_fixed_points() {
        for bytes in (0..1 << 16).chain((1 << 33) - 3..(1 << 33) + 3) {
            let class = class(bytes);
            assert!(class >= bytes && class.is_multiple_of(SMALLEST));
            assert!(class <= SMALLEST.max(bytes + (bytes / STEPS).max(SMALLEST)), "{bytes} became {class}");
            assert_eq!(super::class(class), class);
        }
    }

    impl Pool {
        fn idle_bytes(&self) -> u64 {
            self.idle_bytes
        }
    }

    proptest! {
        /// Whatever is taken and given back in whatever order: no piece is given out twice, none is lost, and no more is idle
        /// than allowed.
        #[test]
        fn no_piece_is_lost_or_given_out_twice(steps in prop::collection::vec((0u64..200_000, any::<bool>()), 1..300)) {
            const MOST: u64 = 1 << 20;
            let mut pool = Pool::new(MOST);
            let mut next = 0;
            let (mut used, mut freed): (Vec<Block>, HashSet<u64>) = (Vec::new(), HashSet::new());
            for (bytes, give_back) in steps {
                if give_back && !used.is_empty() {
                    let block = used.swap_remove(bytes as usize % used.len());
                    for surplus in pool.put(block) {
                        prop_assert!(freed.insert(surplus.address), "given back twice");
                    }
                } else {
                    let wanted = class(bytes);
                    let block = pool.take(wanted).unwrap_or_else(|| {
                        next += 1;
                        Block { address: next, bytes: wanted }
                    });
                    prop_assert!(block.bytes >= bytes && block.bytes <= wanted + wanted / 4);
                    prop_assert!(!freed.contains(&block.address), "a piece that was given back");
                    prop_assert!(used.iter().all(|other| other.address != block.address), "a piece in use");
                    used.push(block);
                }
                prop_assert!(pool.idle_bytes() <= MOST);
            }
            let idle = pool.drain();
            prop_assert_eq!(idle.len() + used.len() + freed.len(), next as usize);
            prop_assert_eq!(pool.idle_bytes(), 0);
            prop_assert!(pool.take(SMALLEST).is_none());
        }
    }
}
