//! Whole policies on the emulated card: against transformers, PyTorch and PEFT on the fixtures, and against the CPU.

use gft_cuda::{Cuda, Precision};
use gft_model::device::{Buffer, Device, KlDirection};
use gft_model::generate::{Completion, Generator, Options, Request, Sampling};
use gft_model::optimizer::{AdamW, AdamWConfig, clip_scale, gradient_norm};
use gft_model::policy::{Keep, Seeds, TokenStats, Want};
use gft_model::random::Stream;
use gft_model::{Adapter, Architecture, Batch, Cpu, LoraConfig, ModelFolder, Policy};

use crate::bf16_policies::{GRADIENT as BF16_GRADIENT, LOGPROB as BF16_LOGPROB};
use crate::compare::cuda;
use crate::golden::{CASES, Case, Tensors, close, relative_l2, root};
use crate::machine::Emulated;
use crate::models::{Random, as_trees, full, furthest, plain, policy, segments, worst_gradient};

/// DESIGN.md T9, of f32 against f64: log-probabilities and losses.
const LOGPROB: f32 = 1e-5;
/// The same, relative for every parameter's gradient.
const GRADIENT: f64 = 1e-4;

pub fn batch_of(sequences: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::new();
    for ids in sequences {
        batch.push_sequence(ids).unwrap();
    }
    batch
}

/// Statistics and gradients of the mean log-probability's negative.
pub fn learn<D: Device>(policy: &Policy<D>, batch: &Batch, keep: Keep) -> (TokenStats, Vec<f32>) {
    let forward = policy.forward(batch, keep).unwrap();
    let mut grads = policy.gradients();
    let share = -1.0 / batch.targets().len() as f32;
    let stats = policy.backward_with(batch, forward, &Want::default(), &mut grads, |stats, _| Seeds {
        logprobs: vec![share; stats.logprobs.len()],
        ..Seeds::default()
    });
    (stats.unwrap(), policy.read_gradients(&grads, 0..policy.params().len()))
}

#[test]
fn every_family_has_the_log_probabilities_and_gradients_of_transformers() {
    for name in CASES {
        let case = Case::load(name);
        let policy = case.folder.load(cuda()).unwrap();
        let (stats, ours) = learn(&policy, &batch_of(&case.input_ids), Keep::Activations);
        close(&stats.logprobs, &case.logprobs.concat(), LOGPROB, name);
        for parameter in &policy.layout().parameters {
            let expected = case.floats(&format!("grad.{}", parameter.name));
            let error = relative_l2(&ours[parameter.range.clone()], &expected);
            assert!(error < GRADIENT, "{name}: {} is off by {error:e}", parameter.name);
        }
    }
}

/// Trains on one batch; the losses before each update.
pub fn losses<D: Device>(
    mut policy: Policy<D>,
    batch: &Batch,
    config: AdamWConfig,
    lr: f64,
    updates: usize,
) -> Vec<f32> {
    let mut optimizer = AdamW::new(&policy, config);
    let mut grads = policy.gradients();
    let share = -1.0 / batch.targets().len() as f32;
    let mut losses = Vec::new();
    for _ in 0..updates {
        let forward = policy.forward(batch, Keep::LayerInputs).unwrap();
        grads.reset();
        let stats = policy.backward_with(batch, forward, &Want::default(), &mut grads, |stats, _| Seeds {
            logprobs: vec![share; stats.logprobs.len()],
            ..Seeds::default()
        });
        losses.push(stats.unwrap().logprobs.iter().sum::<f32>() * share);
        optimizer.update(&mut policy, &grads, lr, 1.0).unwrap();
    }
    losses
}

/// The losses of PyTorch's steps on a fixture, taken by a device.
pub fn adamw_losses(case: &Case, device: Cuda) -> Vec<f32> {
    let number = |key: &str| case.json["adamw"][key].as_f64().unwrap();
    let config = AdamWConfig {
        beta1: case.json["adamw"]["betas"][0].as_f64().unwrap(),
        beta2: case.json["adamw"]["betas"][1].as_f64().unwrap(),
        eps: number("eps"),
        weight_decay: number("weight_decay"),
        decay_all: true,
    };
    let policy = case.folder.load(device).unwrap();
    losses(policy, &batch_of(&case.input_ids), config, number("lr"), case.adamw_losses.len())
}

