//! How many demonstrations rows have, and how many of them a run uses.

use std::collections::BTreeMap;

/// How many of something rows have.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// The fewest.
    pub least: usize,
    /// The most.
    pub most: usize,
    /// All together.
    pub sum: u64,
    /// Rows.
    pub rows: u64,
}

impl Spread {
    pub(crate) fn add(&mut self, count: usize) {
        self.least = if self.rows == 0 { count } else { self.least.min(count) };
        self.most = self.most.max(count);
        self.sum += count as u64;
        self.rows += 1;
    }

    /// Of a row.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.rows.max(1) as f64
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.least == self.most {
            return write!(f, "{}", self.most);
        }
        write!(f, "{} to {}", self.least, self.most)
    }
}

/// Completions that a run of so many epochs uses, and all there are; `None` where it uses all, or none by its settings.
/// `offered` has rows by what they have to choose from, of which `wanted` are taken at each visit, one after the other.
pub(crate) fn never_used(offered: &BTreeMap<usize, u64>, wanted: usize, epochs: f64) -> Option<(u64, u64)> {
    let all: u64 = offered.iter().map(|(len, rows)| *len as u64 * rows).sum();
    let whole = epochs.floor();
    let after = |visits: f64, len: usize| (visits * wanted as f64).min(len as f64);
    let used = |(len, rows): (&usize, &u64)| {
        let (fewer, more) = (after(whole, *len), after(whole + 1.0, *len));
        *rows as f64 * (fewer + (epochs - whole) * (more - fewer))
    };
    let used = offered.iter().map(used).sum::<f64>().round() as u64;
    (wanted > 0 && used < all).then_some((used, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_never_uses() {
        // Ten rows with four completions, ten with one.
        let offered = BTreeMap::from([(1, 10), (4, 10)]);
        assert_eq!(never_used(&offered, 1, 1.0), Some((20, 50)));
        assert_eq!(never_used(&offered, 3, 1.0), Some((40, 50)));
        assert_eq!(never_used(&offered, 1, 2.5), Some((35, 50)));
        assert_eq!(never_used(&offered, 2, 0.5), Some((15, 50)));
        assert_eq!(never_used(&offered, 1, 4.0), None);
        assert_eq!(never_used(&offered, 4, 1.0), None);
        assert_eq!(never_used(&offered, 0, 1.0), None);
    }
}
