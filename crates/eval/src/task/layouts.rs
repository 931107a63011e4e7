//! The benchmarks: their names, the columns of their rows, and how a row becomes a question with an answer.

use std::path::Path;

use gft_data::{ColumnMap, Dataset, ReadOptions};
use serde_json::{Map, Value};

/// How the question is put together from the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As it stands.
    Plain,
    /// Behind the column that tells the story.
    Body(&'static str),
    /// Below the column that, where it is there, defines what the question speaks of.
    Context(&'static str),
    /// Below a table (TabMWP).
    Table,
    /// Above the choices of this column; the answer is a letter.
    Choices(&'static str),
}

/// The layout of one benchmark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub name: &'static str,
    /// Other names in use.
    aliases: &'static [&'static str],
    /// Columns that no other benchmark has together: they tell a file whose name does not.
    sign: &'static [&'static str],
    prompt: &'static str,
    /// `None`: the answer is inside of the solution.
    answer: Option<&'static str>,
    pub shape: Shape,
    /// The answer may have what is counted behind it, in parentheses.
    pub counted: bool,
}

const PLAIN: Layout = Layout {
    name: "",
    aliases: &[],
    sign: &[],
    prompt: "question",
    answer: Some("answer"),
    shape: Shape::Plain,
    counted: false,
};

const LAYOUTS: [Layout; 17] = [
    Layout { name: "gsm8k", answer: None, ..PLAIN },
    Layout { name: "math", aliases: &["hendrycks_math"], prompt: "problem", answer: None, ..PLAIN },
    Layout { name: "math_oai", aliases: &["math500", "math-500", "math_500"], prompt: "problem", ..PLAIN },
    Layout { name: "minerva_math", aliases: &["minerva"], prompt: "problem", answer: None, ..PLAIN },
    Layout { name: "aime24", aliases: &["aime2024", "aime_2024"], ..PLAIN },
    Layout { name: "aime25", aliases: &["aime2025", "aime_2025"], ..PLAIN },
    Layout { name: "amc23", aliases: &["amc", "amc2023"], ..PLAIN },
    Layout { name: "college_math", sign: &["data_topic"], ..PLAIN },
    Layout { name: "gaokao2023en", aliases: &["gaokao"], sign: &["lang", "source"], ..PLAIN },
    Layout {
        name: "olympiadbench",
        aliases: &["olympiad"],
        sign: &["is_multiple_answer"],
        answer: Some("final_answer"),
        shape: Shape::Context("context"),
        ..PLAIN
    },
    Layout { name: "tabmwp", sign: &["table"], shape: Shape::Table, ..PLAIN },
    Layout { name: "asdiv", sign: &["body", "formula"], shape: Shape::Body("body"), counted: true, ..PLAIN },
    Layout {
        name: "svamp",
        sign: &["Body"],
        prompt: "Question",
        answer: Some("Answer"),
        shape: Shape::Body("Body"),
        ..PLAIN
    },
    Layout { name: "mawps", sign: &["target"], prompt: "input", answer: Some("target"), ..PLAIN },
    Layout {
        name: "mmlu_stem",
        aliases: &["mmlu"],
        sign: &["choices"],
        shape: Shape::Choices("choices"),
        ..PLAIN
    },
    Layout {
        name: "aqua",
        sign: &["options", "correct"],
        answer: Some("correct"),
        shape: Shape::Choices("options"),
        ..PLAIN
    },
    Layout {
        name: "sat_math",
        sign: &["options"],
        answer: Some("Answer"),
        shape: Shape::Choices("options"),
        ..PLAIN
    },
];

/// The names of all benchmarks.
pub const BENCHMARKS: [&str; LAYOUTS.len()] = {
    let mut names = [""; LAYOUTS.len()];
    let mut i = 0;
    while i < LAYOUTS.len() {
        names[i] = LAYOUTS[i].name;
        i += 1;
    }
    names
};

