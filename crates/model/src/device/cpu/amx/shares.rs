//! How a product is cut into the shares of its threads.

use std::ops::Range;

use super::tile::SIDE;

/// As many equal parts of `len` lines, in whole blocks.
pub fn even(len: usize, parts: usize) -> Vec<Range<usize>> {
    let units = len.div_ceil(SIDE);
    let at = |index: usize| (index * units / parts * SIDE).min(len);
    (0..parts).map(|index| at(index)..at(index + 1)).collect()
}

/// Parts of `len` lines for threads that take one after another: each half of an even share of what is left, so that a thread
/// that is disturbed takes fewer and all end together. Of `least` to `most` lines in whole blocks, but that the last also takes
/// what would not be worth a part.
pub fn shrinking(len: usize, threads: usize, least: usize, most: usize) -> Vec<Range<usize>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    while start < len {
        let left = len - start;
        let part = if threads > 1 { left / (2 * threads) } else { most };
        let part = part.clamp(least, most).next_multiple_of(SIDE);
        let part = if left < part + least { left } else { part };
        parts.push(start..start + part);
        start += part;
    }
    parts
}

/// Shares of the rows and of the columns, their product at most `threads`: as many as can be used, and among those the ones
/// that arrange the least, as each share arranges its part of both operands.
pub fn grid(threads: usize, rows: usize, columns: usize) -> (usize, usize) {
    let shapes = (1..=threads.min(rows)).map(|down| (down, (threads / down).min(columns)));
    let cost = |&(down, across): &(usize, usize)| {
        (usize::MAX - down * across, rows.div_ceil(down) + columns.div_ceil(across))
    };
    shapes.min_by_key(cost).unwrap_or((1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_line_once_and_shrink_to_what_is_worth_one() {
        for threads in [1, 2, 7] {
            for len in [1, 31, 128, 500, 2048, 4097] {
                let parts = shrinking(len, threads, 128, 256);
                let lines: Vec<usize> = parts.iter().cloned().flatten().collect();
                assert_eq!(lines, (0..len).collect::<Vec<_>>(), "{len} lines for {threads}: {parts:?}");
                let lens: Vec<usize> = parts.iter().map(Range::len).collect();
                assert!(lens.is_sorted_by(|a, b| a + 127 >= *b), "{lens:?}: a later one is longer");
                assert!(parts.iter().all(|part| part.start.is_multiple_of(SIDE)), "{parts:?}");
                assert!(lens.iter().all(|part| len < 128 || (128..256 + 128).contains(part)), "{lens:?}");
            }
        }
        assert_eq!(even(100, 3), [0..32, 32..64, 64..100]);
    }
}
