//! Progress of a long command on standard error: one line that rewrites itself on a terminal, a line every ten seconds
//! elsewhere, nothing at all when the work is done within two seconds.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

const SILENT: Duration = Duration::from_secs(2);
const ON_TERMINAL: Duration = Duration::from_millis(250);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Progress of one piece of work.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    quiet: bool,
    terminal: bool,
    start: Instant,
    next: Instant,
    drawn: bool,
}

impl Progress {
    /// Begins now.
    pub fn new(what: &'static str, quiet: bool) -> Self {
        let start = Instant::now();
        let terminal = stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { what, quiet, terminal, start, next: start + SILENT, drawn: false }
    }

    /// Says how far it is, if it is time to: `fraction` done, `tokens` so far, and the rest in words.
    pub fn update(&mut self, fraction: f64, tokens: usize, words: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.quiet || now < self.next {
            return;
        }
        self.next = now + if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        let elapsed = (now - self.start).as_secs_f64();
        let left = if fraction > 0.0 { clock(elapsed * (1.0 / fraction.min(1.0) - 1.0)) } else { "?".into() };
        let line = format!(
            "{} {:3.0}% | {} | {:.0} tok/s | {}<{left}",
            self.what,
            100.0 * fraction.min(1.0),
            words(),
            tokens as f64 / elapsed,
            clock(elapsed),
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            let _ = stderr().flush();
            self.drawn = true;
        } else {
            eprintln!("{line}");
        }
    }

    /// Clears the line, so that what is written next begins at the left.
    pub fn clear(&mut self) {
        if self.drawn {
            eprint!("\r\x1b[K");
            self.drawn = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.min(359_999.0) as u64;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn clocks() {
        assert_eq!(super::clock(3661.9), "01:01:01");
        assert_eq!(super::clock(f64::INFINITY), "99:59:59");
    }
}
