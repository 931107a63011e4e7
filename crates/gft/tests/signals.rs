//! T16: a signal saves and ends with 130, and the run goes on from there bit for bit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use world::{gft_ok, gsm8k, gsm8k_model, steps};

fn spawn(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_gft"))
        .args(args)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the run has written `lines` lines of metrics.
fn wait_for(run: &Path, lines: usize, child: &mut Child) {
    loop {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        if text.lines().count() >= lines {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was stopped");
        std::thread::yield_now();
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_signal_saves_and_the_run_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let straight = root.path().join("straight");
    let out = straight.display().to_string();
    let args = vec![
        "train",
        "--model",
        &model,
        "--data",
        &data,
        "--output-dir",
        &out,
        "--method",
        "gft",
        "--lr",
        "1e-3",
        "--train-batch-size",
        "2",
        "--max-completion-length",
        "16",
        "--truncation-mode",
        "keep_start",
        "--max-steps",
        "25",
    ];
    gft_ok(&args);
    for (at, name) in [(1, "-INT"), (7, "-TERM"), (4, "-HUP")] {
        let stopped = root.path().join(format!("stopped{name}"));
        let out = stopped.display().to_string();
        let mut args = args.clone();
        args[6] = &out;
        let mut child = spawn(&args);
        wait_for(&stopped, at, &mut child);
        signal(&child, name);
        // A terminal that closes may say so twice, by the system and by the shell.
        if name == "-HUP" {
            signal(&child, name);
        }
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        let made = steps(&stopped).len();
        assert!((at..25).contains(&made), "{made}");
        assert!(stopped.join(format!("checkpoint-{made}/manifest.json")).is_file(), "checkpoint-{made}");
        let mut resume = args.clone();
        resume.push("--resume");
        gft_ok(&resume);
        let numbers = |run: &Path| -> Vec<(String, String)> {
            steps(run).iter().map(|line| (line["loss"].to_string(), line["grad_norm"].to_string())).collect()
        };
        assert_eq!(numbers(&straight), numbers(&stopped), "{name}");
        let weights = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
        assert!(weights(&straight) == weights(&stopped), "{name}: weights differ");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let run = root.path().join("run");
    let out = run.display().to_string();
    let mut child = spawn(&[
        "train",
        "--model",
        &model,
        "--data",
        &data,
        "--output-dir",
        &out,
        "--method",
        "sft",
        "--max-steps",
        "100000",
    ]);
    wait_for(&run, 1, &mut child);
    signal(&child, "-INT");
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// `nohup` stands: what is to outlive its terminal does.
#[test]
fn an_ignored_hangup_stays_ignored() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let run = root.path().join("run");
    let (data, out) = (gsm8k().display().to_string(), run.display().to_string());
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_gft"), "train", "--model", &model])
        .args(["--data", &data, "--output-dir", &out, "--method", "sft", "--max-steps", "12"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&run, 1, &mut child);
    signal(&child, "-HUP");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(steps(&run).len(), 12);
}
