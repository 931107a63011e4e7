//! Steps of generation as graphs: the same completions, and as few graphs as there are shapes.

use gft_cuda::{Cuda, Precision};
use gft_model::device::Device;
use gft_model::generate::{Completion, Generator, Options, Request, Sampling};
use gft_model::optimizer::{AdamW, AdamWConfig};
use gft_model::policy::{Keep, Seeds, Want};
use gft_model::random::Stream;
use gft_model::{Architecture, Batch, Policy};

use crate::machine::Emulated;
use crate::models::{Random, full, policy};
use crate::policies::twin;

/// Memory of the machine: more than anything here needs.
const MEMORY: u64 = 1 << 30;

fn requests(vocab: usize, lens: &[usize], samples: usize) -> Vec<Request> {
    let mut random = Random(8);
    let request = |&len: &usize| Request {
        prompt: random.tokens(len, vocab),
        samples,
        stream: Stream::new(len as u64),
    };
    lens.iter().map(request).collect()
}

fn run<D: Device>(
    policy: &Policy<D>,
    requests: &[Request],
    sampling: &Sampling,
    (max_batch, max_new_tokens): (usize, usize),
) -> Vec<Completion> {
    let sampling = sampling.clone();
    let options = Options { sampling, max_new_tokens, max_batch, ..Options::default() };
    Generator::new(policy).run(requests, &options, &mut ()).unwrap()
}

fn learn(policy: &mut Policy<Cuda>) {
    let mut batch = Batch::new();
    batch.push_sequence(&Random(3).tokens(20, policy.architecture().vocab)).unwrap();
    let forward = policy.forward(&batch, Keep::Activations).unwrap();
    let mut grads = policy.gradients();
    policy
        .backward_with(&batch, forward, &Want::default(), &mut grads, |stats, _| Seeds {
            logprobs: vec![-0.1; stats.logprobs.len()],
            ..Seeds::default()
        })
        .unwrap();
    AdamW::new(policy, AdamWConfig::default()).update(policy, &grads, 0.05, 1.0).unwrap();
}

fn sampled() -> Sampling {
    Sampling { temperature: 0.9, ..Sampling::default() }
}

#[test]
fn a_generation_of_equal_steps_is_one_graph() {
    let cpu = policy(full(), 1);
    let machine = Emulated::with_graphs(MEMORY);
    let ours = twin(&cpu, machine.device(Precision::F32));
    let requests = requests(cpu.architecture().vocab, &[5, 5, 5], 1);
    let completions = run(&ours, &requests, &sampled(), (3, 40));
    let (captures, replays, kept) = machine.graphs();
    // 39 steps after the prompts' own draw. Lists' places grow in some of the first, and a graph is made at the second sight.
    assert_eq!((captures, kept), (1, 1), "{replays} of 39 steps replayed");
    assert!(replays >= 30, "{replays} of 39 steps");
    assert_eq!(
        completions,
        run(
            &twin(&cpu, Emulated::with_memory(MEMORY).device(Precision::F32)),
            &requests,
            &sampled(),
            (3, 40)
        )
    );
}

#[test]
fn completions_are_the_same_however_steps_are_asked_for() {
    // Six samples in a batch of four, of prompts on both sides of a page; the second's attention is on matrix units.
    let base = sampled();
    let settings = [
        (Precision::F32, 8, base.clone()),
        (Precision::F32, 8, Sampling { repetition_penalty: 1.5, top_k: 5, top_p: 0.9, ..base.clone() }),
        (Precision::Bf16, 64, Sampling { min_p: 0.1, ..base }),
    ];
    for (precision, head_dim, sampling) in settings {
        let cpu = policy(Architecture { head_dim, ..full() }, 1);
        let requests = requests(cpu.architecture().vocab, &[1, 62, 9], 2);
        let machine = Emulated::with_graphs(MEMORY);
        let graphs = run(&twin(&cpu, machine.device(precision)), &requests, &sampling, (4, 12));
        let alone = run(&twin(&cpu, Emulated::default().device(precision)), &requests, &sampling, (4, 12));
        assert_eq!(graphs, alone, "{precision:?} {sampling:?}");
        let (_, replays, _) = machine.graphs();
        assert!(replays > 0, "{precision:?} {sampling:?}: no graph was used");
    }
}

#[test]
fn what_changes_between_generations_changes_the_completions() {
    let cpu = policy(full(), 1);
    let vocab = cpu.architecture().vocab;
    let machine = Emulated::with_graphs(MEMORY);
    let mut ours = twin(&cpu, machine.device(Precision::Bf16));
    let mut plain = twin(&cpu, Emulated::default().device(Precision::Bf16));
    let settings =
        [sampled(), Sampling { temperature: 0.0, ..sampled() }, Sampling { top_k: 3, ..sampled() }];
    let mut seen = Vec::new();
    for round in 0..2 {
        for sampling in &settings {
            // Longer prompts in the second round: a larger cache.
            let requests = requests(vocab, &[5 + 60 * round, 7], 1);
            let found = run(&ours, &requests, sampling, (2, 8));
            assert_eq!(found, run(&plain, &requests, sampling, (2, 8)), "round {round}, {sampling:?}");
            seen.push(found);
        }
        learn(&mut ours);
        learn(&mut plain);
    }
    assert!(seen.iter().enumerate().all(|(i, one)| !seen[..i].contains(one)), "nothing changed");
    assert!(machine.graphs().1 > 0, "no graph was used");
}

#[test]
fn a_failure_in_a_collected_step_is_told_and_ends_the_generation() {
    let cpu = policy(full(), 1);
    let requests = requests(cpu.architecture().vocab, &[5], 1);
    let options = Options { sampling: sampled(), max_new_tokens: 6, ..Options::default() };
    let machine = Emulated::with_graphs(MEMORY);
    let ours = twin(&cpu, machine.device(Precision::F32));
    let launches = {
        let before = machine.launches();
        Generator::new(&ours).run(&requests, &options, &mut ()).unwrap();
        machine.launches() - before
    };
    // In the last step, which is a graph by now.
    machine.fail_after(launches - 3);
    let error = Generator::new(&ours).run(&requests, &options, &mut ()).unwrap_err().to_string();
    assert!(error.contains("CUDA_ERROR_ILLEGAL_ADDRESS") && error.contains("cuda:0"), "{error}");
}
