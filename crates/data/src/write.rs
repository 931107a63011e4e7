//! Rows written back in another layout and format, and read again to see that nothing was lost.

mod check;
mod layouts;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod schema;
mod sink;

use crate::{DataError, Dataset, Prompt, ReadOptions, Result, Row};
use check::Checked;
use layouts::Place;
pub use layouts::Target;
use serde::Serialize;
use serde_json::{Map, Value};
use sink::{Format, Sink};
use std::path::{Path, PathBuf};

/// How rows are written.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// The layout.
    pub target: Target,
    /// Leave out what the layout cannot hold and count it, instead of refusing.
    pub lossy: bool,
    /// Text prompts become users' questions instead of texts that go on as they stand.
    pub questions: bool,
    /// Write over a file that is there.
    pub overwrite: bool,
    /// verl's `data_source` of rows that bring none.
    pub data_source: String,
    /// verl's `extra_info.split` of rows that bring none.
    pub split: String,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Converted {
    /// The file.
    pub path: PathBuf,
    /// Its layout.
    pub layout: String,
    /// Its format.
    pub format: &'static str,
    /// Rows in it.
    pub rows: u64,
    /// Rows left out, by reason, with the id of the first.
    pub left_out: Vec<Loss>,
    /// Parts of rows that the layout cannot hold, by kind, with the id of the first such row.
    pub lost: Vec<Loss>,
}

/// Something of rows that was not written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What, or why.
    pub what: String,
    /// Of how many rows.
    pub rows: u64,
    /// The first of them.
    pub first: String,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} rows, the first {})", self.what, self.rows, self.first)
    }
}

/// Adds one row to a list of losses.
fn count(losses: &mut Vec<Loss>, what: &str, row: &str) {
    match losses.iter_mut().find(|loss| loss.what == what) {
        Some(loss) => loss.rows += 1,
        None => losses.push(Loss { what: what.into(), rows: 1, first: row.into() }),
    }
}

/// What is told while it works: the stage, rows done, rows in all. Answers whether to go on.
pub type ConvertProgress<'a> = dyn FnMut(&'static str, u64, u64) -> bool + 'a;

/// Writes all rows of `set` to `path`, whose extension says the format: .jsonl, .jsonl.gz, .jsonl.zst, .json, .parquet.
///
/// The file is written under a temporary name beside it, read back, compared row by row with what was to be written, and
/// only then gets its name. What the layout cannot hold is refused, or with `lossy` left out and counted.
///
/// # Errors
/// An unknown extension, a file that is there, a row that the layout cannot hold, columns that Parquet cannot type, a
/// file that cannot be written, and [`DataError::Stopped`].
pub fn convert(
    set: &Dataset,
    path: &Path,
    options: &ConvertOptions,
    progress: &mut ConvertProgress<'_>,
) -> Result<Converted> {
    let format = Format::of_path(path)?;
    if path.exists() && !options.overwrite {
        return Err(DataError::Argument(format!("{}: the file is there already", path.display())));
    }
    let work = Work { set, options };
    let mut left_out = Vec::new();
    let mut sink = work.sink(format, path, &mut left_out, progress)?;
    let mut written = Vec::new();
    for index in 0..set.len() {
        work.tell("writing", index, progress)?;
        let row = work.row(index)?;
        if let Ok(object) = work.object(&row, index) {
            sink.write(object)?;
            written.push(index);
        }
    }
    let file = sink.finish()?;
    let checked = check::check(&work, file.path(), &written, progress)?;
    let Checked { lost } = checked;
    if !lost.is_empty() && !options.lossy {
        let lost: Vec<String> = lost.iter().map(Loss::to_string).collect();
        return Err(DataError::Lossy(format!("{} cannot hold {}", options.target, lost.join("; "))));
    }
    file.persist(path, options.overwrite)?;
    let (layout, format) = (options.target.to_string(), format.name());
    Ok(Converted { path: path.into(), layout, format, rows: written.len() as u64, left_out, lost })
}

/// The rows on their way.
struct Work<'a> {
    set: &'a Dataset,
    options: &'a ConvertOptions,
}

impl Work<'_> {
    fn row(&self, index: u64) -> Result<Row> {
        let mut row = self.set.row(index)?;
        if let (true, Prompt::Text(text)) = (self.options.questions, &mut row.prompt)
            && !text.is_empty()
        {
            row.prompt = Prompt::Question(std::mem::take(text));
        }
        Ok(row)
    }

    /// The row in the layout, or why it cannot be.
    fn object(&self, row: &Row, index: u64) -> std::result::Result<Object, String> {
        let place = Place { index, own_id: self.set.has_own_id(index) };
        self.options.target.object(row, place, self.options)
    }

    fn tell(&self, stage: &'static str, index: u64, progress: &mut ConvertProgress<'_>) -> Result<()> {
        if index.is_multiple_of(256) && !progress(stage, index, self.set.len()) {
            return Err(DataError::Stopped);
        }
        Ok(())
    }

    /// Looks at all rows before anything is written: whether the layout can hold them, and what types the columns have.
    fn sink(
        &self,
        format: Format,
        path: &Path,
        left_out: &mut Vec<Loss>,
        progress: &mut ConvertProgress<'_>,
    ) -> Result<Sink> {
        let mut columns = sink::Columns::new(format);
        let mut rows = 0;
        for index in 0..self.set.len() {
            self.tell("looking at rows", index, progress)?;
            let row = self.row(index)?;
            match self.object(&row, index) {
                Ok(object) => {
                    columns
                        .add(&object)
                        .map_err(|message| DataError::Lossy(format!("row {}: {message}", row.id)))?;
                    rows += 1;
                }
                Err(reason) if self.options.lossy => count(left_out, &reason, &row.id),
                Err(reason) => {
                    return Err(DataError::Lossy(format!(
                        "row {}: {} cannot hold it: {reason}",
                        row.id, self.options.target
                    )));
                }
            }
        }
        if rows == 0 {
            let reasons: Vec<String> = left_out.iter().map(Loss::to_string).collect();
            return Err(DataError::Lossy(format!(
                "{} can hold none of the rows: {}",
                self.options.target,
                reasons.join("; ")
            )));
        }
        Sink::create(format, path, columns)
    }
}

/// How a written file is read back: as any user's file, with nothing named.
fn read_back() -> ReadOptions {
    ReadOptions::default()
}

/// A row as it is written.
type Object = Map<String, Value>;
