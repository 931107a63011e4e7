//! Data sets on disk as rows: formats and layouts are detected and said, rows are found by number, bad ones are errors
//! with file and line or counted drops.

mod answer;
mod columns;
mod convert;
mod folder;
mod format;
mod layout;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;
mod value;

use crate::{DataError, Result, Row};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use answer::{GoldRule, find_gold};
pub use columns::ColumnMap;
use convert::{Converter, Counts};
pub use layout::Layout;
use lines::LineStore;

/// What to do with a row that cannot be used: no JSON, a column missing or of the wrong type, an empty prompt, a blank line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRows {
    /// Stop with its file and line.
    #[default]
    Error,
    /// Leave it out and count it; [`Dataset::dropped`] has the counts, [`Dataset::description`] says them.
    Drop,
}

/// When the reference `solution` is also a demonstration to learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SolutionAsExpert {
    /// When the row brings no expert completions of its own and its solution says more than the bare answer. Decided for
    /// each row, counted and said.
    #[default]
    WhenWorked,
    /// Always, if the row brings no expert completions of its own.
    Always,
    /// Never.
    Never,
}

/// How to read a data set.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Names of columns where detection does not know them.
    pub columns: ColumnMap,
    /// What to do with bad rows.
    pub bad_rows: BadRows,
    /// When a solution is a demonstration.
    pub solution_as_expert: SolutionAsExpert,
    /// Remove GSM8K's calculator annotations `<<48/2=24>>` from solutions and completions.
    pub strip_calculator: bool,
    /// Of a folder with several splits, the files to read (default `train`).
    pub split: Option<String>,
}

/// Where a row was lost and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The file.
    pub path: PathBuf,
    /// Its line or row number, from 1.
    pub line: u64,
    /// What was wrong.
    pub reason: String,
}

/// Rows with a solution and no expert completions of their own, by what becomes of the solution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Solutions {
    /// It is a demonstration to learn from.
    pub learned: u64,
    /// It is a reference alone.
    pub references: u64,
    /// Of these, one of several bare answers in a list, of which the first is the gold.
    pub several: u64,
}

/// What was found in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileSummary {
    /// The file.
    pub path: PathBuf,
    /// How it is written: JSONL, Parquet, gzip ...
    pub format: String,
    /// Which known layout its columns have.
    pub layout: String,
    /// The columns by role.
    pub columns: Vec<(&'static str, String)>,
    /// Columns that no role uses; rewards see them.
    pub other_columns: Vec<String>,
    /// Whether the user named columns.
    pub mapped: bool,
    /// What becomes of solutions of rows without expert completions of their own.
    pub solutions: Solutions,
    /// Usable rows.
    pub rows: u64,
}

/// Rows of one or several files, found by number without holding them in memory.
#[derive(Debug)]
pub struct Dataset {
    parts: Vec<Part>,
    /// Rows before each part, and behind the last.
    starts: Vec<u64>,
    left_out: Vec<PathBuf>,
    fingerprint: u64,
    dropped: Vec<Dropped>,
    gold: BTreeMap<GoldRule, u64>,
    without_gold: u64,
    experts: u64,
    teachers: u64,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    format: String,
    lines: LineStore,
    converter: Converter,
    solutions: Solutions,
}

impl Dataset {
    /// Opens files or folders, detects format and layout, and reads every row once, so that a bad row is found now and
    /// not in the middle of a run.
    ///
    /// # Errors
    /// A file that cannot be read or has no known layout; with [`BadRows::Error`] the first bad row; no row at all.
    pub fn open<P: AsRef<Path>>(paths: &[P], options: &ReadOptions) -> Result<Self> {
        Self::open_with(paths, options, &mut |_, _| ())
    }

