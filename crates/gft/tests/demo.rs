//! The demo's commands: what `gft init demo` writes, the base's recipe in short, `gft demo`, `gft study`, `gft doctor`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn in_folder(folder: &Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_gft"))
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "gft {args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(name)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_recipe_of_the_base_learns_in_its_first_steps() {
    let root = tempfile::tempdir().unwrap();
    in_folder(root.path(), &["init", "demo", "--pretraining", "2560", "--problems", "4", "--rows", "4"]);
    let recipe = recipe("demo/pretrain.toml").display().to_string();
    in_folder(root.path(), &["train", &recipe, "--max-steps", "20", "--eval-rows", "2"]);
    let text = std::fs::read_to_string(root.path().join("runs/demo-base/metrics.jsonl")).unwrap();
    let losses: Vec<f64> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 40);
    // Random weights: ln 126 = 4.84 within the spread of small logits. The run that made the committed base was at
    // 2.9 after 40 steps of warm-up.
    assert!((losses[0] - 126f64.ln()).abs() < 0.1, "{}", losses[0]);
    assert!(losses[39] < 3.5, "{}", losses[39]);
}

#[test]
fn the_demo_measures_five_models_and_says_what_to_do_next() {
    let root = tempfile::tempdir().unwrap();
    let small = ["demo", "--rows", "64", "--problems", "8", "--samples", "2", "--max-steps", "2"];
    let output = in_folder(root.path(), &small);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "base",
        "SFT, half wrong",
        "GFT, half wrong",
        "KL/token",
        "GFT against SFT",
        "gft chat --model demo/runs/gft",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // Again, as JSON: the same numbers from the same seeds.
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(root.path().join("demo/report.json")).unwrap())
            .unwrap();
    let again = json(&in_folder(root.path(), &[&small[..], &["--json"]].concat()));
    assert_eq!(again.as_array().unwrap().len(), 5);
    for (line, before) in again.as_array().unwrap().iter().zip(report.as_array().unwrap()) {
        assert_eq!(line["measured"], before["measured"]);
    }
    // The base is its own distance to itself, and two steps have moved the others.
    assert_eq!(again[0]["measured"]["kl"].as_f64().unwrap(), 0.0);
    assert!(again[1]["measured"]["kl"].as_f64().unwrap() > 0.0);
    in_folder(
        root.path(),
        &["generate", "--model", "demo/runs/gft", "--prompt", "sort 9 3 5", "--max-new-tokens", "8"],
    );
}

/// The beginning of a table of experiments on the demo's world.
const ON_THE_DEMO: &str = r#"
name = "t"
base = "demo/base"
data = "demo/data"
problems = "validation.jsonl"
others = "others-validation.jsonl"
"#;

#[test]
fn a_study_continues_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    in_folder(root.path(), &["init", "demo", "--rows", "32", "--problems", "4"]);
    let table = r#"
seeds = [0, 1]
settings = { max_steps = 1, train_batch_size = 4, max_completion_length = 72 }
[[experiments]]
name = "sft"
settings = { method = "sft" }
grid = { learning_rate = [0.001, 0.003] }
"#;
    std::fs::write(root.path().join("t.toml"), [ON_THE_DEMO, table].concat()).unwrap();
    std::fs::write(root.path().join("S.md"), "<!-- study t -->\n<!-- end -->\n").unwrap();
    let call = ["study", "t.toml", "--results", "r.jsonl", "--samples", "2", "--document", "S.md"];
    let lines = || std::fs::read_to_string(root.path().join("r.jsonl")).unwrap().lines().count();
    in_folder(root.path(), &[&call[..], &["--limit", "1"]].concat());
    assert_eq!(lines(), 1);
    in_folder(root.path(), &call);
    assert_eq!(lines(), 4);
    in_folder(root.path(), &call);
    assert_eq!(lines(), 4, "finished runs are not run again");
    let document = std::fs::read_to_string(root.path().join("S.md")).unwrap();
    assert!(document.contains("| sft, learning_rate 0.003 | 2 |"), "{document}");
}

#[test]
fn a_study_has_stages_and_looks_on_the_way() {
    let root = tempfile::tempdir().unwrap();
    in_folder(root.path(), &["init", "demo", "--rows", "32", "--problems", "4", "--days", "7"]);
    let table = r#"
seeds = [0]
settings = { max_steps = 1, train_batch_size = 2, max_completion_length = 72, eval_steps = 1, eval_on_start = true }
[[experiments]]
name = "two"
settings = { num_generations_eval = 2, eval_temperature = 1.0 }
stages = [{ method = "sft" }, { method = "grpo", max_steps = 2, learning_rate = 1e-4 }]
grid = { weight_decay = [0.0, 0.1] }
"#;
    std::fs::write(root.path().join("t.toml"), [ON_THE_DEMO, table].concat()).unwrap();
    std::fs::write(root.path().join("S.md"), "<!-- curve t -->\n<!-- end -->\n").unwrap();
    let call = ["study", "t.toml", "--results", "r.jsonl", "--samples", "2", "--document", "S.md"];
    in_folder(root.path(), &[&call[..], &["--figures", "figures"]].concat());
    let text = std::fs::read_to_string(root.path().join("r.jsonl")).unwrap();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!(line["steps"], 3);
        let steps: Vec<u64> =
            line["curve"].as_array().unwrap().iter().map(|p| p["step"].as_u64().unwrap()).collect();
        // Each stage looks at its start and at its end.
        assert_eq!(steps, [0, 1, 1, 2, 3]);
    }
    let document = std::fs::read_to_string(root.path().join("S.md")).unwrap();
    assert!(document.contains("| run | seeds | step 0 | step 1 | step 2 | step 3 |"), "{document}");
    let figure = std::fs::read_to_string(root.path().join("figures/t-curve.svg")).unwrap();
    assert_eq!(figure.matches("<polyline").count(), 2, "{figure}");
    // Every problem has seven days.
    let rows = std::fs::read_to_string(root.path().join("demo/data/train.jsonl")).unwrap();
    assert!(rows.lines().all(|row| row.contains(" sun ")), "{rows}");
}

#[test]
fn the_doctor_looks_at_eight_things_and_faults_fail() {
    let root = tempfile::tempdir().unwrap();
    let findings = json(&in_folder(root.path(), &["doctor", "--json"]));
    let mut checks: Vec<&str> =
        findings.as_array().unwrap().iter().map(|f| f["check"].as_str().unwrap()).collect();
    checks.dedup(); // a line for each card
    assert_eq!(checks, ["processor", "cores", "memory", "disk", "terminal", "colour", "python3", "gpu"]);
    for finding in findings.as_array().unwrap() {
        assert_eq!(finding.get("mend").is_some(), finding["state"] != "fine", "{finding}");
    }
    let mut without = Command::new(env!("CARGO_BIN_EXE_gft"));
    let without = without.args(["doctor", "--json"]).env("GFT_AMX", "0").output().unwrap();
    let without: Value = serde_json::from_slice(&without.stdout).unwrap();
    let [with, without] = [&findings, &without].map(|findings| findings[0]["found"].as_str().unwrap());
    assert!(!without.contains("(AMX)"), "{without}");
    assert_eq!(with.contains("(AMX)"), without.contains("GFT_AMX"), "{with}; {without}");
    let output =
        Command::new(env!("CARGO_BIN_EXE_gft")).args(["doctor", "/no/such/folder"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAULT    disk"));
}
