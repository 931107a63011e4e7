//! `gft diagnose` on a small model: the numbers hang together, and the page says them.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod world;

use serde_json::Value;
use world::{gft, gft_ok, gsm8k, gsm8k_model, said};

#[test]
fn a_small_model_on_groups() {
    let dir = tempfile::tempdir().unwrap();
    // A comma in a name is no list.
    let data = dir.path().join("groups,10.jsonl");
    std::fs::copy(gsm8k(), &data).unwrap();
    let model = gsm8k_model(dir.path());
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let mut args =
        vec!["diagnose", "--model", model, "--data", data, "--gradient-tokens", "12", "--prompts", "3"];
    args.extend(["-n", "2", "--max-new-tokens", "6", "--sft-steps", "2", "--sft-batch", "2", "--tau", "0.5"]);
    args.extend(["--learning-rate", "1e-3"]);
    let page = gft_ok(&args);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    for text in [
        "1. Which tokens pull hardest",
        "2. How often the reward is met",
        "3. One path crowds out the others",
    ] {
        assert!(page.contains(text), "{page}");
    }
    args.push("--json");
    let found: Value = serde_json::from_slice(&gft_ok(&args).stdout).unwrap();
    assert_eq!(found["demonstrations"], 10);
    let weights = &found["weights"];
    let sum = |list: &Value, name: &str| -> f64 {
        list.as_array().unwrap().iter().map(|entry| entry[name].as_f64().unwrap()).sum()
    };
    for name in ["share", "weight_share", "rectified_weight_share"] {
        assert!((sum(&weights["bins"], name) - 1.0).abs() < 1e-9, "{name}");
    }
    assert_eq!(sum(&weights["bins"], "tokens"), weights["tokens"].as_f64().unwrap());
    // Rectified weights are at most 1 / tau.
    assert!(weights["rectified_weight"]["max"].as_f64().unwrap() <= 2.0);
    assert!(weights["weight"]["max"].as_f64().unwrap() > 100.0, "an untrained model expects nothing");
    assert_eq!(found["gradients"]["measured"], 12);
    assert!((sum(&found["gradients"]["strata"], "norm_share") - 1.0).abs() < 1e-9);
    let sparsity = &found["sparsity"];
    assert_eq!((sparsity["prompts"].as_u64(), sparsity["same_text"].as_u64()), (Some(3), Some(0)));
    // Own samples say nothing right, the expert does: every group has a contrast once it is in.
    assert_eq!((&sparsity["groups"][0], &sparsity["with_demonstrations"]), (&3.into(), &3.into()));
    let paths = &found["paths"];
    assert_eq!(&paths["before"], sparsity);
    assert_ne!(paths["sft"]["entropy"], paths["before"]["entropy"]);
    assert_ne!(paths["sft"]["entropy"], paths["rectified"]["entropy"]);
}

#[test]
fn what_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = gsm8k_model(dir.path());
    let data = dir.path().join("prompts.jsonl");
    std::fs::write(&data, "{\"prompt\": \"1+1?\"}\n").unwrap();
    let refused = |more: &[&str], code: i32, says: &str| {
        let mut args = vec!["diagnose", "--model", model.to_str().unwrap()];
        args.extend(more);
        let output = gft(&args);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    };
    refused(&["--data", data.to_str().unwrap()], 3, "none of the 1 rows has a demonstration");
    refused(&["--data", data.to_str().unwrap(), "--tau", "2"], 2, "between 0 and 1");
    refused(&[], 2, "--data");
}
