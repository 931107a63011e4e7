//! Standard output that nobody reads any more, and one that takes nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use crate::process::{Run, command, with_model};

/// Commands that write more or less than a pipe holds, in a folder that has a model `m`.
fn commands(dir: &Path) -> Vec<Vec<&'static str>> {
    fs::write(dir.join("sums.jsonl"), "{\"prompt\": \"1+1=?\", \"completion\": \"2\"}\n").unwrap();
    let files = ["--method", "sft", "--model", "m", "--data", "sums.jsonl", "--max-steps", "1"];
    let bench = ["bench", "memory", "--runs", "1", "--warmup", "0"];
    let with = |command: &'static str, more: &[&'static str]| [&[command][..], &files, more].concat();
    vec![
        with("plan", &["--output-dir", "run"]),
        with("plan", &["--output-dir", "run", "--json"]),
        with("train", &["--output-dir", "run", "--quiet"]),
        bench.to_vec(),
    ]
}

#[test]
fn a_reader_that_is_gone_is_a_quiet_end() {
    let dir = with_model(&[]);
    for args in commands(dir.path()) {
        let mut child = command(dir.path(), &args).stdin(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        let run: Run = child.wait_with_output().unwrap().into();
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.stderr);
        assert!(
            !run.stderr.contains("panicked") && !run.stderr.contains("error"),
            "{args:?}: {}",
            run.stderr
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_with_its_code() {
    let dir = with_model(&[]);
    for args in commands(dir.path()) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let run: Run = command(dir.path(), &args).stdin(Stdio::null()).stdout(full).output().unwrap().into();
        assert_eq!(run.code, Some(1), "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains("error: standard output: cannot write"), "{args:?}: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{args:?}: {}", run.stderr);
    }
}
