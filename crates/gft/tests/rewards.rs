//! Runs with rewards from outside that work, die, are slow, or answer nonsense: the run says so and goes on or stops as
//! it is told to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::path::{Path, PathBuf};

use gft_testserver::{Reply, Server};
use serde_json::Value;
use world::{gft, gsm8k, gsm8k_model, said, steps};

/// Answers with the number of the question in its life, and dies over the third.
const DIES_SOMETIMES: &str = r#"n=0; while read -r line; do n=$((n+1)); id=${line#*\"id\":}; id=${id%%,*}
if [ $((n % 3)) = 0 ]; then echo 'out of memory' >&2; exit 9; fi; echo "{\"id\":$id,\"reward\":$n}"; done"#;
/// Dies over every question.
const DIES: &str = "read -r line; exit 7";

struct World {
    root: tempfile::TempDir,
    model: String,
    data: String,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let model = gsm8k_model(root.path()).display().to_string();
        World { model, data: gsm8k().display().to_string(), root }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.root.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Two steps of GRPO with rewards and flags; the run's folder, exit code and what was said.
    fn train(&self, rewards: &str, flags: &[&str]) -> (PathBuf, i32, String) {
        let run = self.root.path().join("run");
        let _ = std::fs::remove_dir_all(&run);
        let out = run.display().to_string();
        let fixed = [
            "train",
            "--method",
            "grpo",
            "--model",
            &self.model,
            "--data",
            &self.data,
            "--output-dir",
            &out,
            "--max-steps",
            "2",
            "--train-batch-size",
            "1",
            "--num-generations",
            "4",
            "--max-completion-length",
            "8",
            "--reward-funcs",
            rewards,
        ];
        let output = gft(&[fixed.as_slice(), flags].concat());
        (run, output.status.code().unwrap_or(-1), said(&output))
    }
}

/// The run ended well and its steps are there.
fn went_on(run: &Path, code: i32, words: &str) -> Vec<Value> {
    assert_eq!(code, 0, "{words}");
    let steps = steps(run);
    assert_eq!(steps.len(), 2, "{words}");
    steps
}

#[test]
fn a_python_file_rewards_and_reports() {
    let world = World::new();
    let text = "def score(completions, gold, log_metric, **columns):\n    log_metric('seen', 2)\n    \
                return [0.25 for _ in completions]\n";
    let file = world.file("mine.py", text);
    let (run, code, words) = world.train(&format!("verifier,{file}:score"), &["--reward-weights", "1.0,2.0"]);
    let steps = went_on(&run, code, &words);
    assert_eq!(steps[1]["rewards/score/mean"], 0.25, "{}", steps[1]);
    assert_eq!(steps[1]["rewards/score/seen"], 2.0, "{}", steps[1]);
    assert_eq!(steps[1]["rewards/error_frac"], 0.0, "{}", steps[1]);
    let reward = steps[1]["rewards/verifier/mean"].as_f64().unwrap() + 0.5;
    assert!((steps[1]["reward"].as_f64().unwrap() - reward).abs() < 1e-9, "{}", steps[1]);
}

#[test]
fn a_reward_that_needs_no_reference_answer_asks_for_none() {
    let mut world = World::new();
    let rows: String = (0..6).map(|n| format!("{{\"prompt\": \"Say {n}\"}}\n")).collect();
    world.data = world.file("prompts.jsonl", &rows);
    let file = world
        .file("mine.py", "def score(completions, **columns):\n    return [len(c) for c in completions]\n");
    for rewards in [format!("{file}:score"), format!("{file}:score,format,soft_overlong")] {
        let (run, code, words) = world.train(&rewards, &["--overlong-buffer", "4"]);
        went_on(&run, code, &words);
    }
    let (_, code, words) = world.train(&format!("{file}:score,verifier"), &[]);
    assert_eq!(code, 3, "{words}");
    let parts = ["6 no reference answer", "prompt=NAME,solution=NAME", "functions of your own"];
    assert!(parts.iter().all(|part| words.contains(part)), "{words}");
}

#[test]
fn a_python_function_that_raises_stops_the_run_with_its_message() {
    let world = World::new();
    let file = world.file("bad.py", "def score(completions, **columns):\n    return [1 / 0]\n");
    let (_, code, words) = world.train(&format!("{file}:score"), &[]);
    assert_eq!(code, 1, "{words}");
    for part in
        ["`score` failed for 4 of 4", "ZeroDivisionError", "bad.py:score", "max_reward_error_frac", "step 1"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[test]
fn a_program_that_dies() {
    let world = World::new();
    let dies = format!("cmd:sh {}", world.file("dies.sh", DIES));
    let (_, code, words) = world.train(&dies, &["--reward-tries", "1"]);
    assert_eq!(code, 1, "{words}");
    for part in ["`sh` failed for 4 of 4", "it died", "7", "max_reward_error_frac"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    // The same, with its failures left out of the statistics.
    let sometimes = format!("cmd:sh {}", world.file("sometimes.sh", DIES_SOMETIMES));
    let flags = ["--reward-tries", "1", "--max-reward-error-frac", "0.5"];
    let (run, code, words) = world.train(&sometimes, &flags);
    let steps = went_on(&run, code, &words);
    assert!(
        words.contains("a reward failed, its rows are left out") && words.contains("out of memory"),
        "{words}"
    );
    assert_eq!(steps[0]["rewards/sh/error_frac"], 0.25, "{}", steps[0]);
    assert_eq!(steps[0]["rewards/error_frac"], 0.25, "{}", steps[0]);
    // 1, 2, and 1 of the next process: the failure is no zero.
    assert!((steps[0]["rewards/sh/mean"].as_f64().unwrap() - 4.0 / 3.0).abs() < 1e-9, "{}", steps[0]);
    // A third try is enough for a program that dies over every third question.
    let (run, code, words) = world.train(&sometimes, &[]);
    assert_eq!(went_on(&run, code, &words)[0]["rewards/error_frac"], 0.0);
}

#[test]
fn a_server_that_answers_nonsense_or_nothing() {
    let world = World::new();
    let nonsense = serve(Some("<html>busy</html>"));
    let (_, code, words) = world.train(&nonsense, &[]);
    assert_eq!(code, 1, "{words}");
    for part in ["`http` failed for 4 of 4", "not a JSON object", &nonsense, "max_reward_error_frac"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let (run, code, words) = world.train(&format!("verifier,{nonsense}"), &["--max-reward-error-frac", "1"]);
    let steps = went_on(&run, code, &words);
    assert_eq!(
        (&steps[0]["rewards/http/error_frac"], &steps[0]["rewards/http/mean"]),
        (&1.0.into(), &Value::Null)
    );
    let silent = serve(None);
    let (_, code, words) = world.train(&silent, &["--reward-time-limit", "0.2", "--reward-tries", "1"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("no answer within 200ms"), "{words}");
}

/// A server that answers every request with a text, or with nothing.
fn serve(reply: Option<&'static str>) -> String {
    let reply = reply.map_or(Reply::Hang, |text| Reply::Say(200, "", text.into()));
    format!("{}/get_reward", Server::in_turn(vec![reply]).url)
}
