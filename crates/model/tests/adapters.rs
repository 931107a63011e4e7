//! LoRA against PEFT, on fixtures that PEFT wrote and computed in f64 (`tests/golden/model/make_adapter.py`).
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod golden;

use std::path::{Path, PathBuf};

use gft_model::folder::SaveOptions;
use gft_model::generate::{Generator, Options, Request, Sampling};
use gft_model::optimizer::{AdamW, AdamWConfig};
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::random::Stream;
use gft_model::{Adapter, Batch, Cpu, LoraConfig, ModelFolder, Policy};
use golden::{Tensors, close, relative_l2, root};

const CASES: [&str; 4] = ["all_linear", "two_modules", "pattern", "one_layer"];

struct Case {
    dir: PathBuf,
    folder: ModelFolder,
    ids: Vec<Vec<u32>>,
    expected: Tensors,
}

impl Case {
    fn load(name: &str) -> Self {
        let dir = root().join("adapter").join(name);
        let expected = Tensors::load(dir.join("expected.safetensors"));
        let folder = ModelFolder::open(dir.join("adapter")).unwrap();
        let ids = (0..2).map(|i| expected.ids(&format!("input_ids.{i}"))).collect();
        Case { dir, folder, ids, expected }
    }

    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for ids in &self.ids {
            batch.push_sequence(ids).unwrap();
        }
        batch
    }

    fn policy(&self) -> Policy<Cpu> {
        self.folder.load(Cpu::new()).unwrap()
    }

    /// Of both sequences, one after another.
    fn values(&self, name: &str) -> Vec<f32> {
        (0..2).flat_map(|i| self.expected.floats(&format!("{name}.{i}"))).collect()
    }
}

fn logprobs(policy: &Policy<Cpu>, batch: &Batch) -> Vec<f32> {
    policy.token_stats(batch, &Want::default()).unwrap().logprobs
}

fn mean_seeds(targets: usize) -> Seeds {
    Seeds { logprobs: vec![-1.0 / targets as f32; targets], ..Seeds::default() }
}

fn gradient(policy: &Policy<Cpu>, batch: &Batch, keep: Keep, dropout: Option<Stream>) -> Vec<f32> {
    let mut grads = policy.gradients();
    let forward = policy.forward_dropping(batch, keep, dropout).unwrap();
    let seeds = mean_seeds(batch.targets().len());
    policy.backward(batch, forward, &Want::default(), &seeds, &mut grads).unwrap();
    policy.read_gradients(&grads, 0..policy.params().as_slice().len())
}

#[test]
fn log_probabilities_are_those_of_peft_with_the_adapter_on_off_and_merged() {
    for name in CASES {
        let case = Case::load(name);
        let (batch, policy) = (case.batch(), case.policy());
        // DESIGN.md T9: 1e-5 on log-probabilities of f32 against f64.
        close(&logprobs(&policy, &batch), &case.values("logprobs"), 1e-5, name);
        close(&logprobs(&policy.without_adapter(), &batch), &case.values("base_logprobs"), 1e-5, name);
        let wide = case.folder.load_wide(Cpu::new()).unwrap();
        close(&logprobs(&wide, &batch), &case.values("logprobs"), 1e-5, name);
        let merged = wide.merge_adapter().unwrap();
        assert!(merged.adapter().is_none());
        close(&logprobs(&merged, &batch), &case.values("merged_logprobs"), 1e-5, name);
    }
}

#[test]
fn every_adapter_s_gradient_is_that_of_peft() {
    for name in CASES {
        let case = Case::load(name);
        let (batch, policy) = (case.batch(), case.policy());
        for keep in [Keep::Activations, Keep::LayerInputs] {
            let ours = gradient(&policy, &batch, keep, None);
            assert!(policy.parameters().len() >= 6);
            for parameter in policy.parameters() {
                let expected = case.expected.floats(&format!("grad.{}", parameter.name));
                let error = relative_l2(&ours[parameter.range.clone()], &expected);
                // DESIGN.md T9: relative L2 of 1e-4 for every parameter.
                assert!(error < 1e-4, "{name} {keep:?}: {} is off by {error:e}", parameter.name);
            }
        }
    }
}

