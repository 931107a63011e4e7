//! Predicted memory against what the machine's allocator has given out at most.

use gft_cuda::{Cuda, Precision};
use gft_model::device::{Device, HalfFormat, KlDirection};
use gft_model::footprint::{Footprint, PassSize, SamplingSize};
use gft_model::generate::{Generator, Options, Request, Sampling};
use gft_model::optimizer::{AdamW, AdamWConfig};
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::random::Stream;
use gft_model::{Adapter, Architecture, Batch, LoraConfig, Policy};

use crate::machine::{Emulated, LIBRARIES};
use crate::models::{Random, full, plain, policy};

/// What is measured is above what is predicted by what the prediction leaves out: small lists, and results of the
/// vocabulary's statistics, up to 6 kB of 2.3 MB. The smallest buffer that is counted is 1 % of the peak.
const ABOVE: f64 = 0.008;

/// Tokens of an update.
const TOKENS: usize = 100;

/// The options of a small model at widths at which activations outweigh lists.
fn wide(arch: Architecture, ffn: usize, vocab: usize) -> Architecture {
    Architecture { hidden: 64, ffn, vocab, layers: 3, windows: vec![None; 3], ..arch }
}

fn on(machine: &Emulated, arch: &Architecture, precision: Precision, seed: u64) -> Policy<Cuda> {
    let cpu = policy(arch.clone(), seed);
    let device = machine.device(precision);
    let values = cpu.read_params(0..cpu.params().len());
    let mut params = device.zeros(values.len());
    device.write(&values, gft_model::device::Buffer::all_mut(&mut params));
    Policy::new(device, arch.clone(), params).unwrap()
}

fn footprint<'a>(policy: &'a Policy<Cuda>) -> Footprint<'a> {
    let formats = policy.device().memory().unwrap().formats;
    Footprint { arch: policy.architecture(), formats, half: None, adapters: None }
}

fn near(what: &str, measured: u64, predicted: u64, below: f64) {
    let ratio = measured as f64 / predicted as f64;
    if std::env::var_os("SHOW_UNITS").is_some() {
        eprintln!("{what}: {measured} of {predicted}: {ratio:.4}");
    }
    assert!(
        (1.0 - below..1.0 + ABOVE).contains(&ratio),
        "{what}: {measured} bytes at the peak, {predicted} predicted"
    );
}

/// One sequence; every token predicts the next.
fn batch(tokens: usize, vocab: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push_sequence(&Random(5).tokens(tokens, vocab)).unwrap();
    batch
}

/// An update with all that it holds.
fn step(policy: &mut Policy<Cuda>, keep: Keep, kl: Option<(KlDirection, &Policy<Cuda>)>) {
    let batch = batch(TOKENS, policy.architecture().vocab);
    let want = Want { temperature: 1.0, entropy: false, kl };
    let mut optimizer = AdamW::new(policy, AdamWConfig::default());
    let mut grads = policy.gradients();
    let forward = policy.forward(&batch, keep).unwrap();
    let seeds = |_: &_, order: &[usize]| Seeds { logprobs: vec![-0.1; order.len()], ..Seeds::default() };
    policy.backward_with(&batch, forward, &want, &mut grads, seeds).unwrap();
    optimizer.update(policy, &grads, 1e-3, 1.0).unwrap();
}

/// The peak of an update, and what was predicted of all that was held then.
fn update(arch: &Architecture, precision: Precision, keep: Keep, with_reference: bool) -> (u64, u64) {
    let machine = Emulated::default();
    let mut policy = on(&machine, arch, precision, 1);
    let reference = with_reference.then(|| on(&machine, arch, precision, 2));
    let kl = reference.as_ref().map(|reference| (KlDirection::PolicyToReference, reference));
    step(&mut policy, keep, kl);
    let size = PassSize { tokens: TOKENS, rows: TOKENS - 1, keep, reference: with_reference, trees: false };
    let print = footprint(&policy);
    let weights = print.weights() + print.rounded_weights();
    let policies = if with_reference { 2 } else { 1 };
    let held = policies * weights + 3 * 4 * print.trained();
    (machine.peak(), held + print.update(size).total())
}

#[test]
fn an_update_takes_what_is_predicted() {
    // Where the head, the layers and their products are largest in turn.
    for (arch, ffn, vocab) in [(plain(), 40, 700), (full(), 300, 60), (full(), 96, 200)] {
        let arch = wide(arch, ffn, vocab);
        for precision in [Precision::F32, Precision::Bf16] {
            for keep in [Keep::Activations, Keep::LayerInputs] {
                for reference in [false, true] {
                    let (measured, predicted) = update(&arch, precision, keep, reference);
                    let what = format!("{ffn}, {vocab}, {precision:?}, {keep:?}, reference {reference}");
                    near(&what, measured, predicted, 0.0);
                }
            }
        }
    }
}

