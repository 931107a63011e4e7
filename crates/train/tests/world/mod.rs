//! A stage over the GSM8K excerpt with a model made from nothing, without the binary.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses what it needs; a test may panic"
)]

#[path = "../../../gft/tests/world/model.rs"]
pub mod model;

use std::path::Path;

use gft_model::folder::ModelFolder;
use gft_model::optimizer::AdamW;
use gft_model::{Cpu, Policy};
use gft_objective::GuardHistory;
use gft_train::config::load;
use gft_train::setup::{StagePlan, encoder};
use gft_train::{StepReport, Trainer};

/// A stage of `method` with further flags, at its first step.
pub fn stage(model: &Path, method: &str, flags: &[(&str, &str)]) -> Trainer<Cpu> {
    let data = model::gsm8k().display().to_string();
    let dir = model.display().to_string();
    let mut all = vec![("method", method), ("model", &dir), ("data", &data), ("max-steps", "4")];
    all.extend([("truncation-mode", "keep_start"), ("train-batch-size", "2")]);
    all.extend(flags);
    let resolved = load(None, all).unwrap();
    let settings = &resolved.stages[0].settings;
    let folder = ModelFolder::open(model).unwrap();
    let policy = folder.load(Cpu::new()).unwrap();
    let encoder = encoder(model, settings, policy.architecture()).unwrap();
    let plan = StagePlan::new(settings, encoder, &mut |_, _| {}).unwrap();
    let optimizer = AdamW::new(&policy, plan.adamw());
    let reference = plan.needs_reference().then(|| folder.load(Cpu::new()).unwrap());
    plan.trainer(policy, optimizer, reference, GuardHistory::default(), 0).unwrap().0
}

/// Runs a step.
pub fn step(trainer: &mut Trainer<Cpu>, at: u64) -> StepReport {
    trainer.step(at, &mut |_| {}, &|| false).unwrap()
}

/// All weights, first and second moments, as bits, and the number of updates.
pub fn bits(trainer: &Trainer<Cpu>) -> (Vec<u32>, Vec<u32>, Vec<u32>, u64) {
    use gft_model::device::{Buffer, Device};
    let read = |policy: &Policy<Cpu>, buffer: &<Cpu as Device>::Buf| -> Vec<u32> {
        let mut values = vec![0.0f32; buffer.len()];
        policy.device().read(buffer.all(), &mut values);
        values.into_iter().map(f32::to_bits).collect()
    };
    let (m, v, updates) = trainer.optimizer.state();
    let policy = &trainer.policy;
    (read(policy, policy.params()), read(policy, m), read(policy, v), updates)
}
