//! `gft group` through the real binary, against servers on this machine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../world/mod.rs"]
mod world;

mod build;
mod hostile;
mod local;
mod refused;
mod resume;
mod stats;
mod tls;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gft_data::{Dataset, ReadOptions, Row};
use serde_json::Value;
use world::model::gsm8k_train;

/// A folder of a test's own, with twenty problems as data.
struct Bench {
    root: tempfile::TempDir,
    data: String,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), data: gsm8k_train().display().to_string() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// `gft group build` of the data into `out`; servers are tried again without long waits.
    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gft"));
        command.current_dir(self.root.path()).env("NO_COLOR", "1");
        for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL"] {
            command.env_remove(name);
        }
        command.args(["group", "build", &self.data, "-o", out, "--retry-wait", "0.002"]).args(more);
        command
    }

    fn build(&self, out: &str, more: &[&str]) -> Output {
        self.command(out, more).output().unwrap()
    }

    /// A build that must succeed, with its summary.
    fn summary(&self, out: &str, more: &[&str]) -> Value {
        let output = self.build(out, &[more, &["--json"]].concat());
        assert!(output.status.success(), "{}", world::said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        read(&self.path(name))
    }
}

fn read(path: &Path) -> Vec<Row> {
    Dataset::open(&[path], &ReadOptions::default()).unwrap().iter().map(Result::unwrap).collect()
}

/// Reference answers by question.
fn golds() -> HashMap<String, String> {
    read(&gsm8k_train()).into_iter().map(|row| (row.prompt.text(), row.gold.unwrap())).collect()
}

/// What a file of group rows says, as bytes.
fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
