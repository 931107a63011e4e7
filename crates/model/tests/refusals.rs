//! Calls that cannot be right are errors that say what is wrong, and leave everything as it was.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod models;

use gft_model::device::KlDirection;
use gft_model::device::cpu::CpuBuffer;
use gft_model::policy::{Gradients, Keep, Seeds, Want};
use gft_model::{Architecture, Batch, Cpu, ModelError, Policy};

fn message<T>(result: Result<T, ModelError>) -> String {
    result.err().unwrap().to_string()
}

fn says(message: &str, names: &[&str]) {
    for name in names {
        assert!(message.contains(name), "{name:?} is not in: {message}");
    }
}

fn batch() -> Batch {
    let mut batch = Batch::new();
    batch.push_group(&[1, 2, 3], &[vec![4, 5], vec![6]]).unwrap();
    batch
}

#[test]
fn batches() {
    let mut wrong = Batch::new();
    says(&message(wrong.push(None, &[], |_| true)), &["no tokens"]);
    says(&message(wrong.push(Some(0), &[1], |_| true)), &["parent 0"]);
    says(&message(wrong.push_group(&[1], &[vec![2], vec![]])), &["no tokens"]);

    let policy = models::policy(models::plain(), 1);
    let run = |batch: &Batch| policy.forward(batch, Keep::Nothing).map(|_| ());
    says(&message(run(&Batch::new())), &["no tokens"]);
    let mut wrong = batch();
    wrong.push_sequence(&[1, 50]).unwrap();
    says(&message(run(&wrong)), &["token 50", "index 7", "vocabulary of 50"]);
    let mut wrong = Batch::new();
    wrong.push_sequence(&[u32::MAX]).unwrap();
    says(&message(run(&wrong)), &["4294967295"]);
}

#[test]
fn as_many_weights_as_the_architecture_has() {
    for len in [0, 1000] {
        let weights = CpuBuffer::zeros(len);
        says(&message(Policy::new(Cpu::new(), models::plain(), weights)), &[&format!("{len} weights")]);
    }
}

/// Backward with these seeds must fail with a message and add nothing.
fn backward_refuses(policy: &Policy<Cpu>, want: &Want<'_, Cpu>, seeds: &Seeds, names: &[&str]) {
    let mut grads: Gradients<Cpu> = policy.gradients();
    let forward = policy.forward(&batch(), Keep::Activations).unwrap();
    says(&message(policy.backward(&batch(), forward, want, seeds, &mut grads)), names);
    assert!(grads.is_empty());
    let forward = policy.forward(&batch(), Keep::Activations).unwrap();
    says(&message(policy.backward_with(&batch(), forward, want, &mut grads, |_, _| seeds.clone())), names);
    assert!(grads.is_empty());
}

#[test]
fn seeds_one_for_each_target() {
    let policy = models::policy(models::plain(), 1);
    let reference = models::policy(models::plain(), 2);
    let kl = Some((KlDirection::PolicyToReference, &reference));
    let want = Want { temperature: 1.0, entropy: true, kl };
    for [logprobs, entropy, kl] in [[2, 0, 0], [0, 0, 0], [4, 3, 3], [3, 2, 0], [3, 3, 4], [0, 3, 3]] {
        let seeds = |len| vec![0.5f32; len];
        let seeds = Seeds { logprobs: seeds(logprobs), entropy: seeds(entropy), kl: seeds(kl) };
        backward_refuses(&policy, &want, &seeds, &["seeds", "for 3 targets"]);
    }
}

#[test]
fn a_forward_pass_that_kept_nothing() {
    let policy = models::policy(models::plain(), 1);
    let forward = policy.forward(&batch(), Keep::Nothing).unwrap();
    let seeds = Seeds { logprobs: vec![1.0; 3], ..Seeds::default() };
    let mut grads = policy.gradients();
    let result = policy.backward(&batch(), forward, &Want::default(), &seeds, &mut grads);
    says(&message(result), &["kept nothing"]);
    assert!(grads.is_empty());
}

#[test]
fn a_reference_with_another_vocabulary() {
    let policy = models::policy(models::plain(), 1);
    let reference = models::policy(Architecture { vocab: 60, ..models::plain() }, 2);
    let want = Want { kl: Some((KlDirection::PolicyToReference, &reference)), ..Want::default() };
    says(&message(policy.token_stats(&batch(), &want)), &["60", "50"]);
    let seeds = Seeds { logprobs: vec![1.0; 3], ..Seeds::default() };
    backward_refuses(&policy, &want, &seeds, &["60", "50"]);
}

#[test]
fn seeds_of_statistics_that_were_not_asked_for() {
    let policy = models::policy(models::plain(), 1);
    let reference = models::policy(models::plain(), 2);
    let kl = Some((KlDirection::PolicyToReference, &reference));
    let seeds = Seeds { logprobs: vec![0.5; 3], ..Seeds::default() };
    let entropy = Seeds { entropy: vec![0.5; 3], ..seeds.clone() };
    backward_refuses(&policy, &Want { kl, ..Want::default() }, &entropy, &["entropy"]);
    backward_refuses(&policy, &Want::default(), &entropy, &["entropy"]);
    let divergence = Seeds { kl: vec![0.5; 3], ..seeds };
    backward_refuses(&policy, &Want { entropy: true, ..Want::default() }, &divergence, &["KL"]);
}

#[test]
fn a_temperature_by_which_nothing_can_be_divided() {
    let policy = models::policy(models::plain(), 1);
    let seeds = Seeds { logprobs: vec![0.5; 3], ..Seeds::default() };
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let want = Want { temperature, ..Want::default() };
        says(&message(policy.token_stats(&batch(), &want)), &["temperature"]);
        backward_refuses(&policy, &want, &seeds, &["temperature"]);
    }
}

#[test]
fn another_batch_than_that_of_the_forward_pass() {
    let policy = models::policy(models::plain(), 1);
    let mut other = batch();
    other.push_sequence(&[1, 2, 3]).unwrap();
    let forward = policy.forward(&batch(), Keep::Activations).unwrap();
    says(&message(policy.stats(&other, &forward, &Want::default())), &["another batch"]);
    let seeds = Seeds { logprobs: vec![0.5; other.targets().len()], ..Seeds::default() };
    let mut grads = policy.gradients();
    let result = policy.backward(&other, forward, &Want::default(), &seeds, &mut grads);
    says(&message(result), &["another batch"]);
}
