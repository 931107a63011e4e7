//! The work counter: every costly step is charged here before it runs, so a comparison cannot run away.

/// Why a computation was given up before it had an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The work counter ran out, or a cap on depth, nodes or bits was met.
    Budget,
    /// This method does not apply to the expression (say, a sine in a polynomial).
    Inapplicable,
}

/// Result of a bounded computation.
pub(crate) type Bounded<T> = Result<T, Stop>;

/// Counts work down. One unit takes at most about eighty nanoseconds, most take far less.
#[derive(Debug)]
pub(crate) struct Work {
    left: u32,
    limit: u32,
}

impl Work {
    pub(crate) fn new(limit: u32) -> Work {
        Work { left: limit, limit }
    }

    /// Takes `units` from the counter before the work is done; once refused, it stays refused.
    pub(crate) fn charge(&mut self, units: u32) -> Bounded<()> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Stop::Budget)
            }
        }
    }

    pub(crate) fn used(&self) -> u32 {
        self.limit - self.left
    }
}