#[test]
fn attention_takes_what_is_predicted() {
    // Where attention is largest, on matrix units and not: the latter converts what it reads and writes.
    for (head_dim, ffn) in [(64, 100), (32, 40)] {
        let arch = wide(Architecture { head_dim, ..full() }, ffn, 60);
        for keep in [Keep::Activations, Keep::LayerInputs] {
            let (measured, predicted) = update(&arch, Precision::Bf16, keep, false);
            near(&format!("heads of {head_dim}, {keep:?}"), measured, predicted, 0.0);
        }
    }
}

#[test]
fn adapters_take_what_is_predicted() {
    for (ffn, vocab) in [(40, 700), (300, 60)] {
        for precision in [Precision::F32, Precision::Bf16] {
            for keep in [Keep::Activations, Keep::LayerInputs] {
                let arch = wide(plain(), ffn, vocab);
                let machine = Emulated::default();
                let config = LoraConfig { r: 4, ..LoraConfig::default() };
                let base = on(&machine, &arch, precision, 1);
                let trained = Adapter::<Cuda>::len_of(&arch, &config).unwrap() as u64;
                let adapter = Adapter::init(base.device(), &arch, config, 3).unwrap();
                let mut policy = base.with_adapter(adapter).unwrap();
                step(&mut policy, keep, None);
                // Queries, keys and values are one product.
                let print = Footprint { adapters: Some((trained, 3 * 4)), ..footprint(&policy) };
                let size =
                    PassSize { tokens: TOKENS, rows: TOKENS - 1, keep, reference: false, trees: false };
                let held = print.weights() + print.rounded_weights() + 4 * 4 * trained;
                let what = format!("adapters, {ffn}, {vocab}, {precision:?}, {keep:?}");
                // The ranks are counted for every product, and not all have adapters.
                near(&what, machine.peak(), held + print.update(size).total(), 0.006);
            }
        }
    }
}

#[test]
fn sampling_takes_what_is_predicted() {
    for (ffn, vocab, precision) in [(40, 700, Precision::F32), (300, 60, Precision::Bf16)] {
        let arch = wide(full(), ffn, vocab);
        let machine = Emulated::default();
        let policy = on(&machine, &arch, precision, 1);
        // The weights are rounded, as an update does, before anything is measured.
        policy.token_stats(&batch(2, vocab), &Want::default()).unwrap();
        machine.forget_peak();
        let held = machine.used();
        let (prompts, samples, prompt, completion) = (3, 2, 130, 66);
        let mut random = Random(7);
        // Twice as many as run together: the second half's prompts are run while the cache has all its pages.
        let requests: Vec<Request> = (0..2 * prompts as u64)
            .map(|seed| Request { prompt: random.tokens(prompt, vocab), samples, stream: Stream::new(seed) })
            .collect();
        let options = Options {
            sampling: Sampling::default(),
            max_new_tokens: completion,
            max_batch: prompts * samples,
            ..Options::default()
        };
        Generator::new(&policy).run(&requests, &options, &mut ()).unwrap();
        let size = SamplingSize { sequences: prompts * samples, prompts, prompt, completion };
        let predicted = footprint(&policy).sampling(size).total();
        near(&format!("{ffn}, {vocab}, {precision:?}"), machine.peak() - held, predicted, 0.0);
    }
}

#[test]
fn of_an_open_device_only_what_its_libraries_take_later_is_counted() {
    let open = Emulated::default().device(Precision::Bf16).memory().unwrap();
    assert_eq!(open.formats.libraries, LIBRARIES);
    let closed = gft_cuda::formats(Precision::Bf16).libraries;
    assert!(closed > 600 << 20, "a card's context is not in {closed} bytes");
}

#[test]
fn sixteen_bits_are_counted_as_they_are_kept() {
    let arch = wide(plain(), 96, 200);
    for half in [HalfFormat::Bf16, HalfFormat::F16] {
        let print = Footprint {
            arch: &arch,
            formats: gft_cuda::formats(Precision::Bf16),
            half: Some(half),
            adapters: Some((1000, 8)),
        };
        let parameters = gft_model::layout::Layout::new(&arch).len as u64;
        assert_eq!((print.weights(), print.rounded_weights(), print.trained()), (2 * parameters, 0, 1000));
    }
}
