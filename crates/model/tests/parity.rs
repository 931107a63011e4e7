//! T9: every family against transformers, on fixtures that transformers wrote and computed in f64.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod golden;

use gft_model::policy::{Keep, Seeds, Want};
use gft_model::{Batch, Cpu, ModelFolder, Policy};
use golden::{CASES, Case, close, relative_l2};

fn batch_of(case: &Case) -> Batch {
    let mut batch = Batch::new();
    for ids in &case.input_ids {
        batch.push_sequence(ids).unwrap();
    }
    batch
}

/// Loss is the mean of -log p over all targets; returns it with the statistics' gradient.
fn mean_loss(logprobs: &[f32]) -> (f64, Seeds) {
    let n = logprobs.len() as f64;
    let loss = -logprobs.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    (loss, Seeds { logprobs: vec![(-1.0 / n) as f32; logprobs.len()], ..Seeds::default() })
}

#[test]
fn token_log_probabilities_are_those_of_transformers() {
    for name in CASES {
        let case = Case::load(name);
        let stats = case.policy().token_stats(&batch_of(&case), &Want::default()).unwrap();
        // DESIGN.md T9: 1e-5 on log-probabilities of f32 against f64.
        close(&stats.logprobs, &case.logprobs.concat(), 1e-5, name);
    }
}

#[test]
fn every_gradient_is_that_of_pytorch() {
    for name in CASES {
        let case = Case::load(name);
        let policy = case.policy();
        let batch = batch_of(&case);
        for keep in [Keep::Activations, Keep::LayerInputs] {
            let forward = policy.forward(&batch, keep).unwrap();
            let mut grads = policy.gradients();
            let mut loss = 0.0;
            policy
                .backward_with(&batch, forward, &Want::default(), &mut grads, |stats, _| {
                    let (value, seeds) = mean_loss(&stats.logprobs);
                    loss = value;
                    seeds
                })
                .unwrap();
            assert!((loss - case.loss).abs() < 1e-5, "{name}: loss {loss}, expected {}", case.loss);
            for parameter in &policy.layout().parameters {
                let ours = policy.read_gradients(&grads, parameter.range.clone());
                let expected = case.floats(&format!("grad.{}", parameter.name));
                let error = relative_l2(&ours, &expected);
                // DESIGN.md T9: relative L2 of 1e-4 for every parameter.
                assert!(error < 1e-4, "{name} {keep:?}: {} is off by {error:e}", parameter.name);
            }
        }
    }
}

#[test]
fn ten_adamw_steps_follow_pytorch() {
    use gft_model::optimizer::{AdamW, AdamWConfig};
    for name in CASES {
        let case = Case::load(name);
        let hyper = &case.json["adamw"];
        let number = |key: &str| hyper[key].as_f64().unwrap();
        let config = AdamWConfig {
            beta1: hyper["betas"][0].as_f64().unwrap(),
            beta2: hyper["betas"][1].as_f64().unwrap(),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
            decay_all: true,
        };
        let mut policy = case.policy();
        let batch = batch_of(&case);
        let mut optimizer = AdamW::new(&policy, config);
        let mut grads = policy.gradients();
        let mut losses = Vec::new();
        for _ in 0..11 {
            let forward = policy.forward(&batch, Keep::Activations).unwrap();
            let stats = policy.stats(&batch, &forward, &Want::default()).unwrap();
            let (loss, seeds) = mean_loss(&stats.logprobs);
            losses.push(loss as f32);
            grads.reset();
            policy.backward(&batch, forward, &Want::default(), &seeds, &mut grads).unwrap();
            optimizer.update(&mut policy, &grads, number("lr"), 1.0).unwrap();
        }
        // DESIGN.md T9: ten AdamW losses to 1e-5 (relative here; they are of order 1 to 10).
        let scale = case.adamw_losses.iter().fold(1.0f32, |a, b| a.max(*b));
        close(&losses, &case.adamw_losses, 1e-5 * scale, name);
    }
}

#[test]
fn configurations_of_transformers_4_and_5_are_the_same_model() {
    for name in ["llama3", "qwen2", "mistral", "rope_linear", "rope_yarn"] {
        let case = Case::load(name);
        let old =
            std::fs::read_to_string(golden::root().join(name).join("config.transformers4.json")).unwrap();
        let old = ModelFolder::from_config("config", old).unwrap();
        assert_eq!(old.architecture(), case.folder.architecture(), "{name}");
    }
}

#[test]
fn a_written_folder_has_the_source_s_other_files_and_not_the_traces_of_its_run() {
    use gft_model::folder::SaveOptions;
    let case = Case::load("qwen2");
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    case.folder.save(&case.policy(), source.path(), &SaveOptions::default()).unwrap();
    let kept = ["tokenizer.json", "LICENSE", "modeling_custom.py"];
    let left =
        ["metrics.jsonl", "run.lock", "trainer_state.json", "optimizer.pt", "events.out.tfevents.1.host.2.0"];
    for name in kept.iter().chain(&left) {
        std::fs::write(source.path().join(name), name).unwrap();
    }
    let folder = ModelFolder::open(source.path()).unwrap();
    folder.save(&folder.load(Cpu::new()).unwrap(), target.path(), &SaveOptions::default()).unwrap();
    for name in kept {
        assert_eq!(std::fs::read_to_string(target.path().join(name)).unwrap(), name);
    }
    for name in left {
        assert!(!target.path().join(name).exists(), "{name} was copied");
    }
}

#[test]
fn a_written_folder_is_read_back_bit_for_bit() {
    use gft_model::folder::SaveOptions;
    for name in ["qwen2_untied", "llama_bf16", "qwen2_f16", "llama_sharded"] {
        let case = Case::load(name);
        let policy = case.policy();
        let dir = tempfile::tempdir().unwrap();
        let options = SaveOptions {
            shard_bytes: if name == "llama_sharded" { 9000 } else { 1 << 30 },
            ..Default::default()
        };
        case.folder.save(&policy, dir.path(), &options).unwrap();
        let again = ModelFolder::open(dir.path()).unwrap();
        assert_eq!(again.weights_dtype().unwrap(), case.folder.weights_dtype().unwrap());
        let again: Policy<Cpu> = again.load(Cpu::new()).unwrap();
        assert!(again.params().as_slice() == policy.params().as_slice(), "{name}: weights changed");
        for file in ["config.json", "generation_config.json"] {
            let read = |dir: &std::path::Path| std::fs::read(dir.join(file)).unwrap();
            assert_eq!(read(dir.path()), read(case.folder.dir()), "{name}: {file}");
        }
        assert_eq!(dir.path().join("model.safetensors.index.json").exists(), name == "llama_sharded");
    }
}
