//! A small world for tests of the real binary: a model folder made from nothing, rows, and calls of `gft`.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses what it needs; a test may panic"
)]

pub mod model;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

#[allow(unused_imports, reason = "each test file uses what it needs")]
pub use model::{gsm8k, gsm8k_model};

/// Calls the binary from the repository's folder, as the documents do.
pub fn gft(args: &[&str]) -> Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    Command::new(env!("CARGO_BIN_EXE_gft"))
        .args(args)
        .current_dir(root)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

/// Calls the binary, which must succeed.
pub fn gft_ok(args: &[&str]) -> Output {
    let output = gft(args);
    assert!(output.status.success(), "gft {args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What it said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines of a JSONL file.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of a run's metrics that are steps.
pub fn steps(run: &Path) -> Vec<Value> {
    lines(&run.join("metrics.jsonl")).into_iter().filter(|line| line.get("loss").is_some()).collect()
}
