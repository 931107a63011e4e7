//! Memory: what `gft plan` predicts against what a run reaches, and a long run that does not grow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use gft_model::Dtype;
use serde_json::Value;
use world::model::{Size, make_model, texts};
use world::{gft_ok, gsm8k, steps};

/// `bench/plan_memory.py` measures 0.97 to 1.05 of the prediction for models of 7M and 50M parameters. The bound leaves room
/// for another allocator and another size of the program, and still catches a buffer that is forgotten: weights, gradients and
/// activations are each more than a fifth of what is measured here.
const MARGIN: f64 = 0.2;

#[test]
fn the_predicted_peak_is_what_a_run_reaches() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("model");
    let size = Size { hidden: 256, layers: 4, vocab: 4096, positions: 1024, dtype: Dtype::F32, tied: true };
    make_model(&model, &texts(), size, 1);
    let (model, data) = (model.display().to_string(), gsm8k().display().to_string());
    // The KL term makes rows run that are all wrong.
    for (method, more) in
        [("sft", &["--beta", "0"][..]), ("gft", &["--beta", "0"]), ("grpo", &["--beta", "0.001"])]
    {
        let out = root.path().join(method);
        let out = out.display().to_string();
        let flags = [
            &["--method", method, "--model", &model, "--data", &data, "--output-dir", &out][..],
            &["--max-steps", "3", "--train-batch-size", "4", "--max-completion-length", "64"],
            &["--truncation-mode", "keep_start"],
            more,
        ]
        .concat();
        let plan = gft_ok(&[&["plan"][..], &flags, &["--json"]].concat());
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let parts = plan["memory"].as_array().unwrap();
        let predicted: f64 = parts.iter().map(|part| part[1].as_f64().unwrap()).sum();
        gft_ok(&[&["train"][..], &flags].concat());
        // The first step alone touches a tenth less than the next.
        let steps = steps(root.path().join(method).as_path());
        let measured = steps.last().unwrap()["memory/peak_gb"].as_f64().unwrap() * 1e9;
        let ratio = measured / predicted;
        println!("{method}: {:.0} MB of {:.0} MB", measured / 1e6, predicted / 1e6);
        assert!((ratio - 1.0).abs() < MARGIN, "{method}: {measured} of {predicted} bytes, {parts:?}");
    }
}

/// T26: two thousand steps of GFT in all its parts. What the first tenth has reached may grow by a twentieth.
#[test]
fn two_thousand_steps_do_not_grow() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("model");
    let size = Size { hidden: 16, layers: 1, vocab: 259, positions: 64, dtype: Dtype::F32, tied: true };
    make_model(&model, &["0 1 2 3 4 5 6 7 8 9 A: + = ?".to_owned()], size, 5);
    let data = root.path().join("sums.jsonl");
    let rows = (0..25).map(|at| {
        let (a, b) = (at / 5, at % 5);
        let wrong = format!("A: {}", (a + b + 1) % 9);
        serde_json::json!({"prompt": format!("{a}+{b}=?"), "solution": (a + b).to_string(),
            "expert_completions": [format!("A: {}", a + b)], "teacher_completions": [wrong]})
    });
    std::fs::write(&data, rows.map(|row| row.to_string() + "\n").collect::<String>()).unwrap();
    let (model, data) = (model.display().to_string(), data.display().to_string());
    let run = root.path().join("run");
    let out = run.display().to_string();
    gft_ok(
        &[
            &["train", "--model", &model, "--data", &data, "--output-dir", &out, "--method", "gft"][..],
            &["--max-steps", "2000", "--train-batch-size", "2", "--num-generations", "2", "--lr", "1e-3"],
            &["--max-completion-length", "4", "--save-steps", "500", "--save-total-limit", "1"],
            &["--completions-steps", "100", "--logging-steps", "500"],
        ]
        .concat(),
    );
    let peaks: Vec<f64> = steps(&run).iter().map(|line| line["memory/peak_gb"].as_f64().unwrap()).collect();
    assert_eq!(peaks.len(), 2000);
    let growth = peaks[1999] / peaks[199] - 1.0;
    println!("{:.1} MB after 200 steps, {:+.2} % after 2000", peaks[199] * 1e3, 100.0 * growth);
    assert!(growth <= 0.05, "memory grew by {:.1} %", 100.0 * growth);
}
