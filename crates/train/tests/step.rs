//! The step against the plain reading of its method: every row run alone, its gradient added up by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod world;

use gft_model::Batch;
use gft_model::optimizer::gradient_norm;
use gft_model::policy::{Keep, Seeds, Want};
use gft_objective::{Completion, Source, Step, TokenInputs, evaluate};
use gft_reward::Candidate;
use gft_rollout::{Ended, Group, OwnOptions, sample};
use gft_train::Trainer;
use world::{bits, stage, step};

/// Rewards that an untrained model can differ in.
const REWARDS: &[(&str, &str)] =
    &[("reward-funcs", "verifier,soft_overlong"), ("max-completion-length", "20"), ("overlong-buffer", "20")];

/// The groups and rewards that the first step of `trainer` has.
fn groups(trainer: &Trainer<gft_model::Cpu>) -> (Vec<Group>, Vec<Vec<Option<f64>>>) {
    let mut groups: Vec<Group> =
        (0..trainer.prompts_per_step as u64).map(|at| trainer.rows.group(at).unwrap()).collect();
    let options = OwnOptions {
        samples: trainer.own_samples,
        sampling: trainer.sampling.clone(),
        max_new_tokens: trainer.max_new_tokens,
        max_batch: 3,
        seed: trainer.seed,
        step: 0,
        policy_version: 0,
    };
    sample(&trainer.policy, trainer.rows.encoder(), &options, &mut groups, &|| false).unwrap();
    let rewards = groups
        .iter()
        .map(|group| {
            let candidate = |rollout: &'_ gft_rollout::Rollout| -> f64 {
                let one = Candidate {
                    row: &group.row,
                    text: &rollout.text,
                    tokens: rollout.tokens.len(),
                    truncated: rollout.source == Source::Policy && rollout.ended == Ended::Truncated,
                    demonstration: rollout.source.is_demonstration(),
                };
                match trainer.combination.is_empty() {
                    true => 0.0,
                    false => trainer.combination.score(&[one]).unwrap().rewards[0].unwrap(),
                }
            };
            group.rollouts.iter().map(|rollout| Some(candidate(rollout))).collect()
        })
        .collect();
    (groups, rewards)
}

/// Loss and gradient norm of the whole step, one row at a time.
fn by_hand(trainer: &Trainer<gft_model::Cpu>) -> (f64, f64) {
    let (groups, rewards) = groups(trainer);
    let policy = &trainer.policy;
    let alone = |group: &Group, k: usize| {
        let mut batch = Batch::new();
        batch.push_group(&group.prompt, &[&group.rollouts[k].tokens]).unwrap();
        batch
    };
    let want = Want { entropy: true, ..Want::default() };
    let mut values = Vec::new();
    for group in &groups {
        let rows = (0..group.rollouts.len()).map(|k| policy.token_stats(&alone(group, k), &want).unwrap());
        values.push(rows.collect::<Vec<_>>());
    }
    let completions: Vec<Vec<Completion<'_>>> = groups
        .iter()
        .zip(&values)
        .zip(&rewards)
        .map(|((group, values), rewards)| {
            let rows = group.rollouts.iter().zip(values).zip(rewards);
            rows.map(|((rollout, values), reward)| Completion {
                source: rollout.source,
                reward: *reward,
                inputs: TokenInputs {
                    logprobs: &values.logprobs,
                    old_logprobs: Some(&values.logprobs),
                    entropy: Some(&values.entropy),
                    ..TokenInputs::default()
                },
                filtered: false,
            })
            .collect()
        })
        .collect();
    let slices: Vec<&[Completion<'_>]> = completions.iter().map(Vec::as_slice).collect();
    let max_length = trainer.max_completion_length;
    let found = evaluate(&trainer.method, &Step { groups: &slices, max_length }).unwrap();
    let mut gradients = policy.gradients();
    for (group, found) in groups.iter().zip(&found.groups) {
        for (k, row) in found.rows.iter().enumerate() {
            let batch = alone(group, k);
            let forward = policy.forward(&batch, Keep::Activations).unwrap();
            let seeds = Seeds { logprobs: row.gradient.clone(), ..Seeds::default() };
            policy.backward(&batch, forward, &Want::default(), &seeds, &mut gradients).unwrap();
        }
    }
    (found.loss, gradient_norm(policy, &gradients).unwrap())
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs()).max(1e-3)
}

/// Sources, rules, baselines and normalisers of the presets all through the one step.
#[test]
fn every_method_steps_as_its_definition_says() {
    let root = tempfile::tempdir().unwrap();
    let model = world::model::gsm8k_model(root.path());
    let methods = [
        "sft",
        "sft-mix",
        "dft",
        "idft",
        "gft-paper",
        "gft-reference",
        "gft-stable",
        "grpo",
        "dr-grpo",
        "cispo",
        "rloo",
        "psr",
        "nsr",
        "w-reinforce",
        "luffy",
        "chord-mu",
        "chord-phi",
    ];
    let mut with_signal = 0;
    for method in methods {
        // Small passes, so that rows and groups are spread over many of them.
        let mut flags = vec![("tokens-per-pass", "256"), ("updates-per-batch", "1")];
        flags.extend(if method.ends_with("ft") || method == "sft-mix" { &REWARDS[1..2] } else { REWARDS });
        let mut trainer = stage(&model, method, &flags);
        let (loss, norm) = by_hand(&trainer);
        let report = step(&mut trainer, 0);
        let [update] = report.updates.as_slice() else {
            panic!("{method}: {} updates", report.updates.len())
        };
        // 1e-5: f32 sums of a few thousand terms in another order.
        assert!(close(update.loss, loss, 1e-5), "{method}: loss {} by hand {loss}", update.loss);
        assert!(close(update.grad_norm, norm, 1e-5), "{method}: norm {} by hand {norm}", update.grad_norm);
        with_signal += usize::from(norm > 1e-3);
    }
    // PSR has nothing to learn from where no own completion is right.
    assert!(with_signal >= methods.len() - 1, "{with_signal}");
}

