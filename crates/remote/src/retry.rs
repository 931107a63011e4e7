//! Asking again: waits that double, a little scattered, or as long as the server says.

use std::thread;
use std::time::{Duration, Instant};

use crate::Trouble;

/// How often and with which waits a request is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Times that a request is tried; at least 1.
    pub tries: usize,
    /// Wait after the first failed try; it doubles. Each wait is shortened by up to a quarter, differently for each
    /// request, so that requests that failed together do not come back together.
    pub first_wait: Duration,
    /// The longest wait between tries.
    pub longest_wait: Duration,
    /// A server that asks to wait longer than this is not waited for.
    pub longest_retry_after: Duration,
}

/// What came of a request that was tried up to a number of times.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried<T> {
    /// The answer, or the last trouble.
    pub result: Result<T, Trouble>,
    /// The troubles before that, each followed by another try.
    pub overcome: Vec<Trouble>,
}

/// How often a wait looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(20);

impl Retry {
    /// Runs `attempt` until it succeeds, fails for good, has been tried often enough, or `stop` says so. `key` scatters
    /// the waits; `waiting` hears of each trouble and the wait after it.
    pub fn run<T>(
        &self,
        key: u64,
        stop: &dyn Fn() -> bool,
        waiting: &dyn Fn(&Trouble, Duration),
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Tried<T> {
        let mut overcome: Vec<Trouble> = Vec::new();
        loop {
            let trouble = match attempt() {
                Err(trouble) if trouble.again() && overcome.len() + 1 < self.tries && !stop() => trouble,
                result => return Tried { result, overcome },
            };
            let wait = match trouble.retry_after {
                Some(wait) if wait > self.longest_retry_after => {
                    return Tried { result: Err(trouble), overcome };
                }
                Some(wait) => wait.max(self.wait(overcome.len(), key).min(self.first_wait)),
                None => self.wait(overcome.len(), key),
            };
            waiting(&trouble, wait);
            overcome.push(trouble);
            if !pause(wait, stop) {
                let last = overcome.pop().unwrap_or_else(interrupted);
                return Tried { result: Err(last), overcome };
            }
        }
    }

    /// The wait after try number `tried`, from 0.
    fn wait(&self, tried: usize, key: u64) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << tried.min(20)).min(self.longest_wait);
        // The high bits of a multiplication by the golden ratio: evenly spread for consecutive keys.
        let scattered = (key.wrapping_add(tried as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64;
        doubled.mul_f64(1.0 - scattered / f64::from(1 << 26))
    }
}

fn interrupted() -> Trouble {
    Trouble { why: "interrupted".into(), kind: crate::Kind::Unreachable, retry_after: None }
}

/// Sleeps for `wait`; false as soon as `stop` says so.
pub(crate) fn pause(wait: Duration, stop: &dyn Fn() -> bool) -> bool {
    let end = Instant::now() + wait;
    loop {
        if stop() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(TICK));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::Kind;

    const RETRY: Retry = Retry {
        tries: 4,
        first_wait: Duration::from_millis(2),
        longest_wait: Duration::from_millis(4),
        longest_retry_after: Duration::from_secs(9),
    };

    fn trouble(kind: Kind, retry_after: Option<u64>) -> Trouble {
        Trouble { why: format!("{kind:?}"), kind, retry_after: retry_after.map(Duration::from_millis) }
    }

    /// Runs through `troubles`, then succeeds; returns whether it did, the tries and the waits.
    fn run(troubles: &[Trouble], stop: &dyn Fn() -> bool) -> (bool, usize, Vec<Duration>) {
        let (waits, mut tries) = (RefCell::new(Vec::new()), 0);
        let tried = RETRY.run(1, stop, &|_, wait| waits.borrow_mut().push(wait), || {
            tries += 1;
            troubles.get(tries - 1).map_or(Ok(()), |trouble| Err(trouble.clone()))
        });
        (tried.result.is_ok(), tries, waits.into_inner())
    }

    #[test]
    fn what_can_help_is_tried_again_and_the_rest_is_not() {
        let busy = trouble(Kind::Busy, None);
        assert_eq!(run(&[], &|| false).1, 1);
        let (ok, tries, waits) = run(&vec![busy.clone(); 3], &|| false);
        assert!(ok && tries == 4);
        for (wait, full) in waits.iter().zip([2.0, 4.0, 4.0]) {
            let ms = wait.as_secs_f64() * 1000.0;
            assert!(ms > 0.75 * full - 1e-6 && ms <= full, "{ms} of {full}");
        }
        assert_eq!(run(&vec![busy; 9], &|| false).1, 4);
        for kind in [Kind::Unreachable, Kind::Broken, Kind::Slow] {
            assert!(run(&[trouble(kind, None)], &|| false).0, "{kind:?}");
        }
        assert_eq!(run(&[trouble(Kind::Refused(401), None)], &|| false).1, 1);
    }

    #[test]
    fn the_server_says_how_long_to_wait() {
        let waits = run(&[trouble(Kind::Busy, Some(30))], &|| false).2;
        assert_eq!(waits, [Duration::from_millis(30)]);
        // Not for ever.
        assert_eq!(run(&[trouble(Kind::Busy, Some(10_000))], &|| false).1, 1);
        // Not at once, even if it says so.
        assert!(run(&[trouble(Kind::Busy, Some(0))], &|| false).2[0] >= Duration::from_micros(1500));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        assert_eq!(run(&[trouble(Kind::Busy, None)], &|| true).1, 1);
    }
}
