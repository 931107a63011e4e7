//! Event files that TensorBoard reads: one file per process, one record per event, whole after every call.

mod cut;
mod event;
mod frame;
mod protobuf;

use crate::{ReportError, Result};
pub use cut::cut_after;
use event::{Event, Histogram};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the name of every event file begins with.
pub const PREFIX: &str = "events.out.tfevents.";

/// Writes one event file. Each call is one write to the file: what was logged survives a crash of the process.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Starts a new file `events.out.tfevents.<seconds>.<host>.<process>.<n>` in `dir`, which is created where missing.
    /// TensorBoard reads all event files of a folder as one run: a resumed run starts another file and calls
    /// [`resumed`](Self::resumed).
    ///
    /// # Errors
    /// [`ReportError::Io`] with the path.
    pub fn create(dir: &Path) -> Result<Self> {
        let failed = |path: &Path, action| {
            let path = path.to_owned();
            move |source| ReportError::Io { path, action, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir, "create the folder"))?;
        let host = rustix::system::uname().nodename().to_string_lossy().replace(['/', '\0'], "_");
        let start = format!("{PREFIX}{}.{host}.{}", now() as u64, std::process::id());
        for n in 0_u32.. {
            let path = dir.join(format!("{start}.{n}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut writer = Self { file, path };
                    writer.write(&Event::file_version(now()))?;
                    return Ok(writer);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, "create")(error)),
            }
        }
        Err(failed(dir, "create an event file in")(ErrorKind::AlreadyExists.into()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Scalars of one step, under tags that may be made by [`tag`]. Stored as `f32`; NaN and infinities are shown as such.
    ///
    /// # Errors
    /// [`ReportError::Io`].
    pub fn scalars<'a>(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        self.write(&Event::scalars(now(), step, scalars))
    }

    /// A text in Markdown.
    ///
    /// # Errors
    /// [`ReportError::Io`].
    pub fn text(&mut self, step: u64, tag: &str, markdown: &str) -> Result<()> {
        self.write(&Event::text(now(), step, tag, &[], &[markdown]))
    }

    /// A table of texts in Markdown, `rows` of equal length; the first row may be a header.
    ///
    /// # Errors
    /// [`ReportError::Values`] for rows of different lengths or none; [`ReportError::Io`].
    pub fn table(&mut self, step: u64, tag: &str, rows: &[Vec<String>]) -> Result<()> {
        let columns = rows.first().map_or(0, Vec::len);
        if columns == 0 || rows.iter().any(|row| row.len() != columns) {
            let message = "a table has rows, all with the same number of cells".to_owned();
            return Err(ReportError::Values { tag: tag.to_owned(), message });
        }
        let cells: Vec<&str> = rows.iter().flatten().map(String::as_str).collect();
        self.write(&Event::text(now(), step, tag, &[rows.len() as u64, columns as u64], &cells))
    }

    /// The distribution of values.
    ///
    /// # Errors
    /// [`ReportError::Values`] where there are none, or one is not finite; [`ReportError::Io`].
    pub fn histogram(&mut self, step: u64, tag: &str, values: &[f64]) -> Result<()> {
        let Some(histogram) = Histogram::of(values) else {
            let message = "a histogram needs values, and finite ones".to_owned();
            return Err(ReportError::Values { tag: tag.to_owned(), message });
        };
        self.write(&Event::histogram(now(), step, tag, &histogram))
    }

    /// Says that the run goes on after `step`: a TensorBoard that runs drops what it has read of later steps.
    ///
    /// # Errors
    /// [`ReportError::Io`].
    pub fn resumed(&mut self, step: u64) -> Result<()> {
        self.write(&Event::session_start(now(), step.saturating_add(1)))
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        self.file.write_all(&frame::record(event.bytes())).map_err(|source| ReportError::Io {
            path: self.path.clone(),
            action: "write",
            source,
        })
    }
}

/// The tag that a metric of the run's log has in TensorBoard, by the rule of transformers: `eval_loss` is `eval/loss`,
/// `test_loss` is `test/loss`, any other `loss` is `train/loss`.
pub fn tag(metric: &str) -> String {
    for (prefix, folder) in [("eval_", "eval/"), ("test_", "test/")] {
        if let Some(name) = metric.strip_prefix(prefix) {
            return format!("{folder}{name}");
        }
    }
    format!("train/{metric}")
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |duration| duration.as_secs_f64())
}
