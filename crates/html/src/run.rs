//! What a run's folder holds.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::evaluations::Evaluation;
use crate::{Error, Result};

/// A run as its folder shows it.
#[derive(Debug)]
pub struct Run {
    /// Its name on the page.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Lines of metrics that are steps.
    pub steps: Vec<Map<String, Value>>,
    /// Lines of metrics that are evaluations.
    pub evals: Vec<Map<String, Value>>,
    /// The resolved configuration as it was written; `None` where it is missing.
    pub config: Option<String>,
    /// State of the last checkpoint.
    pub state: Map<String, Value>,
    /// Steps of which there are files of completions, ascending.
    pub completions: Vec<u64>,
    /// Files of refused steps.
    pub refused: Vec<String>,
    /// Evaluations by `gft eval`.
    pub evaluations: Vec<Evaluation>,
}

impl Run {
    /// Reads a folder.
    ///
    /// # Errors
    /// A folder without metrics, a file that cannot be read.
    pub fn read(path: &Path) -> Result<Run> {
        let metrics = path.join("metrics.jsonl");
        if !metrics.is_file() {
            return Err(Error::NoRun { path: path.display().to_string() });
        }
        // The line of the run's end is neither a step nor an evaluation.
        let made = read_lines(&metrics)?.into_iter().filter(|line| !line.contains_key("train_runtime"));
        let (evals, steps) = made.partition(|line: &Map<String, Value>| line.contains_key("eval_rows"));
        let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = |name: &str| name.strip_suffix(".jsonl").and_then(|n| n.parse().ok());
        let mut completions: Vec<u64> =
            names(&path.join("completions")).iter().filter_map(|name| numbered(name)).collect();
        completions.sort_unstable();
        let mut refused: Vec<String> =
            names(path).into_iter().filter(|name| name.starts_with("refused-step-")).collect();
        refused.sort();
        Ok(Run {
            name,
            steps,
            evals,
            config: fs::read_to_string(path.join("config.toml")).ok(),
            state: last_state(path),
            completions,
            refused,
            evaluations: Evaluation::all(&path.join("eval")),
            path: path.to_owned(),
        })
    }

    /// A number of the last step that has it.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.steps.iter().rev().find_map(|step| step.get(name)?.as_f64())
    }

    /// A sum over all steps.
    pub fn sum(&self, name: &str) -> f64 {
        self.steps.iter().filter_map(|step| step.get(name)?.as_f64()).sum()
    }

    /// The settings of each stage, as the last checkpoint has them.
    pub fn stages(&self) -> Vec<&Map<String, Value>> {
        self.state
            .get("config")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .collect()
    }
}

/// Gives runs of the same name their folders' paths as names.
pub(crate) fn name_apart(runs: &mut [Run]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for run in runs.iter_mut() {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = run.path.display().to_string();
        }
    }
}

/// Lines of JSON objects. A last line that is being written is passed over: a page may be made of a running run.
pub(crate) fn read_lines(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| Error::Io { path: shown.clone(), source })?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| Error::Json {
                path: shown.clone(),
                line: index + 1,
                source,
            })
        })
        .collect()
}

/// Names in a folder; none if it is not there.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The state in the checkpoint with the highest number; empty where there is none yet.
fn last_state(path: &Path) -> Map<String, Value> {
    let number = |name: &String| name.strip_prefix("checkpoint-").and_then(|n| n.parse::<u64>().ok());
    let last = names(path).into_iter().filter(|name| number(name).is_some()).max_by_key(number);
    let text = last.and_then(|name| fs::read_to_string(path.join(name).join("run_state.json")).ok());
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
