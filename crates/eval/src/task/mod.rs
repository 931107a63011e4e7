//! Files as problems: benchmarks in the layouts in which the field's evaluators read them, and any other data file.

mod choices;
mod layouts;

use std::path::Path;

use gft_data::{ColumnMap, Dataset, Prompt, ReadOptions, Row, SolutionAsExpert};

pub use layouts::BENCHMARKS;
use layouts::{Layout, Shape};

use crate::error::{Error, Result};

/// One problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Its row: `prompt` as it is to be asked, `gold` the reference answer or the letter of the right choice.
    pub row: Row,
    /// What the choices say, A first; empty where the answer is not a choice.
    pub choices: Vec<String>,
}

impl Problem {
    /// The reference answer.
    pub fn gold(&self) -> &str {
        self.row.gold.as_deref().unwrap_or_default()
    }
}

/// The problems of one file.
#[derive(Clone, Debug)]
pub struct Task {
    /// The benchmark's name, else the file's.
    pub name: String,
    /// Its problems, in the file's order.
    pub problems: Vec<Problem>,
    /// Rows that have no reference answer; they are left out.
    pub without_gold: usize,
    /// What was detected, for the user.
    pub description: String,
    /// A checksum of the file's rows.
    pub fingerprint: u64,
}

impl Task {
    /// Reads a file, as the benchmark `name` where given, else as what its name or its columns say, else as any data
    /// file. What `columns` names wins over the benchmark's columns. `limit` takes the first problems only.
    ///
    /// # Errors
    /// A name that is not known, a file that is not of its layout, no problem with a reference answer.
    pub fn open(path: &Path, name: Option<&str>, columns: &ColumnMap, limit: Option<usize>) -> Result<Task> {
        let failed = |message: String| Error::Task { path: path.to_path_buf(), message };
        let layout = match name {
            Some(name) => Some(Layout::named(name).ok_or_else(|| {
                let known: Vec<&str> = BENCHMARKS.to_vec();
                failed(format!("unknown benchmark {name:?}; known are {}", known.join(", ")))
            })?),
            None => Layout::of_path(path).or_else(|| Layout::of_columns(path)),
        };
        let options = ReadOptions {
            columns: layout.map_or_else(|| columns.clone(), |layout| columns.or(&layout.columns())),
            solution_as_expert: SolutionAsExpert::Never,
            split: Some("test".into()),
            ..ReadOptions::default()
        };
        let data = Dataset::open(&[path], &options)?;
        let mut problems = Vec::new();
        let mut without_gold = 0;
        for row in data.iter() {
            if limit.is_some_and(|limit| problems.len() >= limit) {
                break;
            }
            let row = row?;
            let id = row.id.clone();
            let problem = match layout {
                Some(layout) => layout.problem(row).map_err(|message| failed(format!("{id}: {message}")))?,
                None => Problem { row, choices: Vec::new() },
            };
            if problem.gold().trim().is_empty() {
                without_gold += 1;
            } else {
                problems.push(problem);
            }
        }
        if problems.is_empty() {
            return Err(failed(format!(
                "none of {} rows has a reference answer to grade against (a column `answer`, a solution with #### or \
                 \\boxed)",
                data.len()
            )));
        }
        let name = layout.map_or_else(|| layouts::stem(path), |layout| layout.name.to_owned());
        let read_as =
            layout.map_or_else(String::new, |layout| format!("read as the benchmark {}; ", layout.name));
        Ok(Task {
            name,
            problems,
            without_gold,
            description: format!("{read_as}{}", data.description()),
            fingerprint: data.fingerprint(),
        })
    }

    /// Whether answers are letters of choices.
    pub fn has_choices(&self) -> bool {
        self.problems.iter().any(|problem| !problem.choices.is_empty())
    }
}

impl Layout {
    /// A row of this layout as a problem.
    fn problem(&self, mut row: Row) -> std::result::Result<Problem, String> {
        let question = match &row.prompt {
            Prompt::Question(text) | Prompt::Text(text) => text.trim().to_owned(),
            Prompt::Messages(_) => return Err("the question is a conversation, not a text".into()),
        };
        let (question, choices) = match self.shape {
            Shape::Plain => (question, Vec::new()),
            Shape::Body(column) => {
                let body = row.columns.get(column).and_then(|body| body.as_str()).unwrap_or_default();
                (format!("{} {question}", ended(body.trim())).trim().to_owned(), Vec::new())
            }
            Shape::Context(column) => {
                let context = row.columns.get(column).and_then(|context| context.as_str());
                (context.map_or(question.clone(), |context| format!("{context}\n{question}")), Vec::new())
            }
            Shape::Table => (layouts::with_table(&row.columns, &question), Vec::new()),
            Shape::Choices(column) => {
                let value = row.columns.get(column).ok_or_else(|| format!("column {column:?} is missing"))?;
                let choices =
                    choices::read(value).ok_or_else(|| format!("column {column:?} lists no choices"))?;
                row.gold = row.gold.as_deref().map(|gold| choices::letter(gold, &choices)).transpose()?;
                (format!("{question}\nAnswer Choices: {}", choices::listed(&choices)), choices)
            }
        };
        if self.counted {
            row.gold = row.gold.map(|gold| layouts::without_counted(&gold).to_owned());
        }
        row.prompt = Prompt::Question(question);
        Ok(Problem { row, choices })
    }
}

/// A sentence with its full stop: SVAMP's bodies end without one.
fn ended(body: &str) -> String {
    let open = !body.is_empty() && !body.ends_with(['.', '!', '?', ':', ';', ',']);
    if open { format!("{body}.") } else { body.to_owned() }
}
