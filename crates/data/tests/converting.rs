//! Rows written in every layout and format and read back; what a layout cannot hold is refused or counted.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

use gft_data::{
    ConvertOptions, Converted, DataError, Dataset, Message, Prompt, ReadOptions, Result, Row, Target, convert,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/rows").join(name)
}

fn options(target: Target) -> ConvertOptions {
    ConvertOptions {
        target,
        lossy: false,
        questions: false,
        overwrite: false,
        data_source: "openai/gsm8k".into(),
        split: "train".into(),
    }
}

fn open(path: &Path) -> Dataset {
    Dataset::open(&[path], &ReadOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn written(from: &Path, to: &Path, options: &ConvertOptions) -> Result<Converted> {
    convert(&open(from), to, options, &mut |_, _, _| true)
}

fn rows(path: &Path) -> Vec<Row> {
    open(path).iter().map(|row| row.unwrap()).collect()
}

fn file(lines: &[Value]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    (folder, path)
}

fn messages(prompt: &Prompt) -> Vec<Message> {
    match prompt {
        Prompt::Messages(messages) => messages.clone(),
        Prompt::Question(text) | Prompt::Text(text) => vec![Message::user(text)],
    }
}

/// What a model is given and learns, without the columns that a layout adds.
fn content(row: &Row) -> impl PartialEq + std::fmt::Debug {
    let completions = |list: &[gft_data::Completion]| -> Vec<String> {
        list.iter().map(|c| format!("{:?} {:?}", c.content, c.messages)).collect()
    };
    let Row { prompt, solution, gold, expert, teachers, .. } = row;
    (messages(prompt), solution.clone(), gold.clone(), completions(expert), completions(teachers))
}

const FORMATS: [&str; 5] = ["jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet"];

#[test]
fn every_layout_in_every_format_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let from = golden("gsm8k-train-20.jsonl");
    let before = rows(&from);
    for (name, target) in Target::ALL {
        for format in FORMATS {
            let there = folder.path().join(format!("{name}.{format}"));
            let done =
                written(&from, &there, &options(target)).unwrap_or_else(|e| panic!("{name} {format}: {e}"));
            assert_eq!((done.rows, done.lost.len(), done.left_out.len()), (20, 0, 0));
            for (a, b) in before.iter().zip(rows(&there)) {
                assert_eq!(content(a), content(&b), "{name} {format}");
            }
            let back = folder.path().join(format!("{name}-{format}.jsonl"));
            // Without the columns that verl's layout adds the file is the one that was begun with.
            written(&there, &back, &options(Target::QuestionAnswer)).unwrap();
            let line = |path: &Path| -> Vec<Value> {
                let text = std::fs::read_to_string(path).unwrap();
                let row = |line: &str| {
                    let row: Value = serde_json::from_str(line).unwrap();
                    json!([row["question"], row["answer"]])
                };
                text.lines().map(row).collect()
            };
            assert_eq!(line(&back), line(&from), "{name} {format}");
        }
    }
    let left: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Ids, teachers with models and rewards, tools and other columns: a group row holds all, in each format.
#[test]
fn group_rows_hold_everything() {
    let lines = [
        json!({"id": "a", "prompt": "q", "solution": "s\n#### 1", "expert_completions": ["s\n#### 1", "t"],
               "teacher_completions": [{"content": "x", "model": "m", "reward": 0.5}, {"content": "y"}],
               "level": 3, "flags": [], "meta": {"deep": [[1, 2], [], [3]], "on": true}}),
        json!({"id": "b", "prompt": "call", "expert_completions": [
                   {"content": "", "messages": [{"role": "assistant", "content": "", "tool_calls": [
                       {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]}]}],
               "teacher_completions": [], "level": 2.5, "flags": [true, null], "meta": null, "more": "é\u{0}🙂"}),
        json!({"id": "c", "prompt": "only", "expert_completions": [], "teacher_completions": []}),
    ];
    let (folder, from) = file(&lines);
    let before = rows(&from);
    for format in FORMATS {
        let there = folder.path().join(format!("out.{format}"));
        let done =
            written(&from, &there, &options(Target::Group)).unwrap_or_else(|e| panic!("{format}: {e}"));
        assert_eq!((done.rows, done.lost.len()), (3, 0), "{format}");
        let after = rows(&there);
        if format != "parquet" {
            assert_eq!(after, before, "{format}");
        }
        let ids: Vec<&str> = after.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"], "{format}");
        assert_eq!(after[0].columns["meta"], before[0].columns["meta"], "{format}");
        assert_eq!(after[0].columns["flags"], json!([]), "{format}");
        assert_eq!(after[1].columns["flags"], json!([true, null]), "{format}");
        assert_eq!(after[1].columns["more"], "é\u{0}🙂", "{format}");
        assert_eq!(after[0].teachers, before[0].teachers, "{format}");
    }
}

/// The columns, their order and types as verl's own script writes them.
#[test]
fn verl_rows_are_those_of_verl() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("train.parquet");
    written(&golden("gsm8k-train-20.jsonl"), &there, &options(Target::Verl)).unwrap();
    let row = rows(&there).remove(0);
    assert_eq!(row.columns["data_source"], "openai/gsm8k");
    assert_eq!(row.columns["ability"], "math");
    assert_eq!(row.columns["reward_model"], json!({"style": "rule", "ground_truth": "72"}));
    assert!(row.columns["extra_info"]["question"].as_str().unwrap().starts_with("Natalia sold"));
    assert!(row.columns["extra_info"]["answer"].as_str().unwrap().ends_with("#### 72"));
    assert_eq!(
        (row.columns["extra_info"]["index"].as_u64(), &row.columns["extra_info"]["split"]),
        (Some(0), &json!("train"))
    );
    assert!(matches!(&row.prompt, Prompt::Messages(m) if m.len() == 1 && m[0].role() == "user"));

    // A file of verl's own comes out as it went in, whatever it was between.
    let first = rows(&golden("verl.parquet"));
    let between = folder.path().join("group.jsonl");
    written(&golden("verl.parquet"), &between, &options(Target::Group)).unwrap();
    let again = folder.path().join("again.parquet");
    written(&between, &again, &options(Target::Verl)).unwrap();
    assert_eq!(
        rows(&again),
        first.iter().zip(rows(&again)).map(|(a, b)| Row { id: b.id, ..a.clone() }).collect::<Vec<_>>()
    );
}

fn refused(lines: &[Value], target: Target) -> String {
    let (folder, from) = file(lines);
    let to = folder.path().join("out.jsonl");
    let error = written(&from, &to, &options(target)).unwrap_err();
    assert!(matches!(error, DataError::Lossy(_)), "{error}");
    assert!(!to.exists());
    error.to_string()
}

#[test]
fn what_a_layout_cannot_hold_is_refused_by_name() {
    let group = json!({"prompt": "q", "solution": "s", "expert_completions": ["a", "b"], "teacher_completions": ["t"]});
    let turns = json!({"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"},
                                    {"role": "user", "content": "3"}, {"role": "assistant", "content": "4"}]});
    let tools = json!({"messages": [{"role": "user", "content": "1"},
                                    {"role": "assistant", "content": "2", "tool_calls": [{"name": "f"}]}]});
    let text = json!({"prompt": "Q: 1\nA:", "completion": " 2"});
    let alone = json!({"prompt": "q", "topic": "t"});
    let taken = json!({"problem": "p", "solution": "s\n#### 1", "messages": "mine"});
    for (line, target, parts) in [
        (
            &group,
            Target::PromptCompletion,
            &["expert completions beyond the first 1", "teacher completions (1 rows"][..],
        ),
        (&group, Target::Messages, &["teacher completions"]),
        (&turns, Target::Alpaca, &["row in:1: alpaca cannot hold it", "several turns"]),
        (&tools, Target::ShareGpt, &["tool calls"]),
        (&tools, Target::Alpaca, &["tool calls"]),
        (&text, Target::Messages, &["continues as it stands", "--questions"]),
        (&alone, Target::PromptCompletion, &["no expert completion"]),
        (&alone, Target::Verl, &["no reference answer"]),
        // A column under a name that the layout needs for itself would vanish.
        (&taken, Target::Messages, &["the column \"messages\""]),
    ] {
        let error = refused(std::slice::from_ref(line), target);
        assert!(parts.iter().all(|part| error.contains(part)), "{line} {target}: {error}");
    }
}

