//! `gft objective`: a line of groups comes back with what the method makes of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn objective(flags: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gft"))
        .arg("objective")
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn line(flags: &[&str], input: &Value) -> Value {
    let output = objective(flags, &format!("{input}\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn gft_by_hand() {
    // p = 0.61 and p = 0.05: with tau 0.1 the second is rectified.
    let input = json!({"id": 7, "groups": [{"responses": [
        {"source": "expert", "reward": 1.0, "logprobs": [-0.5, -2.9957323]},
        {"source": "policy", "reward": 0.0, "logprobs": [-0.5], "note": "kept"},
    ]}]});
    let found = line(&["--method", "gft", "--tau", "0.1"], &input);
    assert_eq!(found["id"], 7);
    let [expert, own] = [0, 1].map(|k| found["groups"][0]["responses"][k].clone());
    assert_eq!(own["note"], "kept");
    // Two rewards, ddof 1: the standard deviation is sqrt(1/2), so A = +-1/sqrt(2) but for eps = 1e-6.
    let a = 0.5 / (0.5f64.sqrt() + 1e-6);
    let near = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap();
        // 1e-6: the gradient is an f32.
        assert!((value - expected).abs() < 1e-6 * expected.abs().max(1.0), "{value} {expected}");
    };
    near(&expert["advantage"], a);
    near(&own["advantage"], -a);
    near(&expert["coefficients"][0], a);
    near(&expert["coefficients"][1], 0.05 * a);
    near(&expert["gradient"][0], -a / 3.0);
    near(&expert["gradient"][1], -0.05 * a / 3.0);
    near(&own["gradient"][0], a / 3.0);
    near(&found["loss"], a * (0.5 + 0.05 * 2.9957323 - 0.5) / 3.0);
    let by_row = line(&["--method", "gft", "--tau", "0.1", "--normalise", "seq-mean-token-mean"], &input);
    near(&by_row["groups"][0]["responses"][0]["gradient"][0], -a / 4.0);
    near(&by_row["groups"][0]["responses"][1]["gradient"][0], a / 2.0);
}

#[test]
fn unscorable_and_impossible_are_no_zeros() {
    let input = json!({"groups": [{"responses": [
        {"source": "policy", "reward": null, "logprobs": [-1.0]},
        {"source": "policy", "reward": 1.0, "logprobs": [null]},
        {"source": "policy", "reward": 0.0, "logprobs": [-1.0]},
    ]}]});
    let found = line(&["--method", "gft", "--tau", "0.5"], &input);
    let rows = &found["groups"][0]["responses"];
    assert_eq!(rows[0]["advantage"], 0.0);
    assert_eq!(found["groups"][0]["reward_mean"], 0.5);
    assert_eq!(rows[1]["coefficients"][0], 0.0, "p = 0 weighs nothing");
}

#[test]
fn bad_lines_are_named() {
    for (input, code, part) in [
        ("{\"groups\": [}\n", 3, "line 1: not JSON"),
        ("{}\n", 3, "line 1: it must be an object with a list `groups`"),
        ("{\"groups\": [{\"responses\": [{\"source\": \"friend\", \"logprobs\": []}]}]}\n", 3, "`friend`"),
        (
            "{\"groups\": [{\"responses\": [{\"source\": \"policy\", \"reward\": 1.0, \"logprobs\": [0.5]}]}]}\n",
            3,
            "logprobs[0] = 0.5",
        ),
    ] {
        let output = objective(&["--method", "gft"], input);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "{message}");
    }
    let output = objective(&["--method", "grpo", "--tau", "0.1"], "");
    assert_eq!(output.status.code(), Some(2));
}

/// The help says what the input is, and shows the settings that an objective reads.
#[test]
fn the_help_has_the_input_and_no_flags_of_training() {
    let help = String::from_utf8(objective(&["--help"], "").stdout).unwrap();
    for part in ["\"responses\"", "old_logprobs", "--method", "--tau", "--max-completion-length"] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
    for part in ["--output-dir", "--learning-rate", "--lora-r", "--reward-funcs"] {
        assert!(!help.contains(part), "{part} is in {help}");
    }
}
