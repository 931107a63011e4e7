//! When the next request may leave: a rate, and waits that the server asked for.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Spaces requests evenly. Shared between threads.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// At most so many requests a minute; `None` for as fast as they come.
    pub fn new(per_minute: Option<f64>) -> Self {
        // Whoever wants less than one a day waits a day: a longer wait has no meaning and may have no number.
        let day = Duration::from_secs(86_400);
        let wait = |n: f64| Duration::try_from_secs_f64(60.0 / n).map_or(day, |wait| wait.min(day));
        let interval = per_minute.map_or(Duration::ZERO, wait);
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for this request's turn; false if `stop` says so before.
    pub fn turn(&self, stop: &dyn Fn() -> bool) -> bool {
        let mut mine = None;
        loop {
            if stop() {
                return false;
            }
            let now = Instant::now();
            {
                let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
                let at = *mine.get_or_insert_with(|| {
                    let at = (*next).max(now);
                    *next = at + self.interval;
                    at
                });
                if at <= now {
                    return true;
                }
            }
            let left = mine.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// No request leaves for so long: the server asked for it, and it means all of them.
    pub fn hold(&self, wait: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Instant::now() + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_almost_nothing_is_a_long_wait() {
        let pace = Pace::new(Some(1e-300));
        assert!(pace.turn(&|| false), "the first leaves at once");
        assert!(pace.interval >= Duration::from_secs(86_400));
        assert!(!pace.turn(&|| true));
    }
}