#[test]
fn lossy_leaves_out_and_counts() {
    let lines = [
        json!({"prompt": "q", "expert_completions": ["a", "b"], "teacher_completions": ["t"], "answer": "1"}),
        json!({"prompt": "r", "expert_completions": [], "teacher_completions": ["t"], "answer": "2"}),
        json!({"prompt": "s", "expert_completions": ["c"], "teacher_completions": [], "answer": "3"}),
    ];
    let (folder, from) = file(&lines);
    let to = folder.path().join("out.jsonl");
    let lossy = ConvertOptions { lossy: true, ..options(Target::PromptCompletion) };
    let done = written(&from, &to, &lossy).unwrap();
    let said = |losses: &[gft_data::Loss]| losses.iter().map(|loss| loss.to_string()).collect::<Vec<_>>();
    assert_eq!(done.rows, 2);
    assert_eq!(said(&done.left_out), ["there is no expert completion (1 rows, the first in:2)"]);
    assert_eq!(
        said(&done.lost),
        [
            "expert completions beyond the first 1 (1 rows, the first in:1)",
            "teacher completions (1 rows, the first in:1)"
        ]
    );
    let written = rows(&to);
    assert_eq!((written[1].expert[0].content.as_str(), written[1].gold.as_deref()), ("c", Some("3")));
}

