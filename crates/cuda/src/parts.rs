//! Tiles of keys shared out among blocks for their gradient.
//!
//! A tile's gradient is a sum over all queries that see it. A prompt with many responses is seen by all of them, and a card
//! would end with a few blocks that walk over its tiles long after all others are done. Such walks are cut into parts, whose
//! sums are added in their order. What is cut depends on the batch alone, so that the bits do not depend on the card.

use std::ops::Range;

/// Queries that the kernel takes at a time: parts are cut between them.
const AT_A_TIME: u32 = 32;
/// Queries of a part at least: for fewer, sums cost more to write and to add than a shorter walk is worth.
const LEAST: u32 = 256;
/// In place of a place among the sums, for a tile with one part.
const NO_PLACE: u32 = u32::MAX;

/// The parts of a batch's tiles, as `kernels/README.md` has them.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// `(first token, tokens, position, segment, from, to, place, 0)`, the longest walks first.
    pub entries: Vec<[u32; 8]>,
    /// `(first token, tokens, first place, parts)` of each tile that has several.
    pub shared: Vec<[u32; 4]>,
    /// Sums of parts.
    pub places: u32,
}

impl Parts {
    /// Shares out tiles, each with the queries that see it, counted along its heirs.
    pub fn new(tiles: &[([u32; 4], Range<u32>)]) -> Self {
        let all: u64 = tiles.iter().map(|(_, seen)| seen.len() as u64).sum();
        let mean = (all / tiles.len().max(1) as u64) as u32;
        let mut parts = Parts::default();
        for (tile, seen) in tiles {
            // A sequence without branches has no tile beyond twice its mean: it is left as it is.
            let long = seen.len() as u64 > 2 * u64::from(mean);
            parts.add(*tile, seen, if long { mean.max(LEAST) } else { u32::MAX });
        }
        parts.entries.sort_by_key(|entry| std::cmp::Reverse(entry[5] - entry[4]));
        parts
    }

    /// Adds a tile in equal parts of no more than `most` queries.
    fn add(&mut self, tile: [u32; 4], seen: &Range<u32>, most: u32) {
        let queries = seen.end - seen.start;
        let each = queries.div_ceil(queries.div_ceil(most).max(1)).next_multiple_of(AT_A_TIME);
        let count = queries.div_ceil(each).max(1);
        for part in 0..count {
            let from = seen.start + part * each;
            let place = if count == 1 { NO_PLACE } else { self.places + part };
            let [token, tokens, position, segment] = tile;
            self.entries.push([token, tokens, position, segment, from, seen.end.min(from + each), place, 0]);
        }
        if count > 1 {
            self.shared.push([tile[0], tile[1], self.places, count]);
            self.places += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles of trees: a prompt and responses of so many tokens each, all whole tiles.
    fn trees(count: u32, prompt: u32, responses: u32, response: u32) -> Vec<([u32; 4], Range<u32>)> {
        let mut tiles = Vec::new();
        for _ in 0..count {
            let all = prompt + responses * response;
            tiles.extend((0..prompt / 64).map(|i| ([0, 64, 0, 0], 64 * i..all)));
            for _ in 0..responses {
                tiles.extend((0..response / 64).map(|i| ([0, 64, 0, 0], 64 * i..response)));
            }
        }
        tiles
    }

    /// How much longer the last block ends than it would if all slots of a card had the same work, where each slot takes
    /// the next part when it is done with one: 132 multiprocessors with two blocks each. A part is its turns for each head of
    /// a group, and some for what it reads first and writes last.
    fn imbalance(entries: &[[u32; 8]], kv_heads: u64, group: u64) -> f64 {
        let mut slots = [0u64; 264];
        let turns = |entry: &[u32; 8]| group * u64::from((entry[5] - entry[4]).div_ceil(AT_A_TIME)) + 3;
        for entry in entries.iter().flat_map(|entry| std::iter::repeat_n(entry, kv_heads as usize)) {
            *slots.iter_mut().min().unwrap() += turns(entry);
        }
        let mean = slots.iter().sum::<u64>() as f64 / slots.len() as f64;
        *slots.iter().max().unwrap() as f64 / mean
    }

    #[test]
    fn no_block_of_a_batch_of_trees_ends_long_after_the_others() {
        // Heads of Qwen2.5-1.5B, and of models of 8B.
        for (kv_heads, group, bound) in [(2, 6, 1.2), (8, 4, 1.05)] {
            for (count, prompt, responses, response) in [
                (1, 1024, 8, 1024),
                (2, 1024, 8, 1024),
                (2, 256, 16, 512),
                (3, 512, 4, 1024),
                (1, 4096, 8, 1472),
            ] {
                let parts = Parts::new(&trees(count, prompt, responses, response));
                let found = imbalance(&parts.entries, kv_heads, group);
                assert!(found < bound, "{count} of {prompt} + {responses} x {response}, {kv_heads}: {found}");
            }
        }
    }

    #[test]
    fn parts_are_a_tiles_queries_in_order_and_their_sums_lie_together() {
        let parts = Parts::new(&trees(1, 128, 8, 128));
        // Both tiles of the prompt, of 1152 and of 1088 queries, are seen by more than twice the mean.
        assert_eq!(parts.shared, [[0, 64, 0, 5], [0, 64, 5, 5]]);
        let mut of_first: Vec<_> = parts.entries.iter().filter(|entry| entry[6] < 5).collect();
        of_first.sort_by_key(|entry| entry[6]);
        let ranges: Vec<_> = of_first.iter().map(|entry| (entry[4], entry[5])).collect();
        assert_eq!(ranges, [(0, 256), (256, 512), (512, 768), (768, 1024), (1024, 1152)]);
        assert_eq!((parts.places, parts.entries.len()), (10, 10 + 16));
        assert!(parts.entries.is_sorted_by_key(|entry| std::cmp::Reverse(entry[5] - entry[4])));
    }

    #[test]
    fn sequences_without_branches_are_not_cut() {
        for response in [64, 1024, 16384] {
            let parts = Parts::new(&trees(1, 0, 4, response));
            assert_eq!((parts.places, parts.shared.len()), (0, 0));
            assert!(parts.entries.iter().all(|entry| entry[6] == NO_PLACE));
        }
        assert!(Parts::new(&[]).entries.is_empty());
    }
}
