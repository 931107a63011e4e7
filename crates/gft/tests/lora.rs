//! LoRA through the real binary: runs that leave adapters, go on bit for bit, and merge into what they compute.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use world::{gft, gft_ok, gsm8k, said, steps};

/// A model whose weights have 16 bits.
fn base(root: &Path, dtype: gft_model::Dtype) -> PathBuf {
    let dir = root.join("base");
    let size = world::model::Size { dtype, ..world::model::TINY };
    world::model::make_model(&dir, &world::model::texts(), size, 3);
    dir
}

fn args(model: &Path, run: &Path, method: &str, more: &[&str]) -> Vec<String> {
    let (model, run) = (model.to_str().unwrap(), run.to_str().unwrap());
    let data = gsm8k().display().to_string();
    let fixed = [
        "train",
        "--model",
        model,
        "--data",
        &data,
        "--output-dir",
        run,
        "--method",
        method,
        "--use-peft",
        "true",
        "--lora-r",
        "4",
        "--lora-alpha",
        "8",
        "--lr",
        "3e-3",
        "--train-batch-size",
        "2",
        "--truncation-mode",
        "keep_start",
        "--max-completion-length",
        "12",
    ];
    fixed.iter().chain(more).map(ToString::to_string).collect()
}

fn ok(args: &[String]) -> std::process::Output {
    gft_ok(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn adapter(run: &Path) -> Vec<u8> {
    fs::read(run.join("adapter_model.safetensors")).unwrap()
}

/// Log-probabilities of some tokens under a folder.
fn logprobs(root: &Path, folder: &Path) -> Vec<f64> {
    let rows = root.join("rows.jsonl");
    let ids: Vec<u32> = (0..40).map(|i| (i * 37) % 500).collect();
    fs::write(&rows, serde_json::json!({ "input_ids": ids }).to_string()).unwrap();
    let output = gft_ok(&["logprobs", "--model", folder.to_str().unwrap(), rows.to_str().unwrap()]);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    line["logprobs"].as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// T1 with adapters, dropout included, on a base of 16 bits.
#[test]
fn resume_is_bit_exact() {
    let root = tempfile::tempdir().unwrap();
    let model = base(root.path(), gft_model::Dtype::Bf16);
    let weights = fs::read(model.join("model.safetensors")).unwrap();
    for (method, dropout) in [("sft", "0.1"), ("gft", "0"), ("grpo", "0.1")] {
        let run = |name: &str| root.path().join(format!("{method}-{name}"));
        let common = ["--max-steps", "20", "--lora-dropout", dropout];
        let format = ["--reward-funcs", "verifier,soft_overlong", "--overlong-buffer", "12"];
        let more = if method == "sft" { common.to_vec() } else { [&common[..], &format].concat() };
        ok(&args(&model, &run("straight"), method, &more));
        ok(&args(&model, &run("stopped"), method, &[&more[..], &["--stop-after-steps", "10"]].concat()));
        ok(&args(&model, &run("stopped"), method, &[&more[..], &["--resume"]].concat()));
        let numbers = |run: PathBuf| -> Vec<(String, String)> {
            steps(&run).iter().map(|line| (line["loss"].to_string(), line["grad_norm"].to_string())).collect()
        };
        assert_eq!(numbers(run("straight")), numbers(run("stopped")), "{method}");
        assert_eq!(numbers(run("straight")).len(), 20);
        assert!(adapter(&run("straight")) == adapter(&run("stopped")), "{method}: adapters differ");
        let moved =
            largest_difference(&logprobs(root.path(), &model), &logprobs(root.path(), &run("straight")));
        assert!(moved > 1e-4, "{method}: the adapter does nothing: {moved:e}");
    }
    assert!(weights == fs::read(model.join("model.safetensors")).unwrap());
}

#[test]
fn a_run_leaves_an_adapter_that_commands_take_and_merge() {
    let root = tempfile::tempdir().unwrap();
    let model = base(root.path(), gft_model::Dtype::F32);
    let run = root.path().join("run");
    let output =
        ok(&args(&model, &run, "sft", &["--max-steps", "5", "--lora-target-modules", "q_proj,down_proj"]));
    assert!(said(&output).contains("adapters and moments f32"), "{}", said(&output));
    for folder in [run.clone(), run.join("checkpoint-5")] {
        for file in ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"] {
            assert!(folder.join(file).is_file(), "{} has no {file}", folder.display());
        }
        assert!(!folder.join("model.safetensors").exists() && !folder.join("config.json").exists());
    }
    let config: Value = serde_json::from_slice(&fs::read(run.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(
        (&config["r"], &config["lora_alpha"], &config["peft_type"]),
        (&4.into(), &8.into(), &"LORA".into())
    );
    assert_eq!(config["target_modules"], serde_json::json!(["q_proj", "down_proj"]));
    assert_eq!(config["base_model_name_or_path"], model.to_str().unwrap());
    let shown = run.to_str().unwrap();
    let output =
        gft_ok(&["generate", "--model", shown, "--prompt", "1+1=", "--max-new-tokens", "3", "--json"]);
    assert!(!output.stdout.is_empty());

    let merged = root.path().join("merged");
    let output = gft_ok(&["merge", shown, "-o", merged.to_str().unwrap(), "--json"]);
    let compared: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(compared["merged_max"].as_f64().unwrap() <= compared["adapter_mean"].as_f64().unwrap() / 100.0);
    let (adapted, whole) = (logprobs(root.path(), &run), logprobs(root.path(), &merged));
    // The bar of a merged folder: 1e-5 in f32.
    assert!(largest_difference(&adapted, &whole) < 1e-5);
    assert!(largest_difference(&logprobs(root.path(), &model), &whole) > 1e-3, "nothing was learned");
    assert!(!merged.join("adapter_config.json").exists() && merged.join("tokenizer.json").is_file());
    let again = gft(&["merge", shown, "-o", merged.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("--force"), "{}", said(&again));
    // Neither the base nor the adapter is written over, and what else is in a folder stays.
    for own in [shown, model.to_str().unwrap()] {
        let output = gft(&["merge", shown, "-o", own, "--force"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("would be lost"), "{}", said(&output));
    }
    fs::write(merged.join("notes.txt"), "mine").unwrap();
    fs::copy(run.join("adapter_config.json"), merged.join("adapter_config.json")).unwrap();
    gft_ok(&["merge", shown, "-o", merged.to_str().unwrap(), "--force"]);
    assert!(merged.join("notes.txt").is_file() && !merged.join("adapter_config.json").exists());
    let whole = gft(&["merge", merged.to_str().unwrap(), "-o", "nowhere"]);
    assert_eq!(whole.status.code(), Some(3));
    assert!(said(&whole).contains("nothing to merge"), "{}", said(&whole));

    // The adapter is continued, and cannot be asked to be another one.
    let next = root.path().join("next");
    let data = gsm8k().display().to_string();
    let more =
        ["train", "--model", shown, "--data", &data, "--method", "sft", "--max-steps", "1", "--output-dir"];
    gft_ok(&[&more[..], &[next.to_str().unwrap()]].concat());
    assert_ne!(adapter(&run), adapter(&next));
    let other = root.path().join("other");
    let output =
        gft(&[&more[..], &[other.to_str().unwrap(), "--use-peft", "true", "--lora-r", "2"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("is an adapter already, of rank 4"), "{}", said(&output));
}

/// What an adapter does in steps below the spacing of bfloat16 cannot be merged into bfloat16.
#[test]
fn a_merge_that_would_round_the_adapter_away_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let model = base(root.path(), gft_model::Dtype::Bf16);
    let run = root.path().join("run");
    ok(&args(&model, &run, "sft", &["--max-steps", "1", "--learning-rate", "1e-7"]));
    let merged = root.path().join("merged");
    let (shown, out) = (run.to_str().unwrap(), merged.to_str().unwrap());
    let output = gft(&["merge", shown, "-o", out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("rounding to bfloat16 would undo the adapter"), "{}", said(&output));
    let left: Vec<String> = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("merged"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    gft_ok(&["merge", shown, "-o", out, "--dtype", "float32"]);
    assert!(merged.join("model.safetensors").is_file());
}

#[test]
fn a_module_that_is_not_there_and_memory_in_the_plan() {
    let root = tempfile::tempdir().unwrap();
    let model = base(root.path(), gft_model::Dtype::Bf16);
    let run = root.path().join("run");
    let wrong = args(&model, &run, "sft", &["--lora-target-modules", "q_porj"]);
    let output = gft(&wrong.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("`q_porj` names no linear layer"), "{}", said(&output));
    let mut plan = args(&model, &run, "sft", &["--lora-target-modules", ".*layers\\.1\\..*_proj"]);
    plan[0] = "plan".into();
    plan.push("--json".into());
    let planned: Value = serde_json::from_slice(&ok(&plan).stdout).unwrap();
    // r = 4 on the seven modules of one layer: d = 64, ffn = 160, 4 heads and 2 of keys and values of width 16.
    let sizes = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 160), (64, 160), (160, 64)];
    let trained: u64 = sizes.iter().map(|(input, output)| 4 * (input + output)).sum();
    assert_eq!(planned["trained"], trained);
    let part = |name: &str| {
        let parts = planned["memory"].as_array().unwrap();
        parts.iter().find(|part| part[0] == name).unwrap_or_else(|| panic!("{name}"))[1].as_u64().unwrap()
    };
    assert_eq!(part("optimizer moments"), 8 * trained);
    assert_eq!(part("weights"), 2 * planned["parameters"].as_u64().unwrap());
}
