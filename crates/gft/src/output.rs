//! Standard output, a line at a time: whole lines only, flushed at once, and a quiet end when nobody reads any more.

use std::io::{ErrorKind, IsTerminal, Write, stdout};
use std::process::exit;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::failure::Failure;
use crate::terminal;

/// Held while something is written, so that an interrupt does not tear a line.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes a value as a line of JSON.
///
/// # Errors
/// Only when the value has no JSON form.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value).map_err(|error| Failure::Run(error.to_string()))?;
    text.push('\n');
    write(&text);
    Ok(())
}

/// Writes what a model has written. To a terminal it goes without control characters: they could do anything there.
pub fn text(text: &str) {
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if stdout().is_terminal() && text.contains(control) {
        write(&text.replace(control, "\u{FFFD}"));
    } else {
        write(text);
    }
}

/// Writes text. When the reader is gone (`| head`) the process ends well, and when the disk is full it ends as failed:
/// there is nothing that the caller could still do.
pub fn write(text: &str) {
    let guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = stdout().lock();
    let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) else { return };
    drop(guard);
    if error.kind() == ErrorKind::BrokenPipe {
        exit(0);
    }
    terminal::report(&Failure::Run(format!("standard output: cannot write: {error}")));
    exit(1);
}

/// Ends the process as interrupted, after the line that is being written; a reader that has stopped reading is not
/// waited for.
pub fn exit_interrupted() -> ! {
    let start = Instant::now();
    while let Err(TryLockError::WouldBlock) = WRITING.try_lock() {
        if start.elapsed() > Duration::from_millis(500) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    exit(130)
}