#[test]
fn ten_adamw_steps_follow_peft_and_leave_the_base_alone() {
    for name in CASES {
        let case = Case::load(name);
        let (batch, mut policy) = (case.batch(), case.policy());
        let base = logprobs(&policy.without_adapter(), &batch);
        // The hyper-parameters of make.py.
        let config = AdamWConfig { weight_decay: 0.01, decay_all: true, ..AdamWConfig::default() };
        let mut optimizer = AdamW::new(&policy, config);
        let mut grads = policy.gradients();
        let mut losses = Vec::new();
        for _ in 0..11 {
            let forward = policy.forward(&batch, Keep::Activations).unwrap();
            let stats = policy.stats(&batch, &forward, &Want::default()).unwrap();
            losses.push(-stats.logprobs.iter().sum::<f32>() / stats.logprobs.len() as f32);
            grads.reset();
            let seeds = mean_seeds(stats.logprobs.len());
            policy.backward(&batch, forward, &Want::default(), &seeds, &mut grads).unwrap();
            optimizer.update(&mut policy, &grads, 3e-3, 1.0).unwrap();
        }
        let expected = case.expected.floats("adamw.losses");
        // DESIGN.md T9: ten AdamW losses to 1e-5 (relative here; they are below 6).
        close(&losses, &expected, 1e-5 * expected[0], name);
        assert!(expected[10] < expected[0] - 0.05, "{name}: the losses hardly move: {expected:?}");
        assert_eq!(base, logprobs(&policy.without_adapter(), &batch), "{name}: the base changed");
    }
}

#[test]
fn a_base_of_16_bits_computes_what_it_computes_widened() {
    for name in ["pattern", "one_layer"] {
        let case = Case::load(name);
        let batch = case.batch();
        let frozen = logprobs(&case.policy(), &batch);
        let wide = logprobs(&case.folder.load_wide(Cpu::new()).unwrap(), &batch);
        // The same products of the same numbers; `gemm` may add the terms of another width in another order.
        close(&frozen, &wide, 2e-6, name);
    }
}

#[test]
fn a_written_adapter_has_peft_s_names_and_reads_back_bit_for_bit() {
    for name in CASES {
        let case = Case::load(name);
        let policy = case.policy();
        let target = tempfile::tempdir().unwrap();
        case.folder.save(&policy, target.path(), &SaveOptions::default()).unwrap();
        let tensors = |dir: &Path| {
            let bytes = std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let mut all: Vec<_> = file
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
                .collect();
            all.sort();
            all
        };
        assert_eq!(tensors(target.path()), tensors(&case.dir.join("adapter")), "{name}");
        assert!(
            !target.path().join("config.json").exists() && !target.path().join("model.safetensors").exists()
        );
        let again = ModelFolder::open(target.path()).unwrap();
        assert_eq!(again.lora(), case.folder.lora(), "{name}");
        let again: Policy<Cpu> = again.load(Cpu::new()).unwrap();
        assert!(again.params().as_slice() == policy.params().as_slice(), "{name}: values changed");
    }
}

#[test]
fn packing_trees_and_micro_batches_change_nothing() {
    let case = Case::load("all_linear");
    let policy = case.policy();
    let prompt = &case.ids[0][..6];
    let responses = [&case.ids[0][6..], &case.ids[1][..4], &case.ids[1][4..]];
    let seeds = |batch: &Batch| Seeds { logprobs: vec![-0.1; batch.targets().len()], ..Seeds::default() };
    let mut sums: Vec<Vec<f32>> = Vec::new();
    for way in ["tree", "packed", "one by one"] {
        let mut batches: Vec<Batch> = Vec::new();
        match way {
            "tree" => {
                let mut batch = Batch::new();
                batch.push_group(prompt, &responses).unwrap();
                batches.push(batch);
            }
            _ => {
                let mut packed = Batch::new();
                for response in responses {
                    if way == "one by one" {
                        packed = Batch::new();
                    }
                    packed.push_group(prompt, &[response]).unwrap();
                    if way == "one by one" {
                        batches.push(std::mem::take(&mut packed));
                    }
                }
                if way == "packed" {
                    batches.push(packed);
                }
            }
        }
        let mut grads = policy.gradients();
        for batch in &batches {
            let forward = policy.forward(batch, Keep::Activations).unwrap();
            policy.backward(batch, forward, &Want::default(), &seeds(batch), &mut grads).unwrap();
        }
        sums.push(policy.read_gradients(&grads, 0..policy.params().as_slice().len()));
    }
    for other in &sums[1..] {
        // DESIGN.md T7: gradients equal to 2e-5 relative in f32.
        assert!(relative_l2(other, &sums[0]) < 2e-5);
    }
}

