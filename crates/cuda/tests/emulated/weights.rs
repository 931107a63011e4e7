//! Weights that are kept rounded to bf16: made once after each change, and never older than the weights.

use gft_cuda::{Cuda, Precision};
use gft_model::device::{Buffer, Device, MatMul};
use gft_model::generate::{Generator, Options, Request, Sampling};
use gft_model::optimizer::{AdamW, AdamWConfig};
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::random::Stream;
use gft_model::{Adapter, Architecture, Batch, LoraConfig, Policy};

use crate::compare::{normal, put, room};
use crate::machine::Emulated;
use crate::models::{Random, full, plain, policy};

fn bf16() -> Cuda {
    Emulated::default().device(Precision::Bf16)
}

fn batch(arch: &Architecture) -> Batch {
    let mut batch = Batch::new();
    batch.push_sequence(&Random(5).tokens(20, arch.vocab)).unwrap();
    batch
}

/// Weights on a device of their own, which has never seen others.
fn fresh(arch: &Architecture, values: &[f32]) -> Policy<Cuda> {
    let device = bf16();
    let mut params = device.zeros(values.len());
    device.write(values, params.all_mut());
    Policy::new(device, arch.clone(), params).unwrap()
}

fn all(policy: &Policy<Cuda>) -> Vec<f32> {
    policy.read_params(0..policy.params().len())
}

fn start(arch: Architecture) -> Policy<Cuda> {
    let cpu = policy(arch, 1);
    fresh(cpu.architecture(), &cpu.read_params(0..cpu.params().len()))
}

fn logprobs(policy: &Policy<Cuda>) -> Vec<f32> {
    policy.token_stats(&batch(policy.architecture()), &Want::default()).unwrap().logprobs
}

fn completions(policy: &Policy<Cuda>) -> Vec<f32> {
    let request = Request { prompt: vec![1, 2, 3], samples: 2, stream: Stream::new(0) };
    let options = Options { sampling: Sampling::greedy(), max_new_tokens: 4, ..Options::default() };
    let done = Generator::new(policy).run(&[request], &options, &mut ()).unwrap();
    done.into_iter().flat_map(|completion| completion.logprobs).collect()
}

fn update(policy: &mut Policy<Cuda>, optimizer: &mut AdamW<Cuda>) {
    let batch = batch(policy.architecture());
    let mut grads = policy.gradients();
    let forward = policy.forward(&batch, Keep::LayerInputs).unwrap();
    let seeds = Seeds { logprobs: vec![-0.1; batch.targets().len()], ..Seeds::default() };
    policy.backward(&batch, forward, &Want::default(), &seeds, &mut grads).unwrap();
    optimizer.update(policy, &grads, 1e-2, 1.0).unwrap();
}

/// Training, scoring and sampling give the bits that weights give which were never anything else.
fn current(what: &str, policy: &Policy<Cuda>, before: &[f32]) {
    let other = fresh(policy.architecture(), &all(policy));
    let found = logprobs(policy);
    assert_eq!(found, logprobs(&other), "{what}: scored with older weights");
    assert_eq!(completions(policy), completions(&other), "{what}: sampled with older weights");
    assert_ne!(found, before, "{what}: nothing has changed");
}

#[test]
fn products_read_the_weights_as_they_are() {
    let mut policy = start(full());
    let mut optimizer = AdamW::new(&policy, AdamWConfig::default());
    for step in 0..3 {
        let before = logprobs(&policy);
        completions(&policy);
        update(&mut policy, &mut optimizer);
        current(&format!("update {step}"), &policy, &before);
    }
    // As resuming does.
    let before = logprobs(&policy);
    let mut masters = policy.device().zeros(policy.params().len());
    policy.device().copy(policy.params().all(), masters.all_mut());
    policy.device().write(&[0.5; 2000], masters.part_mut(0..2000));
    let policy = policy.with_params(masters).unwrap();
    current("other parameters", &policy, &before);
}

