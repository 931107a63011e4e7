//! The results of a study: one line of JSON per finished run, appended when it ends.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::measure::Measured;
use crate::run::Point;
use crate::table::Job;

/// A finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`Job::key`].
    pub key: String,
    /// What was run.
    #[serde(flatten)]
    pub job: Job,
    /// Steps.
    pub steps: u64,
    /// Tokens computed.
    pub tokens: u64,
    /// Seconds of training by the wall clock; other work on the machine is in them.
    pub seconds: f64,
    /// What the run's own evaluations found on the way, if it made any; their seconds are in those above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Point>,
    /// What was measured of the model it left.
    pub measured: Measured,
}

/// A file of outcomes.
#[derive(Clone, Debug)]
pub struct Results {
    path: PathBuf,
    /// What it holds.
    pub outcomes: Vec<Outcome>,
}

impl Results {
    /// Opens a file, which need not exist. A last line without its end is what a killed run left; it is cut off.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is no outcome.
    pub fn open(path: &Path) -> Result<Results> {
        let mut text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(Error::io(path, "read"))?,
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            text.truncate(whole);
            std::fs::write(path, &text).map_err(Error::io(path, "write"))?;
        }
        let outcomes = text
            .lines()
            .enumerate()
            .map(|(at, line)| {
                let wrong = |error: serde_json::Error| Error::file(path, format!("line {}: {error}", at + 1));
                serde_json::from_str(line).map_err(wrong)
            })
            .collect::<Result<_>>()?;
        Ok(Results { path: path.to_path_buf(), outcomes })
    }

    /// Whether a run is in it.
    pub fn has(&self, job: &Job) -> bool {
        let key = job.key();
        self.outcomes.iter().any(|outcome| outcome.key == key)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn push(&mut self, outcome: Outcome) -> Result<()> {
        let failed = Error::io(&self.path, "write");
        let line =
            serde_json::to_string(&outcome).map_err(|error| Error::file(&self.path, error.to_string()))?;
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).map_err(failed)?;
        self.outcomes.push(outcome);
        Ok(())
    }
}