#[test]
fn completions_are_drawn_with_the_adapter_and_alone_as_in_company() {
    for name in CASES {
        let case = Case::load(name);
        let policy = case.policy();
        let generator = Generator::new(&policy);
        let options = Options { sampling: Sampling::default(), max_new_tokens: 6, ..Options::default() };
        let request = |i: usize| Request {
            prompt: case.ids[i][..5].to_vec(),
            samples: 3,
            stream: Stream::new(7).child(i as u64),
        };
        let together = generator.run(&[request(0), request(1)], &options, &mut ()).unwrap();
        for i in 0..2 {
            let alone = generator.run(&[request(i)], &options, &mut ()).unwrap();
            for (a, b) in alone.iter().zip(together.iter().filter(|completion| completion.request == i)) {
                assert_eq!((&a.tokens, &a.logprobs), (&b.tokens, &b.logprobs), "{name}");
            }
        }
        for completion in &together {
            let mut batch = Batch::new();
            batch.push_group(&case.ids[completion.request][..5], &[&completion.tokens]).unwrap();
            // Two orders of the same additions: T8's 1e-6 times the five that a log-probability of 5 takes.
            close(&completion.logprobs, &logprobs(&policy, &batch), 1e-5, name);
        }
    }
}

#[test]
fn dropout_s_gradient_is_that_of_the_same_masks() {
    let case = Case::load("all_linear");
    let config = LoraConfig { dropout: 0.3, ..case.folder.lora().unwrap().clone() };
    let batch = case.batch();
    let stream = Stream::new(5);
    let loss_of = |values: &[f32]| {
        let policy = with_values(&case, &config, values);
        let forward = policy.forward_dropping(&batch, Keep::Nothing, Some(stream)).unwrap();
        let stats = policy.stats(&batch, &forward, &Want::default()).unwrap();
        -stats.logprobs.iter().map(|x| f64::from(*x)).sum::<f64>() / stats.logprobs.len() as f64
    };
    let values = case.policy().params().as_slice().to_vec();
    let policy = with_values(&case, &config, &values);
    let ours = gradient(&policy, &batch, Keep::Activations, Some(stream));
    assert_eq!(
        ours,
        gradient(&policy, &batch, Keep::LayerInputs, Some(stream)),
        "recomputed with other masks"
    );
    assert_ne!(ours, gradient(&policy, &batch, Keep::Activations, Some(Stream::new(6))));
    assert_ne!(ours, gradient(&policy, &batch, Keep::Activations, None));
    for parameter in policy.parameters() {
        // Along the gradient the loss changes by its squared norm times the step.
        let direction = &ours[parameter.range.clone()];
        let norm = direction.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let shifted = |sign: f64| {
            let mut values = values.clone();
            for (value, d) in values[parameter.range.clone()].iter_mut().zip(direction) {
                *value += (sign * 1e-2 * f64::from(*d) / norm) as f32;
            }
            loss_of(&values)
        };
        let slope = (shifted(1.0) - shifted(-1.0)) / 2e-2;
        // The loss is an f32 sum of order 5 (errors of 1e-6 over a step of 2e-2), and the step's curvature 1e-4.
        assert!((slope - norm).abs() < 5e-3 * norm + 2e-4, "{}: {slope} for {norm}", parameter.name);
    }
}

fn with_values(case: &Case, config: &LoraConfig, values: &[f32]) -> Policy<Cpu> {
    use gft_model::device::cpu::CpuBuffer;
    let arch = case.folder.architecture();
    let adapter = Adapter::new(arch, config.clone(), CpuBuffer::owned(values)).unwrap();
    let base = ModelFolder::open(case.folder.base_dir()).unwrap().load_frozen(Cpu::new()).unwrap();
    base.with_adapter(adapter).unwrap()
}