/// T7: neither the size of passes nor rows without a signal nor recomputing layers change the step.
#[test]
fn the_step_does_not_depend_on_how_it_is_cut() {
    let root = tempfile::tempdir().unwrap();
    let model = world::model::gsm8k_model(root.path());
    let run = |flags: &[(&str, &str)]| {
        let mut all = REWARDS.to_vec();
        all.extend(flags);
        let mut trainer = stage(&model, "gft", &all);
        let numbers: Vec<(f64, f64)> = (0..3)
            .map(|at| {
                let report = step(&mut trainer, at);
                (report.updates[0].loss, report.updates[0].grad_norm)
            })
            .collect();
        numbers
    };
    let whole = run(&[]);
    // A KL term of weight 1e-30 makes every row run, and adds nothing that a number of 24 bits could hold.
    let ways = [("tokens-per-pass", "128"), ("gradient-checkpointing", "true"), ("reference-kl", "1e-30")];
    for way in ways {
        for ((loss, norm), (other_loss, other_norm)) in whole.iter().zip(run(&[way])) {
            // 2e-5: f32 in another order, over three updates.
            assert!(close(*loss, other_loss, 2e-5), "{way:?}: loss {loss} against {other_loss}");
            assert!(close(*norm, other_norm, 2e-5), "{way:?}: norm {norm} against {other_norm}");
        }
    }
}

/// T7, over 50 updates: offline GFT, where no token is drawn that a rounding could turn into another.
#[test]
fn fifty_steps_do_not_drift_apart() {
    let root = tempfile::tempdir().unwrap();
    let model = world::model::gsm8k_model(root.path());
    let losses = |flags: &[(&str, &str)]| -> Vec<f64> {
        let mut all = vec![("num-generations", "0"), ("max-completion-length", "16"), ("max-steps", "50")];
        all.extend([("lr", "1e-4"), ("reward-funcs", "verifier,soft_overlong"), ("overlong-buffer", "16")]);
        all.extend(flags);
        let mut trainer = stage(&model, "gft", &all);
        (0..50).map(|at| step(&mut trainer, at).updates[0].loss).collect()
    };
    let whole = losses(&[]);
    assert!(whole.iter().any(|loss| loss.abs() > 1e-3), "{whole:?}");
    for way in [("tokens-per-pass", "128"), ("gradient-checkpointing", "true")] {
        let other = losses(&[way]);
        let residual = whole.iter().zip(&other).map(|(a, b)| (a - b).abs()).sum::<f64>() / 50.0;
        println!("{way:?}: mean residual {residual:e}");
        assert!(residual <= 1e-6, "{way:?}: mean residual {residual}");
    }
}

/// Several updates on one batch: the first has ratio 1, later ones are held against the policy that began the step.
#[test]
fn later_updates_use_the_log_probabilities_of_the_start() {
    let root = tempfile::tempdir().unwrap();
    let model = world::model::gsm8k_model(root.path());
    // Long enough that some of eight completions of an untrained model end by themselves and others do not.
    let long = [
        ("reward-funcs", "verifier,soft_overlong"),
        ("max-completion-length", "160"),
        ("overlong-buffer", "160"),
    ];
    let mut flags = long.to_vec();
    flags.extend([("updates-per-batch", "2"), ("num-iterations", "2"), ("lr", "1e-3")]);
    let mut trainer = stage(&model, "grpo", &flags);
    let report = step(&mut trainer, 0);
    assert_eq!(report.updates.len(), 4);
    assert_eq!(trainer.optimizer.state().2, 4);
    let ratio = report.summary.policy.ratio;
    assert!(ratio.max > 1.0 + 1e-3 && ratio.min < 1.0 - 1e-3, "{ratio:?}");
    // Weights that stay: every token is held against its own log-probability of the start.
    flags.retain(|(name, _)| *name != "lr");
    flags.push(("lr", "0"));
    let mut trainer = stage(&model, "grpo", &flags);
    let ratio = step(&mut trainer, 0).summary.policy.ratio;
    // 1e-4: the same forward pass in f32, cut otherwise.
    assert!(ratio.tokens > 0 && ratio.min > 1.0 - 1e-4 && ratio.max < 1.0 + 1e-4, "{ratio:?}");
    // One update a step: every ratio is exactly 1.
    let mut trainer = stage(&model, "grpo", &long);
    let ratio = step(&mut trainer, 0).summary.policy.ratio;
    assert_eq!((ratio.min, ratio.max), (1.0, 1.0));
    assert!(ratio.tokens > 0);
}

/// A step without any signal changes nothing.
#[test]
fn no_signal_no_update() {
    let root = tempfile::tempdir().unwrap();
    let model = world::model::gsm8k_model(root.path());
    // An untrained model answers nothing, so all rewards are 0.
    let mut trainer = stage(&model, "grpo", &[("max-completion-length", "8")]);
    let before = bits(&trainer);
    let report = step(&mut trainer, 0);
    assert_eq!((report.updates[0].loss, report.updates[0].signal), (0.0, false));
    assert!(bits(&trainer) == before);
    assert_eq!(report.found.silent, 2);
}
