//! What goes to the terminal beside the data: errors and notes on standard error, in colour where that is wanted.

use std::io::{IsTerminal, Write, stderr};

use clap::Args;

use crate::failure::Failure;

/// How much a command says on standard error.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Messages")]
pub struct Verbosity {
    /// Say what was read from where: defaults, template, ids that end an answer.
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Say nothing on standard error but errors.
    #[arg(short, long)]
    pub quiet: bool,
}

impl Verbosity {
    /// Something that the user should know.
    pub fn note(self, text: &str) {
        if !self.quiet {
            note(text);
        }
    }

    /// That rows of a data set were left out because they cannot be read, as was asked for.
    pub fn dropped(self, data: &gft_data::Dataset) {
        if let Some(first) = data.dropped().first() {
            let (count, path, line) = (data.dropped().len(), first.path.display(), first.line);
            self.note(&format!("{count} rows are left out, the first: {path}:{line}: {}", first.reason));
        }
    }

    /// Something that the user asked for with `--verbose`.
    pub fn detail(self, text: &str) {
        if self.verbose {
            note(text);
        }
    }
}

/// Whether standard error is a terminal that wants colour (`NO_COLOR`, <https://no-color.org>).
pub fn colour() -> bool {
    stderr().is_terminal() && colour_wanted()
}

/// Whether colour is wanted where there is a terminal.
pub fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn note(text: &str) {
    if colour() {
        say(&format!("\x1b[2mnote: {text}\x1b[0m"));
    } else {
        say(&format!("note: {text}"));
    }
}

/// A line on standard error; a terminal that is gone is no reason to stop.
pub fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Prints why a command failed.
pub fn report(failure: &Failure) {
    if matches!(failure, Failure::Interrupted) {
        return;
    }
    if colour() {
        say(&format!("\x1b[1;31merror:\x1b[0m {failure}"));
    } else {
        say(&format!("error: {failure}"));
    }
}