    /// As [`Self::open`]; `progress` is told of bytes read and of all there are.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with<P: AsRef<Path>>(
        paths: &[P],
        options: &ReadOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let mut set = Self {
            parts: Vec::new(),
            starts: vec![0],
            left_out: Vec::new(),
            fingerprint: 0,
            dropped: Vec::new(),
            gold: BTreeMap::new(),
            without_gold: 0,
            experts: 0,
            teachers: 0,
        };
        let mut files = Vec::new();
        for path in paths {
            let found = folder::files(path.as_ref(), options.split.as_deref())?;
            files.extend(found.read);
            set.left_out.extend(found.left_out);
        }
        let sizes: Vec<u64> = files.iter().map(|f| f.metadata().map_or(0, |m| m.len())).collect();
        let (mut before, total) = (0, sizes.iter().sum());
        for (file, size) in files.iter().zip(sizes) {
            set.add(file, options, &mut |share| progress(before + (size as f64 * share) as u64, total))?;
            before += size;
        }
        if set.is_empty() {
            let names: Vec<String> = paths.iter().map(|p| p.as_ref().display().to_string()).collect();
            let why = match set.dropped.first() {
                Some(d) => format!(
                    "all {} rows are unusable, the first, {}:{}: {}",
                    set.dropped.len(),
                    d.path.display(),
                    d.line,
                    d.reason
                ),
                None => "no rows".into(),
            };
            return Err(DataError::NoRows(format!("{}: {why}", names.join(", "))));
        }
        Ok(set)
    }

    /// Number of usable rows.
    pub fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at `index`, from 0 over all files.
    ///
    /// # Errors
    /// An index out of range, or a file that changed since it was opened.
    pub fn row(&self, index: u64) -> Result<Row> {
        if index >= self.len() {
            return Err(DataError::Argument(format!("row {index} of a data set of {}", self.len())));
        }
        let part = self.starts.partition_point(|&start| start <= index) - 1;
        let (at, part) = (index - self.starts[part], &self.parts[part]);
        let bytes = part.lines.read(at).map_err(DataError::io(&part.path, "read"))?;
        let line = part.lines.number(at);
        part.converter.row(&part.path, line, &bytes).map_err(|message| DataError::Row {
            path: part.path.clone(),
            line,
            message: format!("{message} (the file has changed since it was opened)"),
        })
    }

    /// All rows in file order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Row>> + '_ {
        (0..self.len()).map(|index| self.row(index))
    }

    /// Rows left out.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Rows whose gold answer was found, by rule.
    pub fn gold_rules(&self) -> &BTreeMap<GoldRule, u64> {
        &self.gold
    }

    /// Rows whose gold answer was not found.
    pub fn without_gold(&self) -> u64 {
        self.without_gold
    }

    /// A checksum of all usable rows in order, for telling whether a resumed run reads the data that it began with.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What was detected, for the user: one line per file and one for answers and completions.
    pub fn description(&self) -> String {
        let mut text = String::new();
        for (part, rows) in self.parts.iter().zip(self.starts.windows(2)) {
            let (path, format) = (part.path.display(), &part.format);
            text.push_str(&format!(
                "{path}: {format}, {}, {} rows\n",
                part.converter.description(part.solutions),
                rows[1] - rows[0]
            ));
        }
        if !self.left_out.is_empty() {
            let names: Vec<String> = self.left_out.iter().map(|p| p.display().to_string()).collect();
            text.push_str(&format!("left out, other splits: {}\n", names.join(", ")));
        }
        let rules: Vec<String> = self.gold.iter().map(|(rule, n)| format!("{n} from {rule}")).collect();
        let found = if rules.is_empty() { "none".to_string() } else { rules.join(", ") };
        text.push_str(&format!("gold answers: {found}"));
        if self.without_gold > 0 {
            text.push_str(&format!(", {} rows without", self.without_gold));
        }
        text.push_str(&format!(
            "; expert completions {}, teacher completions {}",
            self.experts, self.teachers
        ));
        if let Some(first) = self.dropped.first() {
            let (count, path, line) = (self.dropped.len(), first.path.display(), first.line);
            text.push_str(&format!("\n{count} rows dropped, the first: {path}:{line}: {}", first.reason));
        }
        text
    }

    /// What was found in each file.
    pub fn files(&self) -> Vec<FileSummary> {
        let rows = self.starts.windows(2).map(|bounds| bounds[1] - bounds[0]);
        let summary = |(part, rows): (&Part, u64)| {
            part.converter.summary(&part.path, &part.format, rows, part.solutions)
        };
        self.parts.iter().zip(rows).map(summary).collect()
    }

    /// The first file of preferences whose rejected answers are read as teachers' by their column's name alone, and that
    /// column.
    pub fn rejected_as_teachers(&self) -> Option<(&Path, &str)> {
        self.parts.iter().find_map(|part| Some((part.path.as_path(), part.converter.rejected()?)))
    }

    /// Whether the id of the row at `index` comes from a column of its own, not from its file and line.
    pub fn has_own_id(&self, index: u64) -> bool {
        let part = self.starts.partition_point(|&start| start <= index).saturating_sub(1);
        self.parts.get(part).is_some_and(|part| part.converter.has_ids())
    }

    /// Files of the same folders that were left out because they are of other splits.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// `progress` is told of the share of the file that is read.
    fn add(&mut self, path: &Path, options: &ReadOptions, progress: &mut dyn FnMut(f64)) -> Result<()> {
        let (mut lines, format) = format::open(path)?;
        let samples = lines.sample(64)?;
        if samples.is_empty() {
            return Err(DataError::file(path, "no rows in this file"));
        }
        let converter = Converter::detect(path, &samples, options)?;
        let mut solutions = Solutions::default();
        lines.scan(progress, |batch| {
            // Only the counts are kept, so that memory does not grow with the file.
            let judged: Vec<_> =
                batch.par_iter().map(|(line, bytes)| converter.judge(path, *line, bytes)).collect();
            let mut good = Vec::with_capacity(judged.len());
            for ((line, _), judged) in batch.iter().zip(judged) {
                good.push(judged.is_ok());
                match judged {
                    Ok(counts) => {
                        solutions.learned += u64::from(counts.solution_learned == Some(true));
                        solutions.references += u64::from(counts.solution_learned == Some(false));
                        solutions.several += u64::from(counts.several);
                        self.count(counts);
                    }
                    Err(reason) if options.bad_rows == BadRows::Error => {
                        let message = format!(
                            "{reason} (bad rows can be dropped and counted with bad_rows = \"drop\")"
                        );
                        return Err(DataError::Row { path: path.to_path_buf(), line: *line, message });
                    }
                    Err(reason) => {
                        self.dropped.push(Dropped { path: path.to_path_buf(), line: *line, reason })
                    }
                }
            }
            Ok(good)
        })?;
        self.starts.push(self.len() + lines.len());
        self.parts.push(Part { path: path.to_path_buf(), format, lines, converter, solutions });
        Ok(())
    }

    fn count(&mut self, counts: Counts) {
        match counts.gold {
            Some(rule) => *self.gold.entry(rule).or_default() += 1,
            None => self.without_gold += 1,
        }
        self.fingerprint = crate::order::mix(self.fingerprint ^ counts.checksum);
        self.experts += counts.experts;
        self.teachers += counts.teachers;
    }
}
