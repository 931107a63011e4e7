//! Running `gft`, and the models to run it on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What a run left.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Standard output as rows.
    pub fn rows(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The run if it ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// The binary, to be run in `dir`.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gft"));
    command.current_dir(dir).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `gft` in `dir` with `input` on standard input.
pub fn gft(dir: &Path, args: &[&str], input: &str) -> Run {
    let mut child = command(dir, args).spawn().unwrap();
    // A process that stops before it has read everything closes the pipe; its own message is what counts.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

pub fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

/// A folder of a model fixture, as text.
pub fn fixture(name: &str) -> String {
    golden(&format!("model/{name}/model")).to_str().unwrap().to_owned()
}

/// What `init_model` is asked for in these tests: small enough to be made in each of them.
pub fn small<'a>(out: &'a str, text: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["init-model", out, "--text", text];
    args.extend(["--hidden", "32", "--layers", "2", "--heads", "4", "--kv-heads", "2", "--ffn", "48"]);
    args.extend(["--vocab-size", "300", "--max-positions", "128"]);
    args.extend(more);
    args
}

/// A fresh folder with a new model `m` in it.
pub fn with_model(more: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = golden("data/rows/gsm8k-train-20.jsonl");
    gft(dir.path(), &small("m", text.to_str().unwrap(), more), "").ok();
    dir
}
