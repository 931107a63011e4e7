//! T13: a bad number in the loss or in one gradient element leaves weights, moments and step count as they are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use gft_model::Batch;
use gft_model::device::{Buffer, Device};
use gft_model::policy::{Keep, Policy, Seeds, Want};
use gft_objective::{Counts, Decision};
use gft_train::Trainer;
use world::{bits, stage, step};

type Cpu = gft_model::Cpu;

/// Gathers gradients whose seeds are 1 but for one token.
fn gradients(trainer: &mut Trainer<Cpu>, seed: f32) {
    let mut batch = Batch::new();
    batch.push_sequence(&[5, 6, 7, 8, 9]).unwrap();
    let forward = trainer.policy.forward(&batch, Keep::Activations).unwrap();
    let seeds = Seeds { logprobs: vec![1.0, 1.0, seed, 1.0], ..Seeds::default() };
    trainer.gradients.reset();
    trainer.policy.backward(&batch, forward, &Want::default(), &seeds, &mut trainer.gradients).unwrap();
}

#[test]
fn bad_numbers_touch_nothing() {
    let root = tempfile::tempdir().unwrap();
    let model = world::model::gsm8k_model(root.path());
    let mut trainer = stage(&model, "sft", &[("lr", "1e-3")]);
    step(&mut trainer, 0);
    let cases = [
        (f64::NAN, 1.0),
        (f64::INFINITY, 1.0),
        (f64::NEG_INFINITY, 1.0),
        (1e38, 1.0),
        (0.5, f32::NAN),
        (0.5, f32::INFINITY),
        (0.5, f32::NEG_INFINITY),
        (0.5, 1e38),
    ];
    for (loss, seed) in cases {
        let before = bits(&trainer);
        gradients(&mut trainer, seed);
        let update = trainer.guarded_update(loss, 1e-3, Counts::default()).unwrap();
        assert!(matches!(update.decision, Decision::Skip(_)), "{loss} {seed}: {:?}", update.decision);
        assert!(bits(&trainer) == before, "{loss} {seed}: something changed");
        // The next one is accepted, and counts the refusals in a row anew.
        gradients(&mut trainer, 1.0);
        let update = trainer.guarded_update(0.5, 1e-3, Counts::default()).unwrap();
        assert_eq!(update.decision, Decision::Accept);
        assert!(bits(&trainer) != before && trainer.guard.skipped == 0);
    }
}

/// The same through whole steps: weights that give NaN refuse their batches, and the run ends after so many in a row.
#[test]
fn a_model_that_is_not_finite_is_refused_and_then_stopped() {
    let root = tempfile::tempdir().unwrap();
    let model = world::model::gsm8k_model(root.path());
    for poison in [f32::NAN, f32::INFINITY] {
        let mut trainer = stage(&model, "sft", &[("guard-abort-after", "3")]);
        let policy = &trainer.policy;
        let mut weights = policy.read_params(0..policy.layout().len);
        let at = policy.layout().layers[1].o.start + 3;
        weights[at] = poison;
        let mut params = policy.device().zeros(weights.len());
        policy.device().write(&weights, params.all_mut());
        trainer.policy = Policy::new(Cpu::new(), policy.architecture().clone(), params).unwrap();
        let before = bits(&trainer);
        let decisions: Vec<Decision> = (0..3).map(|at| step(&mut trainer, at).updates[0].decision).collect();
        assert!(matches!(decisions[..2], [Decision::Skip(_), Decision::Skip(_)]), "{decisions:?}");
        assert!(matches!(decisions[2], Decision::Abort { skipped: 3, .. }), "{decisions:?}");
        assert!(bits(&trainer) == before);
    }
}
