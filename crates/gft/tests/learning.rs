//! T26: an arithmetic task is learned. A small model that has seen sums with wrong answers among them gets better at them by
//! SFT, GFT and GRPO, each on its own signal.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::path::Path;

use gft_model::Dtype;
use gft_model::random::Stream;
use serde_json::{Value, json};
use world::model::{Size, make_model};
use world::{gft_ok, lines};

/// All sums of two digits up to 4; a vocabulary of bytes.
const DIGITS: u64 = 5;
const SIZE: Size = Size { hidden: 64, layers: 2, vocab: 259, positions: 64, dtype: Dtype::F32, tied: true };
/// By how much accuracy must rise over the base model's, on completions sampled at temperature 1.
const MARGIN: f64 = 0.1;

fn sums() -> impl Iterator<Item = (u64, u64)> {
    (0..DIGITS).flat_map(|a| (0..DIGITS).map(move |b| (a, b)))
}

fn answer(sum: u64) -> String {
    format!("A: {sum}")
}

fn write(path: &Path, rows: impl Iterator<Item = Value>) -> String {
    let text: Vec<String> = rows.map(|row| row.to_string() + "\n").collect();
    std::fs::write(path, text.concat()).unwrap();
    path.display().to_string()
}

/// A sum with its answer, or with a wrong one in `wrong` of the cases.
fn noisy(random: Stream, at: u64, sum: u64, wrong: f64) -> String {
    let slip = random.uniform(2 * at) < wrong;
    answer(if slip { (sum + 1 + random.bits(2 * at + 1) % 3) % 9 } else { sum })
}

#[test]
fn accuracy_rises_by_each_method_and_seed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let model = root.join("model");
    make_model(&model, &["0 1 2 3 4 5 6 7 8 9 A: + = ?".to_owned()], SIZE, 5);
    let random = Stream::new(11);
    let prompt = |a: u64, b: u64| format!("{a}+{b}=?");
    // What the base model learns from: two in five of the answers are wrong.
    let base_rows = (0..20).flat_map(|copy| sums().map(move |sum| (copy, sum)));
    let base_data = write(
        &root.join("base.jsonl"),
        base_rows.enumerate().map(|(at, (_, (a, b)))| {
            json!({"prompt": prompt(a, b), "expert_completions": [noisy(random, at as u64, a + b, 0.4)]})
        }),
    );
    // What the methods learn from: the expert is right, three teachers are wrong in one of four.
    let data = write(
        &root.join("task.jsonl"),
        sums().enumerate().map(|(at, (a, b))| {
            let teachers: Vec<Value> = (0..3)
                .map(|k| json!({"content": noisy(random.child(k), at as u64, a + b, 0.25), "model": format!("t{k}")}))
                .collect();
            json!({"prompt": prompt(a, b), "solution": (a + b).to_string(), "expert_completions": [answer(a + b)],
                   "teacher_completions": teachers})
        }),
    );
    let base = root.join("base").display().to_string();
    let model = model.display().to_string();
    let short = [
        "--max-completion-length",
        "8",
        "--logging-steps",
        "1000",
        "--completions-steps",
        "0",
        "--log-entropy",
        "false",
    ];
    gft_ok(
        &[
            &["train", "--model", &model, "--data", &base_data, "--output-dir", &base, "--method", "sft"][..],
            &["--lr", "3e-3", "--max-steps", "250", "--train-batch-size", "25", "--warmup-ratio", "0.1"],
            &short,
        ]
        .concat(),
    );
    let runs = [
        ("sft", "1e-3", "40"),
        ("gft-paper", "5e-4", "40"),
        ("gft-stable", "5e-4", "40"),
        ("grpo", "5e-4", "50"),
    ];
    for (method, lr, steps) in runs {
        for seed in ["1", "2", "3"] {
            let run = root.join(format!("{method}-{seed}"));
            let out = run.display().to_string();
            gft_ok(
                &[
                    &["train", "--model", &base, "--data", &data, "--output-dir", &out, "--method", method][..],
                    &["--lr", lr, "--max-steps", steps, "--train-batch-size", "12", "--seed", seed],
                    &["--eval-data", &data, "--eval-on-start", "--num-generations-eval", "16"],
                    &["--eval-temperature", "1.0"],
                    &short,
                ]
                .concat(),
            );
            let accuracy: Vec<f64> = lines(&run.join("metrics.jsonl"))
                .iter()
                .filter_map(|line| line.get("eval_accuracy")?.as_f64())
                .collect();
            let [before, .., after] = accuracy.as_slice() else {
                panic!("{:?}", lines(&run.join("metrics.jsonl")))
            };
            println!("{method} seed {seed}: {before:.3} -> {after:.3}");
            assert!(after - before >= MARGIN, "{method} seed {seed}: accuracy {before:.3} -> {after:.3}");
        }
    }
}
