//! T25: every recipe of the tree runs three steps, and its plan can be printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use std::path::{Path, PathBuf};

use world::{gft_ok, gsm8k, gsm8k_model, steps};

fn recipes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    found.sort();
    found
}

#[test]
fn every_recipe_runs_three_steps() {
    let root = tempfile::tempdir().unwrap();
    let model = gsm8k_model(root.path()).display().to_string();
    let data = gsm8k().display().to_string();
    let recipes = recipes();
    assert!(recipes.len() >= 10, "{recipes:?}");
    for recipe in recipes {
        let name = recipe.file_stem().unwrap().to_string_lossy().into_owned();
        let run = root.path().join(&name);
        let (recipe, out) = (recipe.display().to_string(), run.display().to_string());
        let flags = [
            "--model",
            &model,
            "--data",
            &data,
            "--output-dir",
            &out,
            "--max-steps",
            "3",
            "--max-completion-length",
            "16",
            "--truncation-mode",
            "keep_start",
            "--overlong-buffer",
            "8",
        ];
        let plan = gft_ok(&[["plan", &recipe].as_slice(), &flags].concat());
        let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
        let stages = if name == "staged" { 3 } else { 1 };
        for part in ["3 steps", "Memory (predicted peak)", "Disk", "flag", "file"] {
            assert!(plan.contains(part), "{name}: {part}\n{plan}");
        }
        gft_ok(&[["train", &recipe].as_slice(), &flags].concat());
        let metrics = steps(&run);
        assert_eq!(metrics.len(), 3 * stages, "{name}");
        for line in &metrics {
            assert!(line["loss"].is_number() && line["grad_norm"].is_number(), "{name}: {line}");
            assert_eq!(line["update/refused"], 0, "{name}: {line}");
        }
        let weights = if name == "lora" { "adapter_model.safetensors" } else { "model.safetensors" };
        assert!(run.join(weights).is_file(), "{name}");
        if name == "python-reward" {
            for metric in ["rewards/states_gold/mean", "rewards/brevity/mean", "rewards/brevity/tokens"] {
                assert!(metrics[2][metric].is_number(), "{metric}: {}", metrics[2]);
            }
        }
        if stages == 3 {
            assert_eq!(metrics[8]["stage"], 3);
            assert!(metrics[8]["kl"].is_number(), "{}", metrics[8]);
            assert!(run.join("stage-2/model.safetensors").is_file());
        }
    }
}
