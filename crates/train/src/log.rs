//! What a run writes of itself while it goes on: every line of metrics to metrics.jsonl and to TensorBoard, and the
//! completions of some steps.

use std::path::Path;

use gft_report::{EventWriter, cut_after, tag};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::Settings;
use crate::config::{ReportTo, report_to};
use crate::error::{Error, Result};
use crate::files::{MetricsFile, write_completions};
use crate::report::StepReport;
use crate::resume::Resumed;

/// Where a run's numbers go.
pub(crate) struct Log {
    metrics: MetricsFile,
    events: Option<EventWriter>,
}

impl Log {
    /// Opens the files of a run that goes on (`None`: a new run). What they hold of later steps, which are made again, is
    /// removed, and of a run that is extended its end.
    ///
    /// # Errors
    /// Files that cannot be read or written; a name in `report_to` that is not known.
    pub fn open(run: &Path, resumed: Option<&Resumed>, settings: &Settings, config: &str) -> Result<Self> {
        let step = resumed.map(|resumed| resumed.state.step);
        let ended = resumed.is_none_or(|resumed| resumed.extended.is_none());
        let metrics = MetricsFile::open(run, step.unwrap_or(0), ended)?;
        cut_after(run, step.unwrap_or(0))?;
        let events = match report_to(settings)? {
            ReportTo::Nothing => None,
            ReportTo::TensorBoard => {
                let mut events = EventWriter::create(run)?;
                match step {
                    Some(step) => events.resumed(step)?,
                    None => events.text(0, "config", &format!("```toml\n{config}```"))?,
                }
                Some(events)
            }
        };
        Ok(Self { metrics, events })
    }

    /// Whether TensorBoard is written.
    pub fn has_events(&self) -> bool {
        self.events.is_some()
    }

    /// Writes a line of metrics of `step` and returns it.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn line<T: Serialize>(&mut self, step: u64, metrics: &T) -> Result<Map<String, Value>> {
        let line = self.metrics.write(metrics)?;
        if let Some(events) = &mut self.events {
            let numbers = line.iter().filter(|(name, value)| {
                !["step", "stage"].contains(&name.as_str()) && (value.is_number() || value.is_null())
            });
            // null is a number that is not finite.
            let scalars: Vec<(String, f64)> =
                numbers.map(|(name, value)| (tag(name), value.as_f64().unwrap_or(f64::NAN))).collect();
            events.scalars(step, scalars.iter().map(|(tag, value)| (tag.as_str(), *value)))?;
        }
        Ok(line)
    }

    /// Writes the completions of a step: a file of lines, with every token where `tokens` says so, and a table and distributions for TensorBoard.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn completions(&mut self, run: &Path, step: u64, report: &StepReport, tokens: bool) -> Result<()> {
        write_completions(run, report, tokens)?;
        let Some(events) = &mut self.events else { return Ok(()) };
        let head = ["Prompt", "Source", "Reward", "Advantage", "Completion"].map(str::to_owned).to_vec();
        let cell = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.3}"));
        let rows = report.completions(false).take(TABLE_ROWS).map(|line| {
            let prompt = line.input.to_owned();
            vec![prompt, line.source.into(), cell(line.score), cell(Some(line.advantage)), line.output.into()]
        });
        let table: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        events.table(step, "completions", &table)?;
        let all = || report.completions(false);
        let lengths: Vec<f64> = all().map(|line| line.tokens as f64).collect();
        let coefficients: Vec<f64> = all().filter_map(|line| line.mean_coefficient).collect();
        for (name, values) in [("completions/length", lengths), ("gft/row_coefficient", coefficients)] {
            // A step without any signal has no coefficients.
            if values.iter().any(|value| value.is_finite()) {
                let finite: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
                events.histogram(step, &tag(name), &finite)?;
            }
        }
        Ok(())
    }

    /// Lines written so far, every `every`th step, all evaluations and the end: `log_history`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn history(&self, every: u64) -> Result<Vec<Value>> {
        self.metrics.history(every)
    }

    /// Lines of evaluations, those of earlier processes of the run included.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn evaluations(&self) -> Result<Vec<Map<String, Value>>> {
        let lines = self.metrics.history(u64::MAX)?.into_iter();
        Ok(lines
            .filter_map(|line| line.as_object().filter(|line| line.contains_key("eval_rows")).cloned())
            .collect())
    }
}

/// Rows of the table of completions in TensorBoard, which shows some hundred cells at most.
const TABLE_ROWS: usize = 16;

impl From<gft_report::ReportError> for Error {
    fn from(error: gft_report::ReportError) -> Self {
        match error {
            gft_report::ReportError::Io { path, action, source } => Error::Io { path, action, source },
            other => Error::Io {
                path: "TensorBoard".into(),
                action: "write",
                source: std::io::Error::other(other),
            },
        }
    }
}