#[test]
fn text_prompts_become_questions_when_told_to() {
    let (folder, from) = file(&[json!({"prompt": "1+1?", "completion": "2"})]);
    let to = folder.path().join("out.jsonl");
    let asked = ConvertOptions { questions: true, ..options(Target::Messages) };
    written(&from, &to, &asked).unwrap();
    assert_eq!(rows(&to)[0].prompt, Prompt::Messages(vec![Message::user("1+1?")]));
}

#[test]
fn files_are_whole_or_not_there() {
    let from = golden("gsm8k-train-20.jsonl");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.jsonl");
    let stopped =
        convert(&open(&from), &to, &options(Target::Messages), &mut |stage, _, _| stage != "reading back");
    assert!(matches!(stopped, Err(DataError::Stopped)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    written(&from, &to, &options(Target::Messages)).unwrap();
    let before = std::fs::read(&to).unwrap();
    let again = written(&from, &to, &options(Target::Alpaca)).unwrap_err().to_string();
    assert!(again.contains("there already"), "{again}");
    assert_eq!(std::fs::read(&to).unwrap(), before);
    let over = ConvertOptions { overwrite: true, ..options(Target::Alpaca) };
    written(&from, &to, &over).unwrap();
    assert_ne!(std::fs::read(&to).unwrap(), before);
    for name in ["out.csv", "out", "out.parquet.gz"] {
        let error = written(&from, &folder.path().join(name), &over).unwrap_err().to_string();
        assert!(error.contains("known are .jsonl"), "{error}");
    }
}

#[test]
fn a_parquet_column_has_one_type() {
    let (folder, from) = file(&[
        json!({"prompt": "q", "completion": "a", "meta": {"level": 1}}),
        json!({"prompt": "q", "completion": "a", "meta": {"level": "one"}}),
    ]);
    let to = folder.path().join("out.parquet");
    let error = written(&from, &to, &options(Target::PromptCompletion)).unwrap_err().to_string();
    assert!(
        error.contains("row in:2") && error.contains("\"meta.level\" is text here and a number"),
        "{error}"
    );
    assert!(!to.exists());
}

/// More rows than a row group, in order.
#[test]
fn many_rows() {
    let lines: Vec<Value> = (0..25_000)
        .map(|i| json!({"prompt": format!("q{i}"), "completion": format!("a{i}"), "list": vec![i; i % 3]}))
        .collect();
    let (folder, from) = file(&lines);
    let to = folder.path().join("out.parquet");
    assert_eq!(written(&from, &to, &options(Target::PromptCompletion)).unwrap().rows, 25_000);
    let back = open(&to);
    for i in [0, 9_999, 10_000, 24_999] {
        let row = back.row(i).unwrap();
        assert_eq!(
            (row.prompt.text(), row.columns["list"].as_array().unwrap().len() as u64),
            (format!("q{i}"), i % 3)
        );
    }
}
