//! What happens when a card fails: an error that says what, and nothing computed from what failed.

use gft_cuda::Precision;
use gft_model::device::{Buffer, Device, DeviceError};
use gft_model::generate::{Generator, Options, Request};
use gft_model::optimizer::{AdamW, AdamWConfig, gradient_norm};
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::random::Stream;
use gft_model::{Batch, ModelError, Policy};

use crate::golden::Case;
use crate::machine::Emulated;

fn batch() -> Batch {
    let mut batch = Batch::new();
    batch.push_group(&[1, 2, 3], &[vec![4, 5], vec![6]]).unwrap();
    batch
}

/// A step of training: what it read of the gradients' norm.
fn step<D: Device>(policy: &mut Policy<D>, saw: &mut Vec<f32>) -> Result<f64, ModelError> {
    let batch = batch();
    let mut grads = policy.gradients();
    let mut optimizer = AdamW::new(policy, AdamWConfig::default());
    let forward = policy.forward(&batch, Keep::Activations)?;
    policy.backward_with(&batch, forward, &Want::default(), &mut grads, |stats, _| {
        saw.extend(&stats.logprobs);
        Seeds { logprobs: vec![-0.1; stats.logprobs.len()], ..Seeds::default() }
    })?;
    let norm = gradient_norm(policy, &grads)?;
    optimizer.update(policy, &grads, 1e-3, 1.0)?;
    Ok(norm)
}

fn generate<D: Device>(policy: &Policy<D>) -> Result<usize, ModelError> {
    let request = Request { prompt: vec![1, 2, 3], samples: 2, stream: Stream::new(0) };
    let options = Options { max_new_tokens: 3, ..Options::default() };
    Generator::new(policy).run(&[request], &options, &mut ()).map(|done| done.len())
}

fn failed(error: &ModelError) -> bool {
    matches!(error, ModelError::Device(DeviceError::Failed { .. }))
}

#[test]
fn a_launch_that_fails_anywhere_in_a_step_is_an_error_and_stays_one() {
    let case = Case::load("qwen3");
    let machine = Emulated::default();
    let mut policy = case.folder.load(machine.device(Precision::F32)).unwrap();
    let before = machine.launches();
    step(&mut policy, &mut Vec::new()).unwrap();
    let launches = machine.launches() - before;
    assert!(launches > 50, "{launches}");
    for n in 1..=launches {
        let machine = Emulated::default();
        let mut policy = case.folder.load(machine.device(Precision::F32)).unwrap();
        machine.fail_after(n);
        let mut saw = Vec::new();
        let error = step(&mut policy, &mut saw).unwrap_err();
        assert!(failed(&error), "launch {n}: {error}");
        assert!(
            saw.iter().all(|x| x.is_finite()),
            "launch {n}: an objective was given numbers of a failed pass"
        );
        let text = error.to_string();
        assert!(
            text.starts_with("cuda:0 (emulated): ") && text.contains("CUDA_ERROR_ILLEGAL_ADDRESS"),
            "{text}"
        );
        // Nothing is computed or saved any more.
        assert!(policy.read_params(0..4).iter().all(|x| x.is_nan()));
        let root = tempfile::tempdir().unwrap();
        let saved = case.folder.save(&policy, &root.path().join("model"), &Default::default());
        assert!(failed(&saved.unwrap_err()));
        assert_eq!(machine.launches(), before + n, "launch {n}: work went on after a failure");
    }
}

#[test]
fn a_launch_that_fails_anywhere_in_generation_is_an_error() {
    let case = Case::load("qwen3");
    let machine = Emulated::default();
    let policy = case.folder.load(machine.device(Precision::Bf16)).unwrap();
    let before = machine.launches();
    assert_eq!(generate(&policy).unwrap(), 2);
    let launches = machine.launches() - before;
    for n in 1..=launches {
        let machine = Emulated::default();
        let policy = case.folder.load(machine.device(Precision::Bf16)).unwrap();
        machine.fail_after(n);
        assert!(failed(&generate(&policy).unwrap_err()), "launch {n}");
    }
}

#[test]
fn running_out_of_memory_says_how_much_and_what_to_lower() {
    let case = Case::load("qwen3");
    let machine = Emulated::with_memory(1 << 20);
    let mut policy = case.folder.load(machine.device(Precision::F32)).unwrap();
    let mut last = None;
    // Larger and larger until it does not fit.
    for len in (8..).step_by(8) {
        let mut batch = Batch::new();
        batch.push_sequence(&(0..len).map(|i| i % 70).collect::<Vec<u32>>()).unwrap();
        let stats = policy
            .forward(&batch, Keep::Activations)
            .and_then(|forward| policy.stats(&batch, &forward, &Want::default()));
        if let Err(error) = stats {
            last = Some(error);
            break;
        }
    }
    let error = last.unwrap();
    let ModelError::Device(DeviceError::OutOfMemory { wanted, free, total, held, .. }) = &error else {
        panic!("{error}");
    };
    assert!(*total == 1 << 20 && wanted > free && *held <= *total && *held > 50_000, "{error}");
    assert!(
        error.to_string().contains("tokens_per_pass") && error.to_string().contains("gradient_checkpointing")
    );
    assert!(step(&mut policy, &mut Vec::new()).is_err(), "a device that has failed goes on");
}

#[test]
fn memory_that_is_idle_is_given_back_before_memory_runs_out() {
    // Pieces of one size are kept, then a larger one is asked for that fits only without them.
    let machine = Emulated::with_memory(1 << 20);
    let device = machine.device(Precision::F32);
    let small: Vec<_> = (0..3).map(|_| device.alloc(40_000)).collect();
    assert!(machine.used() >= 480_000);
    drop(small);
    assert!(machine.used() >= 480_000, "nothing was kept");
    let large = device.zeros(200_000);
    device.status().unwrap();
    assert_eq!(large.len(), 200_000);
    drop((large, device));
    assert_eq!(machine.used(), 0, "memory was lost");
}

#[test]
fn all_memory_is_given_back() {
    let case = Case::load("qwen3");
    for machine in [Emulated::default(), Emulated::with_memory(1 << 30)] {
        let mut policy = case.folder.load(machine.device(Precision::Bf16)).unwrap();
        step(&mut policy, &mut Vec::new()).unwrap();
        generate(&policy).unwrap();
        assert!(machine.used() > 0);
        drop(policy);
        assert_eq!(machine.used(), 0);
    }
}

#[test]
fn a_view_that_is_too_small_is_an_error_and_not_a_crash() {
    let device = crate::compare::cuda();
    let (x, mut y) = (device.zeros(10), device.zeros(12));
    device.add(x.all(), y.all_mut());
    let error = device.status().unwrap_err().to_string();
    assert!(error.contains("add") && error.contains("12 are needed"), "{error}");
}