impl Layout {
    /// The layout of a benchmark's name.
    pub fn named(name: &str) -> Option<&'static Layout> {
        let name = name.to_lowercase();
        LAYOUTS.iter().find(|layout| layout.name == name || layout.aliases.contains(&name.as_str()))
    }

    /// By the file's name, or, where that only names a split (`gsm8k/test.jsonl`), by its folder's.
    pub fn of_path(path: &Path) -> Option<&'static Layout> {
        Self::named(&stem(path))
    }

    /// By the columns of the first row, for files whose names say nothing.
    pub fn of_columns(path: &Path) -> Option<&'static Layout> {
        let prompts = ["question", "Question", "input"];
        let row = prompts.iter().find_map(|prompt| {
            let columns = ColumnMap { prompt: Some((*prompt).into()), ..ColumnMap::default() };
            let data = Dataset::open(&[path], &ReadOptions { columns, ..ReadOptions::default() }).ok()?;
            Some((*prompt, data.row(0).ok()?))
        });
        let (prompt, row) = row?;
        LAYOUTS.iter().find(|layout| {
            let signed = layout.sign.iter().all(|column| row.columns.contains_key(*column));
            !layout.sign.is_empty() && layout.prompt == prompt && signed
        })
    }

    /// Its columns by role.
    pub fn columns(&self) -> ColumnMap {
        ColumnMap {
            prompt: Some(self.prompt.into()),
            answer: self.answer.map(Into::into),
            ..ColumnMap::default()
        }
    }
}

/// The name that a path gives its contents: without extensions and splits, the folder's where nothing is left.
pub(super) fn stem(path: &Path) -> String {
    let splits = ["test", "train", "validation", "valid", "val", "dev", "eval", "data"];
    for part in [Some(path), path.parent()].into_iter().flatten() {
        let Some(name) = part.file_name().and_then(|name| name.to_str()) else { continue };
        let name = name.split('.').next().unwrap_or_default();
        let name = name.strip_suffix("-test").or_else(|| name.strip_suffix("_test")).unwrap_or(name);
        if !name.is_empty() && !splits.contains(&name) {
            return name.to_owned();
        }
    }
    "data".into()
}

/// A question about a table, with the unit and the options that the row names.
pub(super) fn with_table(columns: &Map<String, Value>, question: &str) -> String {
    let text = |name: &str| columns.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut asked = String::new();
    if let Some(title) = text("table_title") {
        asked.push_str(&format!("Table: {title}\n"));
    }
    asked.push_str(&format!("{}\n\n{question}", text("table").unwrap_or_default()));
    if let Some(unit) = text("unit") {
        asked.push_str(&format!(" (unit: {unit})"));
    }
    if let Some(Value::Array(options)) = columns.get("choices") {
        let options: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
        asked.push_str(&format!("\nOptions: {}", options.join(", ")));
    }
    asked
}

/// ASDiv's `9 (apples)` without what is counted.
pub(super) fn without_counted(gold: &str) -> &str {
    match gold.split_once(" (") {
        Some((number, rest)) if rest.ends_with(')') && !number.trim().is_empty() => number.trim(),
        _ => gold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_and_folders() {
        for (path, name) in [
            ("gsm8k-test.jsonl", "gsm8k"),
            ("eval/math_oai.head.jsonl", "math_oai"),
            ("data/gsm8k/test.jsonl", "gsm8k"),
            ("AIME_2024/test.parquet", "aime24"),
            ("x/minerva.json", "minerva_math"),
        ] {
            assert_eq!(Layout::of_path(Path::new(path)).unwrap().name, name, "{path}");
        }
        assert!(Layout::of_path(Path::new("rows.jsonl")).is_none());
    }

    #[test]
    fn names_are_told_apart() {
        let mut all: Vec<&str> = LAYOUTS.iter().flat_map(|l| [&[l.name], l.aliases].concat()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn counted_things() {
        assert_eq!(without_counted("9 (apples)"), "9");
        assert_eq!(without_counted("3/4 (of a pie)"), "3/4");
        assert_eq!(without_counted("(1, 2)"), "(1, 2)");
        assert_eq!(without_counted("9"), "9");
    }
}
