//! Event files on disk: whole after every call, never overwritten, errors with a path.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers stand outside of #[test] functions

use gft_report::{EventWriter, ReportError, cut_after, tag};
use std::fs;
use std::path::Path;

/// Lengths of the records of a file, by their own headers; panics where the last one is cut.
fn records(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut lengths = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        lengths.push(length);
        rest = &rest[8 + 4 + length + 4..];
    }
    lengths
}

#[test]
fn every_call_writes_one_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(&dir.path().join("logs")).unwrap();
    let path = writer.path().to_owned();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("events.out.tfevents."), "{name}");
    assert!(name.ends_with(&format!(".{}.0", std::process::id())), "{name}");
    assert_eq!(records(&path).len(), 1);
    assert!(fs::read(&path).unwrap().windows(13).any(|window| window == b"brain.Event:2"));
    writer.scalars(1, [("train/loss", 0.5), ("train/reward", f64::NAN)]).unwrap();
    writer.text(1, "notes", "*").unwrap();
    writer.table(1, "completions", &[vec!["Prompt".into()], vec!["2+2=".into()]]).unwrap();
    writer.histogram(1, "gft/coef_hist", &[0.1, 0.2]).unwrap();
    writer.resumed(1).unwrap();
    assert_eq!(records(&path).len(), 6);
    // Field 2, the step, is the one after that which the run goes on from; field 7 is a session log with status START.
    let bytes = fs::read(&path).unwrap();
    assert!(bytes[..bytes.len() - 4].ends_with(&[2 << 3, 2, 7 << 3 | 2, 2, 1 << 3, 1]), "{bytes:?}");
}

#[test]
fn two_writers_have_two_files() {
    let dir = tempfile::tempdir().unwrap();
    let writers: Vec<EventWriter> = (0..3).map(|_| EventWriter::create(dir.path()).unwrap()).collect();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    assert!(writers.iter().all(|writer| records(writer.path()).len() == 1));
}

#[test]
fn what_cannot_be_shown_is_an_error_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(dir.path()).unwrap();
    let path = writer.path().to_owned();
    for error in [
        writer.histogram(1, "gft/coef_hist", &[f64::NAN]).unwrap_err(),
        writer.histogram(1, "gft/coef_hist", &[]).unwrap_err(),
        writer.table(1, "gft/coef_hist", &[]).unwrap_err(),
        writer.table(1, "gft/coef_hist", &[vec!["a".into()], vec![]]).unwrap_err(),
    ] {
        assert!(
            matches!(error, ReportError::Values { .. }) && error.to_string().contains("gft/coef_hist"),
            "{error}"
        );
    }
    assert_eq!(records(&path).len(), 1);

    fs::write(dir.path().join("file"), "").unwrap();
    let error = EventWriter::create(&dir.path().join("file/logs")).unwrap_err().to_string();
    assert!(error.contains("file/logs"), "{error}");
}

/// A run of five steps goes back to step 3: its files lose steps 4 and 5 and a record that a crash left, nothing else.
#[test]
fn a_run_that_goes_back_has_each_step_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(dir.path()).unwrap();
    writer.text(0, "config", "*").unwrap();
    let mut lengths = vec![];
    for step in 1..=5 {
        // Steps above 127 have two bytes.
        writer.scalars(step * 100, [("train/loss", 0.5)]).unwrap();
        lengths.push(fs::read(writer.path()).unwrap().len());
    }
    let whole = fs::read(writer.path()).unwrap();
    fs::write(dir.path().join("metrics.jsonl"), &whole).unwrap();
    cut_after(dir.path(), 500).unwrap();
    assert_eq!(fs::read(writer.path()).unwrap(), whole);
    fs::write(writer.path(), [&whole[..], &[9, 0, 0, 0, 0, 0, 0, 0, 1]].concat()).unwrap();
    cut_after(dir.path(), 500).unwrap();
    assert_eq!(fs::read(writer.path()).unwrap(), whole);
    cut_after(dir.path(), 399).unwrap();
    assert_eq!(fs::read(writer.path()).unwrap(), whole[..lengths[2]]);
    assert_eq!(fs::read(dir.path().join("metrics.jsonl")).unwrap(), whole);
    // Lengths that no file has.
    fs::write(writer.path(), [0xff; 40]).unwrap();
    cut_after(dir.path(), 399).unwrap();
    assert!(fs::read(writer.path()).unwrap().is_empty());
    cut_after(&dir.path().join("nowhere"), 1).unwrap();
}

#[test]
fn tags_follow_the_rule_of_transformers() {
    for (metric, expected) in [
        ("loss", "train/loss"),
        ("eval_loss", "eval/loss"),
        ("test_accuracy", "test/accuracy"),
        ("rewards/verify/mean", "train/rewards/verify/mean"),
        ("gft/coef_mean", "train/gft/coef_mean"),
        ("evaluation", "train/evaluation"),
    ] {
        assert_eq!(tag(metric), expected);
    }
}
