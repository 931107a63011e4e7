//! Durations and times to completion, as text.

use std::time::Duration;

/// `HH:MM:SS`, with `D-` before it from one day on; parts of a second are dropped.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let time = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if days == 0 { time } else { format!("{days}-{time}") }
}

/// `MM:SS` below one hour, as [`clock`] from there on.
pub(crate) fn short_clock(duration: Duration) -> String {
    let text = clock(duration);
    text.strip_prefix("00:").map_or(text.clone(), str::to_owned)
}

/// The time that `todo` steps will take if `done` steps took `elapsed`; `None` before the first step.
pub fn remaining(done: u64, todo: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() / done as f64 * todo as f64).ok()
}

/// The time that is left when a share of the work took `elapsed`; `None` before anything is done.
pub(crate) fn remaining_share(share: f64, elapsed: Duration) -> Option<Duration> {
    if share <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * (1.0 / share.min(1.0) - 1.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        let cases = [
            (0, "00:00:00", "00:00"),
            (59, "00:00:59", "00:59"),
            (3599, "00:59:59", "59:59"),
            (3600, "01:00:00", "01:00:00"),
            (86_399, "23:59:59", "23:59:59"),
            (86_400, "1-00:00:00", "1-00:00:00"),
            (900_061, "10-10:01:01", "10-10:01:01"),
        ];
        for (seconds, long, short) in cases {
            let duration = Duration::from_secs(seconds);
            assert_eq!((clock(duration).as_str(), short_clock(duration).as_str()), (long, short));
        }
        assert_eq!(clock(Duration::from_millis(1999)), "00:00:01");
        assert!(clock(Duration::MAX).ends_with(":15"));
    }

    #[test]
    fn time_to_completion() {
        assert_eq!(remaining(0, 10, Duration::from_secs(5)), None);
        assert_eq!(remaining(40, 460, Duration::from_secs(250)), Some(Duration::from_secs(2875)));
        assert_eq!(remaining(40, 0, Duration::from_secs(250)), Some(Duration::ZERO));
        assert_eq!(remaining(1, u64::MAX, Duration::MAX), None);
        assert_eq!(remaining_share(0.25, Duration::from_secs(10)), Some(Duration::from_secs(30)));
        assert_eq!(remaining_share(1.5, Duration::from_secs(10)), Some(Duration::ZERO));
        assert_eq!(remaining_share(0.0, Duration::from_secs(10)), None);
    }
}
