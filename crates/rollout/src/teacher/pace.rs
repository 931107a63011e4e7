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
        let interval = per_minute.map_or(Duration::ZERO, |n| Duration::from_secs_f64(60.0 / n));
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
