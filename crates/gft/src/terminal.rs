//! What goes to the terminal: errors on standard error, in colour where that is wanted.

use std::io::{IsTerminal, stderr};

use crate::failure::Failure;

/// Whether standard error is a terminal that wants colour (`NO_COLOR`, <https://no-color.org>).
pub fn colour() -> bool {
    stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints why a command failed.
pub fn report(failure: &Failure) {
    if colour() {
        eprintln!("\x1b[1;31merror:\x1b[0m {failure}");
    } else {
        eprintln!("error: {failure}");
    }
}
