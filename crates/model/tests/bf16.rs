//! Products of bf16: what training computes with them is what it computes in f32, but for the rounding of operands.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod models;

use gft_model::policy::Keep;
use gft_model::{Cpu, Policy};
use models::{Random, as_trees, full, plain, run, segments, worst_gradient};

/// Operands are rounded by 2^-9 of themselves at most, by a third of that on the root of the mean square; a gradient comes
/// through some twenty products of two roundings each: sqrt(40) * 2^-9 / sqrt(3) = 7e-3. Twice that.
const GRADIENT: f64 = 1.5e-2;
/// Logits are of order 1/2 and come through the same products.
const LOGPROB: f32 = 1.5e-2;

#[test]
fn statistics_and_gradients_are_those_of_f32_but_for_rounding() {
    let Some(device) = Cpu::with_bf16_products() else {
        return; // the device refuses, which its own tests hold to
    };
    for arch in [plain(), full()] {
        let exact = models::policy(arch.clone(), 1);
        let params = exact.read_params(0..exact.layout().len);
        let rounded =
            Policy::new(device.clone(), arch, gft_model::device::cpu::CpuBuffer::owned(&params)).unwrap();
        let mut random = Random(2);
        let shape = [(None, 20), (Some(0), 60), (Some(0), 5), (None, 33)];
        let batch = [as_trees(&segments(&mut random, exact.architecture().vocab, &shape))];
        let seeds: Vec<f32> = (0..batch[0].targets().len()).map(|_| random.normal() as f32).collect();
        let (expected, expected_gradients) = run(&exact, &batch, &seeds, Keep::Activations);
        let (found, gradients) = run(&rounded, &batch, &seeds, Keep::Activations);
        let logprob = models::furthest(&found.logprobs, &expected.logprobs);
        let (gradient, name) = worst_gradient(&exact, &gradients, &expected_gradients);
        eprintln!("log-prob {logprob:e}, gradient {gradient:e} of {name}");
        assert!(logprob < LOGPROB && gradient < GRADIENT, "{logprob:e} {gradient:e} of {name}");
        // Were the products those of f32, they would be as near as packing leaves them.
        assert!(logprob > 1e-5 && gradient > 1e-4, "{logprob:e} {gradient:e}: nothing was rounded");
        let (again, same) = run(&rounded, &batch, &seeds, Keep::LayerInputs);
        assert_eq!((again.logprobs, same), (found.logprobs, gradients), "with recompute");
    }
}
