//! The files of a run folder that grow: metrics.jsonl and completions.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::report::StepReport;

/// metrics.jsonl: one line per step, per evaluation and for the end.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file of a run that has completed `step` steps: lines of later steps, which a resumed run writes
    /// again, and a line that was cut, are removed, and where it goes on beyond its end (`ended` is false) the line of
    /// that.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(run: &Path, step: u64, ended: bool) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        if let Ok(text) = fs::read_to_string(&path) {
            let keep = |line: &&str| {
                let value: Value = serde_json::from_str(line).unwrap_or_default();
                let made = value.get("step").and_then(Value::as_u64).is_some_and(|at| at <= step);
                made && (ended || value.get("train_runtime").is_none())
            };
            let kept: Vec<&str> = text.lines().filter(keep).collect();
            if kept.len() != text.lines().count() || !(text.is_empty() || text.ends_with('\n')) {
                let partial = run.join("metrics.jsonl.partial");
                let mut text = kept.join("\n");
                if !text.is_empty() {
                    text.push('\n');
                }
                fs::write(&partial, text).map_err(Error::io(&partial, "write"))?;
                fs::rename(&partial, &path).map_err(Error::io(&path, "replace"))?;
            }
        }
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path, "open"))?;
        Ok(Self { path, file })
    }

    /// Appends a line and returns it as an object.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write<T: Serialize>(&mut self, line: &T) -> Result<Map<String, Value>> {
        let failed = |source| Error::Io { path: self.path.clone(), action: "write", source };
        let object = match serde_json::to_value(line).map_err(|error| failed(error.into()))? {
            Value::Object(object) => object,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        let mut text = serde_json::to_string(&object).map_err(|error| failed(error.into()))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(object)
    }

    /// Lines written so far, as values: every `every`th step, all evaluations and the end.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn history(&self, every: u64) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.path).map_err(Error::io(&self.path, "read"))?;
        let values = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let shown = |value: &Value| {
            let step = value.get("step").and_then(Value::as_u64).unwrap_or(0);
            let special = ["eval_rows", "train_runtime"].iter().any(|key| value.get(key).is_some());
            special || step.is_multiple_of(every.max(1))
        };
        Ok(values.filter(shown).collect())
    }
}

/// Writes `completions/{step}.jsonl`, with every token's probability and coefficient where `tokens` says so.
///
/// # Errors
/// A file that cannot be written.
pub fn write_completions(run: &Path, report: &StepReport, tokens: bool) -> Result<()> {
    let dir = run.join("completions");
    fs::create_dir_all(&dir).map_err(Error::io(&dir, "create"))?;
    write_lines(&dir.join(format!("{}.jsonl", report.step + 1)), report, tokens)
}

/// Writes the rollouts of a refused step beside the run's other files and returns the path.
///
/// # Errors
/// A file that cannot be written.
pub fn write_refused(run: &Path, report: &StepReport) -> Result<PathBuf> {
    let path = run.join(format!("refused-step-{}.jsonl", report.step + 1));
    write_lines(&path, report, true)?;
    Ok(path)
}

fn write_lines(path: &Path, report: &StepReport, tokens: bool) -> Result<()> {
    let mut text = String::new();
    for line in report.completions(tokens) {
        let line = serde_json::to_string(&line).map_err(|error| Error::Io {
            path: path.into(),
            action: "write",
            source: error.into(),
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    fs::write(path, text).map_err(Error::io(path, "write"))
}
