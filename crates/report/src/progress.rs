//! Progress of a long command on standard error: one line that rewrites itself on a terminal, a line every ten seconds
//! elsewhere, nothing at all when the work is done within two seconds.

use crate::duration::{clock, remaining_share};
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

    /// Begins now, and says nothing where standard error is no terminal.
    pub fn on_terminal(what: &'static str, quiet: bool) -> Self {
        let mut progress = Self::new(what, quiet);
        progress.quiet |= !progress.terminal;
        progress
    }

    /// Says a text, if it is time to.
    pub fn draw(&mut self, text: impl FnOnce() -> String) {
        self.line(|_, _| text());
    }

    /// Says how far it is, if it is time to: `fraction` done, `tokens` so far, and the rest in words.
    pub fn update(&mut self, fraction: f64, tokens: usize, words: impl FnOnce() -> String) {
        self.line(|what, elapsed| {
            let rate = tokens as f64 / elapsed.as_secs_f64();
            let left = remaining_share(fraction, elapsed).map_or("?".into(), clock);
            format!(
                "{what} {:3.0}% | {} | {rate:.0} tok/s | {}<{left}",
                100.0 * fraction.min(1.0),
                words(),
                clock(elapsed)
            )
        });
    }

    /// Says how many of `total` are done, if it is time to.
    pub fn count(&mut self, done: u64, total: u64) {
        self.line(|what, elapsed| {
            let fraction = done as f64 / total.max(1) as f64;
            let left = remaining_share(fraction, elapsed).map_or("?".into(), clock);
            format!("{what} {:3.0}% | {done}/{total} | {}<{left}", 100.0 * fraction, clock(elapsed))
        });
    }

    /// Draws a line made from what this is and how long it has taken, if it is time to.
    fn line(&mut self, text: impl FnOnce(&str, Duration) -> String) {
        let now = Instant::now();
        if self.quiet || now < self.next {
            return;
        }
        self.next = now + if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        let line = text(self.what, now - self.start);
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
