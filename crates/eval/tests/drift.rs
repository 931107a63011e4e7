//! Drift between two models with random weights: the estimators agree with the sums over the vocabulary.

#![allow(clippy::unwrap_used)] // test helpers stand outside of #[test] functions

use gft_eval::stats::Bootstrap;
use gft_eval::{DriftOptions, drift};
use gft_model::architecture::{Dtype, Family};
use gft_model::device::{Buffer, Device};
use gft_model::folder::ModelFolder;
use gft_model::init::{NewModel, SpecialIds, random_weights};
use gft_model::{Cpu, Policy};

fn policy(seed: u64, scale: f32) -> Policy<Cpu> {
    let new = NewModel {
        family: Family::Llama,
        hidden: 16,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: None,
        ffn: 32,
        vocab: 40,
        max_positions: 64,
        rope_theta: 10_000.0,
        tied: true,
        dtype: Dtype::F32,
        special: SpecialIds { bos: None, eos: None, pad: None },
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = ModelFolder::from_config(dir.path(), new.config().to_string()).unwrap();
    let mut weights = random_weights(folder.architecture(), seed);
    weights.iter_mut().for_each(|w| *w *= scale);
    let device = Cpu::new();
    let mut params = device.zeros(weights.len());
    device.write(&weights, params.all_mut());
    Policy::new(device, folder.architecture().clone(), params).unwrap()
}

#[test]
fn estimators_agree_with_sums_over_the_vocabulary() {
    let (model, base) = (policy(1, 4.0), policy(2, 4.0));
    let prompts: Vec<Vec<u32>> = (0..60).map(|i| vec![i % 40, (i * 7) % 40]).collect();
    let options = DriftOptions {
        samples: 8,
        max_new_tokens: 10,
        stop_tokens: vec![0, 1],
        max_batch: 64,
        seed: 5,
        bootstrap: Bootstrap { resamples: 200, ..Bootstrap::default() },
    };
    let found = drift(&model, &base, &prompts, &options, &mut || false).unwrap().unwrap();
    assert_eq!((found.prompts, found.completions), (60, 480));
    for part in [&found.per_token, &found.per_sequence] {
        let exact = part.exact.unwrap();
        assert!(exact.mean > 0.02, "{exact:?}");
        for estimate in [part.k1.unwrap(), part.k3.unwrap()] {
            // Both are unbiased given the states: they differ from the sums by their own noise. Four standard errors.
            assert!(
                (estimate.mean - exact.mean).abs() < 4.0 * estimate.standard_error,
                "{estimate:?} {exact:?}"
            );
        }
        assert!(part.entropy.unwrap().mean > 0.0);
    }
    // Sums per completion are means per token times the mean length.
    let length = found.tokens as f64 / found.completions as f64;
    let (token, whole) = (found.per_token.exact.unwrap().mean, found.per_sequence.exact.unwrap().mean);
    assert!((token * length - whole).abs() < 1e-9 * whole);
}

#[test]
fn drift_can_be_stopped() {
    let model = policy(1, 1.0);
    let options = DriftOptions {
        samples: 1,
        max_new_tokens: 4,
        stop_tokens: Vec::new(),
        max_batch: 4,
        seed: 0,
        bootstrap: Bootstrap::default(),
    };
    assert_eq!(drift(&model, &model, &[vec![1]], &options, &mut || true).unwrap(), None);
}
