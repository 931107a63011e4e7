//! Results do not depend on the number of threads, bit for bit.
#![allow(clippy::unwrap_used, clippy::panic)] // the lints except #[test] functions only

mod models;

use gft_model::device::KlDirection;
use gft_model::optimizer::{AdamW, AdamWConfig, clip_scale, gradient_norm};
use gft_model::policy::{Keep, Seeds, TokenStats, Want};
use gft_model::{Architecture, Policy};
use models::Random;

/// Bits of everything that two steps compute, by name.
fn two_steps(arch: &Architecture) -> Vec<(String, Vec<u32>)> {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let mut policy = models::policy(arch.clone(), 1);
    let reference = models::policy(arch.clone(), 2);
    let mut optimizer = AdamW::new(&policy, AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() });
    let mut grads = policy.gradients();
    let mut random = Random(3);
    let shape = [(None, 60), (Some(0), 70), (Some(0), 30), (Some(0), 90), (None, 30), (Some(4), 40)];
    let mut found = Vec::new();
    for step in 0..2 {
        let batch = models::as_trees(&models::segments(&mut random, arch.vocab, &shape));
        let want =
            Want { temperature: 0.9, entropy: true, kl: Some((KlDirection::PolicyToReference, &reference)) };
        let seeds = random.seeds(batch.targets().len());
        let forward = policy.forward(&batch, Keep::LayerInputs).unwrap();
        grads.reset();
        let TokenStats { logprobs, entropy, kl } = policy
            .backward_with(&batch, forward, &want, &mut grads, |_, order| {
                let pick = |scale: f32| order.iter().map(|&i| scale * seeds[i]).collect();
                Seeds { logprobs: pick(1.0), entropy: pick(0.1), kl: pick(0.2) }
            })
            .unwrap();
        for (name, values) in [("log-probs", logprobs), ("entropy", entropy), ("KL", kl)] {
            found.push((format!("step {step}: {name}"), bits(&values)));
        }
        let norm = gradient_norm(&policy, &grads).unwrap();
        found
            .push((format!("step {step}: norm"), vec![(norm.to_bits() >> 32) as u32, norm.to_bits() as u32]));
        for parameter in &policy.layout().parameters {
            let gradient = policy.read_gradients(&grads, parameter.range.clone());
            found.push((format!("step {step}: gradient of {}", parameter.name), bits(&gradient)));
        }
        optimizer.update(&mut policy, &grads, 1e-3, clip_scale(norm, 1.0)).unwrap();
        found.push((format!("step {step}: weights"), bits(read(&policy).as_slice())));
    }
    found
}

fn read(policy: &Policy<gft_model::Cpu>) -> Vec<f32> {
    policy.read_params(0..policy.layout().len)
}

#[test]
fn one_two_and_three_threads_compute_the_same_bits() {
    // Large enough that every product, norm and sum is cut into several tasks.
    let wide = Architecture {
        hidden: 96,
        ffn: 200,
        heads: 6,
        kv_heads: 3,
        head_dim: 16,
        vocab: 700,
        ..models::full()
    };
    // Sums of more terms than a block of the products holds, and a head in several chunks.
    let deep = Architecture {
        hidden: 24,
        ffn: 1300,
        vocab: 9000,
        layers: 1,
        windows: vec![None],
        ..models::plain()
    };
    for arch in [wide, deep] {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| two_steps(&arch))
        };
        let one = on(1);
        for threads in [2, 3] {
            for ((name, expected), (_, found)) in one.iter().zip(on(threads)) {
                assert!(*expected == found, "{threads} threads: {name} differs");
            }
        }
    }
}