#[test]
fn a_fresh_adapter_changes_nothing_and_has_kaiming_s_bounds() {
    let case = Case::load("all_linear");
    let arch = case.folder.architecture();
    let base = ModelFolder::open(case.folder.base_dir()).unwrap();
    let adapter = |seed| Adapter::init(&Cpu::new(), arch, LoraConfig::default(), seed).unwrap();
    let fresh = base.load_frozen(Cpu::new()).unwrap().with_adapter(adapter(1)).unwrap();
    let batch = case.batch();
    assert_eq!(logprobs(&fresh, &batch), logprobs(&fresh.without_adapter(), &batch));
    assert_eq!(
        fresh.params().as_slice().len(),
        fresh.parameters().iter().map(|p| p.range.len()).sum::<usize>()
    );
    for parameter in fresh.parameters() {
        let values = fresh.read_params(parameter.range.clone());
        if parameter.name.ends_with("lora_B.weight") {
            assert!(values.iter().all(|x| *x == 0.0));
            continue;
        }
        let bound = 1.0 / (parameter.shape[1] as f32).sqrt();
        let largest = values.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        assert!(largest <= bound && largest > 0.95 * bound, "{}: {largest} of {bound}", parameter.name);
    }
    let other = base.load_frozen(Cpu::new()).unwrap().with_adapter(adapter(2)).unwrap();
    assert!(fresh.params().as_slice() != other.params().as_slice());
}

#[test]
fn adapters_that_would_be_read_wrongly_are_refused() {
    let source = root().join("adapter/all_linear/adapter");
    let text = std::fs::read_to_string(source.join("adapter_config.json")).unwrap();
    let refused = |edit: &dyn Fn(&mut serde_json::Value)| {
        let dir = tempfile::tempdir().unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["base_model_name_or_path"] = root().join("qwen2/model").to_str().unwrap().into();
        edit(&mut config);
        std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
        let weights = "adapter_model.safetensors";
        std::fs::copy(source.join(weights), dir.path().join(weights)).unwrap();
        let loaded = ModelFolder::open(dir.path()).and_then(|folder| folder.load(Cpu::new()));
        loaded.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(&|_| ()), "");
    let cases: [(&str, serde_json::Value, &str); 14] = [
        ("peft_type", "IA3".into(), "peft_type"),
        ("bias", "all".into(), "`bias` is \"all\""),
        ("modules_to_save", vec!["lm_head"].into(), "modules_to_save"),
        ("use_dora", true.into(), "use_dora"),
        ("fan_in_fan_out", true.into(), "fan_in_fan_out"),
        ("r", 0.into(), "rank 0"),
        ("r", "four".into(), "`r` has \"four\""),
        ("r", 8.into(), "shape [4, 32]"),
        ("lora_alpha", serde_json::Value::Null, "lora_alpha"),
        ("target_modules", vec!["q_proj"].into(), "no place for"),
        ("target_modules", vec!["q_porj"].into(), "`q_porj` names no linear layer"),
        ("target_modules", "(q_proj".into(), "cannot be read"),
        ("layers_to_transform", vec![0].into(), "no place for"),
        ("base_model_name_or_path", "Qwen/Qwen2.5-0.5B".into(), "nothing is downloaded"),
    ];
    for (key, value, says) in cases {
        let error = refused(&|config| config[key] = value.clone());
        assert!(error.contains(says), "{key} = {value}: {error:?} does not say {says:?}");
    }
}

#[test]
fn weights_of_16_bits_alone_are_read_but_not_trained() {
    let folder = ModelFolder::open(root().join("llama_bf16/model")).unwrap();
    let mut frozen: Policy<Cpu> = folder.load_frozen(Cpu::new()).unwrap();
    assert!(frozen.params().as_slice().is_empty() && frozen.parameters().is_empty());
    let mut batch = Batch::new();
    batch.push_sequence(&[1, 2, 3]).unwrap();
    let wide: Policy<Cpu> = folder.load(Cpu::new()).unwrap();
    close(&logprobs(&frozen, &batch), &logprobs(&wide, &batch), 2e-6, "llama_bf16");
    let forward = frozen.forward(&batch, Keep::Activations).unwrap();
    let mut grads = frozen.gradients();
    let error = frozen.backward(&batch, forward, &Want::default(), &mean_seeds(2), &mut grads).unwrap_err();
    assert!(error.to_string().contains("without adapters"), "{error}");
    let mut optimizer = AdamW::new(&frozen, AdamWConfig::default());
    assert!(optimizer.update(&mut frozen, &grads, 1e-3, 1.0).is_err());
    // Written again, they are what they were.
    let target = tempfile::tempdir().unwrap();
    folder.save(&frozen, target.path(), &SaveOptions::default()).unwrap();
    let read = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    let (old, new) = (read(folder.dir()), read(target.path()));
    let data = |bytes: &[u8]| {
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        let mut all: Vec<_> = file.tensors().into_iter().map(|(n, v)| (n, v.data().to_vec())).collect();
        all.sort();
        all
    };
    assert_eq!(data(&old), data(&new));
}