#[test]
fn ten_adamw_losses_are_those_of_pytorch() {
    for name in ["qwen3", "llama_bias"] {
        let case = Case::load(name);
        let ours = adamw_losses(&case, cuda());
        close(&ours, &case.adamw_losses, LOGPROB, name);
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for name in ["llama3", "qwen2", "qwen3_sliding"] {
        let case = Case::load(name);
        let policy = case.folder.load(cuda()).unwrap();
        let options = Options { sampling: Sampling::greedy(), max_new_tokens: 16, ..Options::default() };
        let request =
            Request { prompt: case.tensors.ids("greedy.prompt"), samples: 1, stream: Stream::new(0) };
        let done = Generator::new(&policy).run(&[request], &options, &mut ()).unwrap();
        assert_eq!(done[0].tokens, case.tensors.ids("greedy.tokens"), "{name}");
    }
}

#[test]
fn adapters_have_the_log_probabilities_and_gradients_of_peft() {
    for name in ["all_linear", "pattern"] {
        let dir = root().join("adapter").join(name);
        let expected = Tensors::load(dir.join("expected.safetensors"));
        let ids: Vec<Vec<u32>> = (0..2).map(|i| expected.ids(&format!("input_ids.{i}"))).collect();
        let policy = ModelFolder::open(dir.join("adapter")).unwrap().load(cuda()).unwrap();
        let (stats, ours) = learn(&policy, &batch_of(&ids), Keep::Activations);
        let logprobs: Vec<f32> = (0..2).flat_map(|i| expected.floats(&format!("logprobs.{i}"))).collect();
        close(&stats.logprobs, &logprobs, LOGPROB, name);
        for parameter in policy.parameters() {
            let expected = expected.floats(&format!("grad.{}", parameter.name));
            let error = relative_l2(&ours[parameter.range.clone()], &expected);
            assert!(error < GRADIENT, "{name}: {} is off by {error:e}", parameter.name);
        }
        let off = policy.without_adapter().token_stats(&batch_of(&ids), &Want::default()).unwrap();
        let base: Vec<f32> = (0..2).flat_map(|i| expected.floats(&format!("base_logprobs.{i}"))).collect();
        close(&off.logprobs, &base, LOGPROB, name);
    }
}

#[test]
fn dropout_in_adapters_drops_what_the_cpu_drops() {
    let batch = batch_of(&[vec![1, 9, 30, 4, 4, 17, 2]]);
    let config = LoraConfig { r: 3, dropout: 0.3, ..LoraConfig::default() };
    fn fresh<D: Device>(folder: &ModelFolder, device: D, config: &LoraConfig) -> Policy<D> {
        let base = folder.load_frozen(device).unwrap();
        let adapter = Adapter::init(base.device(), folder.architecture(), config.clone(), 7).unwrap();
        base.with_adapter(adapter).unwrap()
    }
    fn run<D: Device>(policy: &Policy<D>, batch: &Batch, stream: Option<Stream>) -> Vec<f32> {
        let forward = policy.forward_dropping(batch, Keep::Activations, stream).unwrap();
        let mut grads = policy.gradients();
        let seeds = Seeds { logprobs: vec![-0.1; batch.targets().len()], ..Seeds::default() };
        policy.backward(batch, forward, &Want::default(), &seeds, &mut grads).unwrap();
        policy.read_gradients(&grads, 0..policy.params().len())
    }
    let folder = &Case::load("qwen2").folder;
    let (ours, cpu) = (fresh(folder, cuda(), &config), fresh(folder, Cpu::new(), &config));
    let stream = Some(Stream::new(5));
    let expected = run(&cpu, &batch, stream);
    assert!(relative_l2(&run(&ours, &batch, stream), &expected) < GRADIENT);
    assert!(relative_l2(&run(&ours, &batch, None), &expected) > 0.01, "nothing was dropped");
}

/// The same weights on another device.
pub fn twin(policy: &Policy<Cpu>, device: Cuda) -> Policy<Cuda> {
    let values = policy.read_params(0..policy.params().len());
    let mut params = device.zeros(values.len());
    device.write(&values, params.all_mut());
    Policy::new(device, policy.architecture().clone(), params).unwrap()
}

/// Two trees, three deep, with segments around a tile of 64 tokens.
pub fn forest(vocab: usize) -> Batch {
    let shape = [(None, 70), (Some(0), 5), (Some(0), 65), (Some(1), 64), (None, 1), (Some(4), 33)];
    as_trees(&segments(&mut Random(3), vocab, &shape))
}

/// Statistics of all kinds over the forest, and gradients of a loss of all of them.
pub fn everything<D: Device>(
    policy: &Policy<D>,
    reference: &Policy<D>,
    direction: KlDirection,
) -> (TokenStats, Vec<f32>) {
    let batch = forest(policy.architecture().vocab);
    let want = Want { temperature: 0.8, entropy: true, kl: Some((direction, reference)) };
    let mut random = Random(4);
    let mut seeds = || random.seeds(batch.targets().len());
    let seeds = Seeds { logprobs: seeds(), entropy: seeds(), kl: seeds() };
    let forward = policy.forward(&batch, Keep::Activations).unwrap();
    let stats = policy.stats(&batch, &forward, &want).unwrap();
    let mut grads = policy.gradients();
    policy.backward(&batch, forward, &want, &seeds, &mut grads).unwrap();
    // A second batch is added to the first.
    let forward = policy.forward(&batch, Keep::LayerInputs).unwrap();
    policy.backward(&batch, forward, &want, &seeds, &mut grads).unwrap();
    (stats, policy.read_gradients(&grads, 0..policy.params().len()))
}

fn architectures() -> [Architecture; 2] {
    [plain(), full()]
}

#[test]
fn trees_entropies_and_divergences_are_those_of_the_cpu() {
    for arch in architectures() {
        for direction in [KlDirection::ReferenceToPolicy, KlDirection::PolicyToReference] {
            let (cpu, other) = (policy(arch.clone(), 1), policy(arch.clone(), 2));
            let (ours, reference) = (twin(&cpu, cuda()), twin(&other, cuda()));
            let (expected, expected_grads) = everything(&cpu, &other, direction);
            let (found, grads) = everything(&ours, &reference, direction);
            // Two devices, each within DESIGN.md's 1e-5 of f64.
            for (what, a, b) in [
                ("log-probabilities", &found.logprobs, &expected.logprobs),
                ("entropies", &found.entropy, &expected.entropy),
                ("divergences", &found.kl, &expected.kl),
            ] {
                let off = furthest(a, b);
                assert!(off < 2.0 * LOGPROB, "{what}: {off:e}");
            }
            let (off, name) = worst_gradient(&cpu, &grads, &expected_grads);
            assert!(off < GRADIENT, "{name}: {off:e}");
        }
    }
}

#[test]
fn the_same_step_gives_the_same_bits_whatever_memory_it_gets() {
    let cpu = policy(full(), 1);
    let batch = forest(cpu.architecture().vocab);
    let bits = |device: Cuda| {
        let policy = twin(&cpu, device);
        let first = learn(&policy, &batch, Keep::Activations);
        let again = learn(&policy, &batch, Keep::LayerInputs);
        assert_eq!(first.1, again.1, "another run, or running layers again, changed a gradient");
        first
    };
    let fresh = bits(cuda());
    // Memory that is kept and used again, larger than asked.
    let kept = bits(Emulated::with_memory(1 << 30).device(Precision::F32));
    assert_eq!(fresh.0.logprobs, kept.0.logprobs);
    assert_eq!(fresh.1, kept.1);
}

pub fn requests(vocab: usize) -> Vec<Request> {
    let mut random = Random(8);
    [1, 70, 9]
        .map(|len| Request { prompt: random.tokens(len, vocab), samples: 2, stream: Stream::new(len as u64) })
        .into()
}

pub fn completions<D: Device>(policy: &Policy<D>, requests: &[Request], max_batch: usize) -> Vec<Completion> {
    drawn(policy, requests, max_batch, Sampling { temperature: 0.9, ..Sampling::default() })
}

fn drawn<D: Device>(
    policy: &Policy<D>,
    requests: &[Request],
    max_batch: usize,
    sampling: Sampling,
) -> Vec<Completion> {
    let options = Options { sampling, max_new_tokens: 10, max_batch, ..Options::default() };
    Generator::new(policy).run(requests, &options, &mut ()).unwrap()
}

#[test]
fn completions_are_those_of_the_cpu_and_depend_on_nothing_beside_them() {
    // The second's attention is on matrix units.
    for (precision, head_dim) in [(Precision::F32, 8), (Precision::Bf16, 64)] {
        let cpu = policy(Architecture { head_dim, ..full() }, 1);
        let ours = twin(&cpu, Emulated::default().device(precision));
        let requests = requests(cpu.architecture().vocab);
        let together = completions(&ours, &requests, 6);
        assert_eq!(together, completions(&ours, &requests, 2), "{precision:?}: a smaller batch");
        if precision == Precision::Bf16 {
            continue;
        }
        for (ours, cpu) in together.iter().zip(completions(&cpu, &requests, 6)) {
            assert_eq!(ours.tokens, cpu.tokens);
            close(&ours.logprobs, &cpu.logprobs, 2.0 * LOGPROB, "logprobs");
        }
    }
}

#[test]
fn completions_through_filters_and_a_penalty_are_those_of_the_cpu() {
    let cpu = policy(full(), 1);
    let ours = twin(&cpu, cuda());
    let requests = requests(cpu.architecture().vocab);
    let base = Sampling { temperature: 1.2, ..Sampling::default() };
    for sampling in [
        Sampling { top_k: 5, top_p: 0.9, ..base.clone() },
        Sampling { min_p: 0.2, repetition_penalty: 1.5, ..base.clone() },
        Sampling { temperature: 0.0, repetition_penalty: 3.0, ..base },
    ] {
        let expected = drawn(&cpu, &requests, 6, sampling.clone());
        for (ours, cpu) in drawn(&ours, &requests, 4, sampling.clone()).iter().zip(&expected) {
            assert_eq!(ours.tokens, cpu.tokens, "{sampling:?}");
            close(&ours.logprobs, &cpu.logprobs, 2.0 * LOGPROB, "logprobs");
            close(&ours.sampling_logprobs, &cpu.sampling_logprobs, 2.0 * LOGPROB, "sampling logprobs");
        }
    }
}

#[test]
fn completions_have_the_log_probabilities_that_training_gives_them() {
    let policy = twin(&policy(full(), 1), cuda());
    let requests = requests(policy.architecture().vocab);
    for completion in completions(&policy, &requests, 6) {
        let prompt = &requests[completion.request].prompt;
        let mut batch = Batch::new();
        batch.push_group(prompt, &[&completion.tokens]).unwrap();
        let want = Want { temperature: 0.9, ..Want::default() };
        let stats = policy.token_stats(&batch, &want).unwrap();
        close(&completion.logprobs, &stats.logprobs, LOGPROB, "sampled and trained");
    }
}

#[test]
fn sixteen_bits_in_products_stay_near_f32_and_are_learned_from() {
    for name in ["qwen3", "llama_bf16", "qwen2_f16"] {
        let case = Case::load(name);
        let batch = batch_of(&case.input_ids);
        let device = || Emulated::default().device(Precision::Bf16);
        let whole = case.folder.load(device()).unwrap();
        let frozen = case.folder.load_frozen(device()).unwrap();
        let (stats, grads) = learn(&whole, &batch, Keep::Activations);
        let expected = case.logprobs.concat();
        let squares = stats.logprobs.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let (mean, most) = ((squares / expected.len() as f32).sqrt(), furthest(&stats.logprobs, &expected));
        assert!(
            mean < BF16_LOGPROB.0 && most < BF16_LOGPROB.1 && mean > 1e-5,
            "{name}: {mean:e}, {most:e} at most"
        );
        let frozen = frozen.token_stats(&batch, &Want::default()).unwrap();
        if name == "llama_bf16" {
            assert_eq!(frozen.logprobs, stats.logprobs, "bf16 weights lose nothing");
        }
        let (_, expected) = learn(&case.policy(), &batch, Keep::Activations);
        let error = relative_l2(&grads, &expected);
        assert!(error < BF16_GRADIENT.0, "{name}: gradients are off by {error:e}");
    }
}

#[test]
fn frozen_weights_stay_in_their_16_bits() {
    for name in ["llama_bf16", "qwen2_f16"] {
        let case = Case::load(name);
        let batch = batch_of(&case.input_ids);
        let frozen = case.folder.load_frozen(cuda()).unwrap();
        let stats = frozen.token_stats(&batch, &Want::default()).unwrap();
        close(&stats.logprobs, &case.logprobs.concat(), LOGPROB, name);
    }
}

#[test]
fn a_folder_has_the_same_bytes_whichever_device_wrote_it() {
    for name in ["qwen3", "llama_bf16"] {
        let case = Case::load(name);
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("cpu"), root.path().join("cuda"));
        case.folder.save(&case.policy(), &a, &Default::default()).unwrap();
        case.folder.save(&case.folder.load(cuda()).unwrap(), &b, &Default::default()).unwrap();
        let files = |dir: &std::path::Path| -> Vec<_> {
            let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
            paths.sort();
            paths.iter().map(|p| (p.file_name().unwrap().to_owned(), std::fs::read(p).unwrap())).collect()
        };
        assert!(files(&a) == files(&b), "{name}");
        assert!(files(&a).len() >= 2);
    }
}

#[test]
fn clipping_takes_the_norm_of_all_gradients() {
    let cpu = policy(plain(), 1);
    let ours = twin(&cpu, cuda());
    let batch = forest(cpu.architecture().vocab);
    fn norm<D: Device>(policy: &Policy<D>, batch: &Batch) -> f64 {
        let mut grads = policy.gradients();
        assert_eq!(gradient_norm(policy, &grads).unwrap(), 0.0);
        let forward = policy.forward(batch, Keep::Activations).unwrap();
        let seeds = Seeds { logprobs: vec![-0.1; batch.targets().len()], ..Seeds::default() };
        policy.backward(batch, forward, &Want::default(), &seeds, &mut grads).unwrap();
        gradient_norm(policy, &grads).unwrap()
    }
    let (ours, cpu) = (norm(&ours, &batch), norm(&cpu, &batch));
    assert!((ours / cpu - 1.0).abs() < GRADIENT && clip_scale(ours, 1e-3) < 1.0, "{ours} {cpu}");
}