#[test]
fn merged_adapters_are_in_the_products() {
    let policy = start(plain());
    let before = logprobs(&policy);
    let adapter = Adapter::init(policy.device(), policy.architecture(), LoraConfig::default(), 3).unwrap();
    let mut policy = policy.with_adapter(adapter).unwrap();
    let mut optimizer = AdamW::new(&policy, AdamWConfig::default());
    (0..2).for_each(|_| update(&mut policy, &mut optimizer));
    current("merged", &policy.merge_adapter().unwrap(), &before);
}

#[test]
fn an_update_rounds_what_it_writes() {
    let machine = Emulated::default();
    let cpu = policy(full(), 1);
    let device = machine.device(Precision::Bf16);
    let mut params = device.zeros(cpu.params().len());
    device.write(&cpu.read_params(0..cpu.params().len()), params.all_mut());
    let mut policy = Policy::new(device, full(), params).unwrap();
    let launches = |policy: &Policy<Cuda>| {
        let before = machine.launches();
        logprobs(policy);
        machine.launches() - before
    };
    let rounds = launches(&policy);
    let kept = launches(&policy);
    assert_eq!(rounds, kept + 1, "the weights are rounded at their first use");
    let mut optimizer = AdamW::new(&policy, AdamWConfig::default());
    update(&mut policy, &mut optimizer);
    assert_eq!(launches(&policy), kept, "the weights are rounded again after an update");
    // Packed weights read the rounded ones, which an update then leaves to them.
    let packed = policy.device().pack(policy.params().part(0..64), 8, 8);
    update(&mut policy, &mut optimizer);
    assert_eq!(launches(&policy), rounds, "what others read was overwritten");
    drop(packed);
}

#[test]
fn weights_are_rounded_once_and_sampling_shares_them() {
    let machine = Emulated::default();
    let cpu = policy(plain(), 1);
    let device = machine.device(Precision::Bf16);
    let mut params = device.zeros(cpu.params().len());
    device.write(&cpu.read_params(0..cpu.params().len()), params.all_mut());
    let policy = Policy::new(device, plain(), params).unwrap();
    let launches = || {
        let before = machine.launches();
        logprobs(&policy);
        machine.launches() - before
    };
    let used = machine.used();
    let (first, second) = (launches(), launches());
    assert_eq!(first, second + 1, "the weights were rounded more than once");
    let kept = machine.used() - used;
    let numbers = 2 * policy.params().len() as u64;
    // Beside them the last small lists, of tokens and rows.
    assert!((numbers..numbers + 1024).contains(&kept), "{kept} bytes are kept for {numbers} of weights");
    let generator = Generator::new(&policy);
    assert_eq!(machine.used() - used, kept, "sampling holds a copy of its own");
    drop(generator);
}

#[test]
fn without_memory_to_keep_them_weights_are_rounded_at_each_use() {
    let mut random = Random(6);
    let (m, n, k) = (5, 6, 40);
    let (x, weights) = (normal(&mut random, m * k), normal(&mut random, 60_000));
    let op = MatMul { m, n, k, transpose_a: false, transpose_b: true, accumulate: false };
    let product = |memory: u64| {
        let machine = Emulated::with_memory(memory);
        let device = machine.device(Precision::Bf16);
        let mut weight = device.alloc(weights.len());
        device.write(&weights, weight.all_mut());
        let (x, mut out) = (put(&device, &x), room(&device, m * n));
        device.matmul_weight(op, x.get(), weight.part(1000..1000 + n * k), out.set());
        (out.read(&device), machine.used())
    };
    // 240 kB of f32, which are a piece of 256 KiB: 120 kB more fit, or do not.
    let ((all, large), (little, small)) = (product(1 << 20), product(300 << 10));
    assert_eq!(all, little);
    assert!(large > small + 100_000, "{large} and {small} bytes: both kept them, or neither");
}
