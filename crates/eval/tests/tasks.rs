//! Every benchmark's layout, on made-up rows with its columns: what is asked, what is right, and how files are told.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

use std::path::{Path, PathBuf};

use gft_data::ColumnMap;
use gft_eval::{BENCHMARKS, Grader, Task, Verdict};

fn rows() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/eval/rows")
}

fn file(name: &str) -> PathBuf {
    let json = rows().join(format!("{name}.json"));
    if json.is_file() { json } else { rows().join(format!("{name}.jsonl")) }
}

/// Benchmark, question of its first row (or what it contains), reference answers of all rows.
const EXPECTED: [(&str, &str, &[&str]); 17] = [
    ("aime24", "Find the least integer above 2023", &["2040", "006"]),
    ("aime25", "An angle and its double", &["60^\\circ"]),
    ("amc23", "A train of 100 m", &["25.0"]),
    ("aqua", "minutes?\nAnswer Choices: (A) 24 (B) 40 (C) 45 (D) 60 (E) None of these", &["B"]),
    ("asdiv", "Four blue pens and three black pens are in a cup. How many pens are in the cup?", &["7"]),
    ("college_math", "Simplify: $3-2(m-4)$", &["$11-2 m$"]),
    ("gaokao2023en", "find $A\\cap B$.", &["$\\{2,3\\}$"]),
    ("gsm8k", "A baker makes 12 rolls", &["7"]),
    ("math", "\\frac{1}{3}$?", &["\\frac{5}{6}"]),
    ("math_oai", "Solve $2x = 9$.", &["\\frac{9}{2}"]),
    ("mawps", "Ann had 9 plums", &["5.0"]),
    ("minerva_math", "A star is $3$ light years away.", &["3"]),
    ("mmlu_stem", "prime?\nAnswer Choices: (A) 21 (B) 27 (C) 29 (D) 33", &["C"]),
    ("olympiadbench", "Let $a_{1}=1$ and $a_{n+1}=2 a_{n}$.\nFind $a_{n}$.", &["$2^{n-1}$", "$3$, $-3$"]),
    ("sat_math", "(A) 3 (B) 4 (C) 5 (D) $f(A)$", &["C", "D"]),
    ("svamp", "There are 48 nuts in bags of 8. How many bags are there?", &["6.0"]),
    (
        "tabmwp",
        "Table: Medals\nName | Medals\nIda | 9\nOle | 5\n\nHow many more medals did Ida win than Ole? (unit: medals)",
        &["4", "Ida"],
    ),
];

#[test]
fn every_benchmark_is_read() {
    assert_eq!(EXPECTED.map(|(name, ..)| name).len(), BENCHMARKS.len());
    for (name, question, golds) in EXPECTED {
        let task = Task::open(&file(name), None, &ColumnMap::EMPTY, None).unwrap();
        assert_eq!(task.name, name);
        let first = task.problems[0].row.prompt.text();
        assert!(first.contains(question), "{name}: {first}");
        let found: Vec<&str> = task.problems.iter().map(|problem| problem.gold()).collect();
        assert_eq!(found, golds, "{name}");
        assert_eq!(task.has_choices(), ["aqua", "mmlu_stem", "sat_math"].contains(&name), "{name}");
        for problem in &task.problems {
            let right = format!("so \\boxed{{{}}}", problem.gold());
            assert_eq!(Grader::default().grade(problem, &right).0, Verdict::Right, "{name}: {right}");
            assert!(Grader::default().grade(problem, "so \\boxed{77}").0.counts());
            assert_ne!(Grader::default().grade(problem, "so \\boxed{77}").0, Verdict::Right);
        }
    }
}

#[test]
fn columns_tell_what_a_name_does_not() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "aqua",
        "asdiv",
        "college_math",
        "gaokao2023en",
        "mawps",
        "mmlu_stem",
        "olympiadbench",
        "sat_math",
        "svamp",
        "tabmwp",
    ] {
        let from = file(name);
        let to = dir.path().join("rows").with_extension(from.extension().unwrap());
        std::fs::copy(&from, &to).unwrap();
        assert_eq!(Task::open(&to, None, &ColumnMap::EMPTY, None).unwrap().name, name);
    }
}

#[test]
fn any_data_file_with_answers() {
    let groups =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/rows/gsm8k-groups-10.jsonl");
    let task = Task::open(&groups, None, &ColumnMap::EMPTY, Some(4)).unwrap();
    assert_eq!((task.name.as_str(), task.problems.len()), ("gsm8k-groups-10", 4));
    assert!(task.problems.iter().all(|problem| !problem.gold().is_empty()));
}

fn refused(path: &Path, name: Option<&str>, says: &str) {
    let error = Task::open(path, name, &ColumnMap::EMPTY, None).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn what_is_refused() {
    refused(&file("gsm8k"), Some("gsm9k"), "unknown benchmark \"gsm9k\"; known are gsm8k, math");
    refused(&file("gsm8k"), Some("mawps"), "\"input\"");
    refused(&file("gsm8k"), Some("aqua"), "\"correct\"");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    std::fs::write(&path, "{\"prompt\": \"1+1?\"}\n").unwrap();
    refused(&path, None, "none of 1 rows has a reference answer");
    std::fs::write(&path, "{\"question\": \"?\", \"choices\": [\"1\", \"2\"], \"answer\": 2}\n").unwrap();
    refused(&path, None, "the answer \"2\" is none of the 2 choices");
}
