//! Dice: numbers drawn one after the other from a keyed stream.

use gft_model::random::Stream;

/// A row's random numbers, in the order in which they are asked for.
pub(crate) struct Dice {
    stream: Stream,
    rolled: u64,
}

impl Dice {
    /// The dice of row `index` of the data set that `stream` belongs to.
    pub fn new(stream: Stream, index: u64) -> Self {
        Self { stream: stream.child(index), rolled: 0 }
    }

    /// Uniform in `[0, 1)`.
    fn uniform(&mut self) -> f64 {
        self.rolled += 1;
        self.stream.uniform(self.rolled)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Uniform among `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.uniform() * (high - low + 1) as f64) as i64
    }

    /// One of `items`, all as likely.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.between(0, items.len() as i64 - 1) as usize]
    }

    /// One of `items` by their shares, which add up to 1.
    pub fn weighted<T: Copy>(&mut self, items: &[(T, f64)]) -> T {
        let mut left = self.uniform();
        for (item, share) in items {
            if left < *share {
                return *item;
            }
            left -= share;
        }
        // Reached by rounding alone.
        items[items.len() - 1].0
    }
}
