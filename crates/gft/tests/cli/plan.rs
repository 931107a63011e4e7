//! `gft plan --device cuda`: what a card would hold, counted here a second time, and the card's own memory beside it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::driver::{Driver, beside, has_driver};
use crate::process::{gft, with_model};

/// Eight completions of 70 tokens at a time, four for each of two prompts.
const BATCH: [&str; 6] =
    ["--num-generations", "4", "--train-batch-size", "2", "--max-completion-length", "70"];

/// A folder with a model `m` and sums to train on, whose prompts are a few tokens long.
fn world(dtype: &str) -> TempDir {
    let dir = with_model(&["--dtype", dtype]);
    let sum = |a: usize| json!({"prompt": format!("{a}+{a}=?"), "solution": (a + a).to_string()});
    fs::write(dir.path().join("sums.jsonl"), (1..5).map(|a| format!("{}\n", sum(a))).collect::<String>())
        .unwrap();
    dir
}

/// The arguments of a plan with these flags.
fn args<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let files = ["plan", "--method", "grpo", "--model", "m", "--data", "sums.jsonl", "--output-dir", "run"];
    [&files[..], &BATCH, flags].concat()
}

/// The plan as JSON.
fn plan(world: &TempDir, flags: &[&str]) -> Value {
    let run = gft(world.path(), &args(&[flags, &["--json"]].concat()), "").ok();
    assert_eq!(run.stderr, "", "{flags:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

/// Bytes of a part of the card's memory; 0 for one that there is not.
fn part(plan: &Value, when: &str, name: &str) -> u64 {
    let parts = plan["device"][when].as_array().unwrap();
    parts.iter().find(|part| part[0] == name).map_or(0, |part| part[1].as_u64().unwrap())
}

/// All parts together.
fn sum(plan: &Value, when: &str) -> u64 {
    plan["device"][when].as_array().unwrap().iter().map(|part| part[1].as_u64().unwrap()).sum()
}

/// Shapes of a model's weights, as the header of their file says.
fn shapes(model: &Path) -> Vec<(String, Vec<u64>)> {
    let file = fs::read(model.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let sizes = |shape: &Value| shape.as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect();
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    tensors.map(|(name, tensor)| (name.clone(), sizes(&tensor["shape"]))).collect()
}

/// Parameters of a model, and those of adapters of this rank beside each matrix of its layers.
fn parameters(model: &Path, rank: u64) -> (u64, u64) {
    let shapes = shapes(model);
    let all = shapes.iter().map(|(_, shape)| shape.iter().product::<u64>()).sum();
    let matrices = shapes.iter().filter(|(name, shape)| name.contains(".layers.") && shape.len() == 2);
    (all, matrices.map(|(_, shape)| rank * (shape[0] + shape[1])).sum())
}

/// All that is held but the libraries' own.
fn held(plan: &Value) -> u64 {
    sum(plan, "held") - part(plan, "held", "libraries")
}

/// Weights, gradients and both moments are four numbers of f32 for each parameter, and products of bf16 take the weights
/// once more in 16 bits; a reference is a second model without gradients.
#[test]
fn what_is_held_is_so_many_bytes_for_each_parameter() {
    let world = world("float32");
    let (all, _) = parameters(&world.path().join("m"), 0);
    for (precision, rounded) in [("f32", 0), ("bf16", 2)] {
        let flags = |beta| ["--device", "cuda", "--precision", precision, "--beta", beta];
        let without = plan(&world, &flags("0"));
        assert_eq!(without["parameters"], all);
        assert_eq!(held(&without), (16 + rounded) * all, "{}", without["device"]);
        assert_eq!(part(&without, "held", "gradients"), 4 * all);
        assert_eq!(part(&without, "held", "optimizer moments"), 8 * all);
        let with = plan(&world, &flags("0.1"));
        assert_eq!(held(&with), (16 + rounded + 4 + rounded) * all, "{}", with["device"]);
    }
}

/// Adapters alone have gradients and moments; weights have the bytes of their file, rounded beside where it has f32.
#[test]
fn adapters_are_held_beside_weights_without_gradients() {
    for (dtype, bytes) in [("float32", 4 + 2), ("bfloat16", 2)] {
        let world = world(dtype);
        let (all, adapters) = parameters(&world.path().join("m"), 4);
        let plan = plan(&world, &["--device", "cuda", "--beta", "0", "--use-peft", "true", "--lora-r", "4"]);
        assert_eq!(plan["trained"], adapters);
        assert_eq!(held(&plan), bytes * all + 16 * adapters, "{dtype}: {}", plan["device"]);
    }
}

/// A page has the keys and values of 64 tokens: 2 layers, 2 heads of 8 numbers.
#[test]
fn keys_and_values_are_two_pages_for_each_completion_and_one_for_each_prompt() {
    let world = world("float32");
    let numbers = (8 * 2 + 2) * 64 * 2 * 2 * 2 * 8;
    for (precision, bytes) in [("f32", 4), ("bf16", 2)] {
        let plan = plan(&world, &["--device", "cuda", "--precision", precision]);
        assert_eq!(part(&plan, "sampling", "key-value cache"), numbers * bytes, "{}", plan["device"]);
    }
}

/// What `gft` prints of a number of bytes, in steps of a thousand.
fn printed(bytes: u64) -> String {
    let power = (bytes as f64).log10().floor() as u32 / 3;
    format!("{:.1} {}", bytes as f64 / 1000f64.powi(power as i32), ["B", "kB", "MB", "GB"][power as usize])
}

/// The peak that a plan's parts make: an update and sampling take turns.
fn peak(plan: &Value) -> u64 {
    sum(plan, "held") + sum(plan, "update").max(sum(plan, "sampling"))
}

#[test]
fn without_a_driver_the_plan_is_of_a_card_that_is_not_there() {
    if has_driver() {
        return;
    }
    let world = world("float32");
    for (device, name) in [("cuda", "cuda:0"), ("cuda:3", "cuda:3")] {
        let found = plan(&world, &["--device", device]);
        assert_eq!((&found["device"]["device"], &found["device"]["room"]), (&json!(name), &Value::Null));
        let text = gft(world.path(), &args(&["--device", device]), "").ok().stdout;
        let line =
            format!("Memory of {name} (predicted peak)  {}, which is not there", printed(peak(&found)));
        assert!(text.lines().any(|found| found == line), "`{line}` is not in: {text}");
    }
    // No card is taken where none is asked for.
    for device in ["auto", "cpu"] {
        assert_eq!(plan(&world, &["--device", device]).get("device"), None, "{device}");
    }
    assert!(!world.path().join("run").exists(), "a plan writes nothing");
}

/// A plan says how much a card has, and is no failure where that is too little: training is what refuses.
#[test]
fn with_a_driver_the_cards_memory_stands_beside_the_prediction() {
    if has_driver() {
        return;
    }
    let world = world("float32");
    let without = plan(&world, &["--device", "cuda"]);
    for memory in [8 << 30, 1 << 20] {
        let driver = Driver { memory, ..Driver::default() }.installed();
        let run = |flags: &[&str]| beside(&driver, world.path(), &args(flags)).ok().stdout;
        let found: Value = serde_json::from_str(&run(&["--device", "cuda", "--json"])).unwrap();
        assert_eq!(found["device"]["device"], "cuda:0 (Card)");
        assert_eq!(found["device"]["room"], json!([memory, memory]));
        assert_eq!(peak(&found), peak(&without), "a prediction depends on the card");
        let (peak, memory_printed) = (peak(&found), printed(memory));
        assert_eq!(peak > memory, memory == 1 << 20, "{peak}");
        let line = format!("Memory of cuda:0 (Card) (predicted peak)  {} of {memory_printed}", printed(peak));
        for device in ["cuda", "auto"] {
            let text = run(&["--device", device]);
            assert!(text.lines().any(|found| found == line), "`{line}` is not in: {text}");
            assert_eq!(text.contains("gft train refuses such a run"), memory == 1 << 20, "{text}");
        }
    }
}
