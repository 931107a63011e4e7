//! `gft doctor`: what this machine offers, line by line, and how to mend what it lacks.

mod checks;

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// Arguments of `gft doctor`.
#[derive(ClapArgs)]
pub struct Args {
    /// The folder that runs will be written to.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The findings as JSON.
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be, or an optional part that is simply not there.
    Fine,
    /// Works, but slower or with less.
    Warning,
    /// Something will fail.
    Fault,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; nothing where all is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Runs `gft doctor`. A fault is a failed run (1).
pub fn run(args: Args) -> Result<(), Failure> {
    let findings = checks::all(&args.folder);
    if args.json {
        output::json(&findings)?;
    } else {
        output::write(&in_words(&findings));
    }
    let faults = findings.iter().filter(|finding| finding.state == State::Fault).count();
    if faults > 0 {
        return Err(Failure::Run(format!("{faults} of {} checks found a fault", findings.len())));
    }
    Ok(())
}

fn in_words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, state, found, mend } in findings {
        let state = match state {
            State::Fine => "fine",
            State::Warning => "warning",
            State::Fault => "FAULT",
        };
        text.push_str(&format!("{state:<8} {check:<10} {found}\n"));
        if let Some(mend) = mend {
            text.push_str(&format!("{:<19} -> {mend}\n", ""));
        }
    }
    text
}
