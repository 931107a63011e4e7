//! Norms of single tokens' gradients against PyTorch (tests/golden/eval/make_gradients.py), and shares of a sample of
//! tokens against those of all.

#![allow(clippy::unwrap_used)] // test helpers stand outside of #[test] functions

use std::path::PathBuf;

use gft_data::{Prompt, Row};
use gft_diagnose::{Example, gradient_norms, gradient_shares};
use gft_model::policy::Want;
use gft_model::{Batch, Cpu, ModelFolder, Policy};
use serde_json::{Map, Value};

fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path)
}

fn model(name: &str) -> Policy<Cpu> {
    ModelFolder::open(golden(&format!("model/{name}/model"))).unwrap().load(Cpu::new()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn example(prompt: Vec<u32>, tokens: Vec<u32>) -> Example {
    let row = Row {
        id: "1".into(),
        prompt: Prompt::Text(String::new()),
        solution: None,
        gold: None,
        expert: Vec::new(),
        teachers: Vec::new(),
        columns: Map::new(),
        named: Map::new(),
    };
    Example { row, prompt, supervised: vec![true; tokens.len()], tokens }
}

#[test]
fn norms_are_autograds() {
    let text = std::fs::read_to_string(golden("eval/gradients.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let examples = [example(ids(&golden["prompt"]), ids(&golden["tokens"]))];
    let places: Vec<(usize, usize)> = (0..examples[0].tokens.len()).map(|at| (0, at)).collect();
    for name in ["qwen2", "llama3"] {
        let found = gradient_norms(&model(name), &examples, &places, &mut |_| false).unwrap();
        for (norm, expected) in found.iter().zip(golden["norms"][name].as_array().unwrap()) {
            let expected = expected.as_f64().unwrap();
            // f32 against f64: the engine's gradients agree with PyTorch's to 1e-4 (crates/model/tests/parity.rs).
            assert!((norm - expected).abs() < 1e-4 * expected, "{name}: {norm} against {expected}");
        }
    }
}

#[test]
fn a_sample_of_tokens_estimates_all() {
    let policy = model("qwen2");
    let examples: Vec<Example> = (0..12u32)
        .map(|i| example(vec![i + 1, 2 * i + 3, 5], (0..16).map(|t| (7 * i + 11 * t + t * t) % 72).collect()))
        .collect();
    let mut logprobs = Vec::new();
    for example in &examples {
        let mut batch = Batch::new();
        batch.push_group(&example.prompt, &[&example.tokens]).unwrap();
        let stats = policy.token_stats(&batch, &Want::default()).unwrap();
        logprobs.push(stats.logprobs.iter().map(|x| Some(f64::from(*x))).collect::<Vec<_>>());
    }
    let shares = |budget: usize, seed: u64| {
        gradient_shares(&policy, &examples, &logprobs, 0.7, budget, seed, &mut |_, _| false).unwrap()
    };
    let all = shares(usize::MAX, 0);
    assert_eq!((all.measured, all.tokens), (192, 192));
    assert!(all.strata.iter().all(|stratum| stratum.standard_error == 0.0));
    assert!((all.strata.iter().map(|stratum| stratum.norm_share).sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((all.strata.iter().map(|stratum| stratum.rectified_share).sum::<f64>() - 1.0).abs() < 1e-12);
    for seed in 0..3 {
        let some = shares(40, seed);
        assert_eq!(some.measured, 40);
        for (a, b) in some.strata.iter().zip(&all.strata) {
            assert_eq!((a.low, a.tokens), (b.low, b.tokens));
            // Four standard errors; a stratum measured whole has none of its own, but its share has the others'.
            assert!((a.norm_share - b.norm_share).abs() <= 4.0 * a.standard_error + 1e-9, "{a:?} {b:?}");
        }
    }
}

#[test]
fn it_can_be_stopped() {
    let examples = [example(vec![1], vec![2, 3])];
    let stopped = gradient_norms(&model("qwen2"), &examples, &[(0, 0), (0, 1)], &mut |_| true);
    assert!(matches!(stopped, Err(gft_diagnose::Error::Interrupted)));
}
