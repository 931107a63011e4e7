//! Generation against transformers, against the training path, and against itself in other company.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

mod golden;

use gft_model::generate::{Completion, Finish, Generator, Observer, Options, Request, Sampling};
use gft_model::policy::Want;
use gft_model::random::Stream;
use gft_model::{Batch, Cpu, Policy};
use golden::{Case, close};

const CASES: [&str; 8] =
    ["llama2", "llama3", "llama_bias", "mistral", "qwen2", "qwen2_untied", "qwen3", "qwen3_sliding"];

fn run(policy: &Policy<Cpu>, requests: &[Request], options: &Options) -> Vec<Completion> {
    Generator::new(policy).run(requests, options, &mut ()).unwrap()
}

fn request(prompt: &[u32], samples: usize, seed: u64) -> Request {
    Request { prompt: prompt.to_vec(), samples, stream: Stream::new(seed) }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for name in CASES {
        let case = Case::load(name);
        let options = Options { sampling: Sampling::greedy(), max_new_tokens: 16, ..Options::default() };
        let done = run(&case.policy(), &[request(&case.tensors.ids("greedy.prompt"), 1, 0)], &options);
        assert_eq!(done[0].tokens, case.tensors.ids("greedy.tokens"), "{name}");
        assert_eq!(done[0].finish, Finish::Length);
    }
}

fn prompts(count: usize, vocab: u32) -> Vec<Vec<u32>> {
    // Lengths 1 to 70: shorter and longer than a page of the cache.
    (0..count as u32)
        .map(|i| (0..1 + (i * 23) % 70).map(|j| (i * 31 + j * 7 + 1) % vocab).collect())
        .collect()
}

#[test]
fn a_completion_does_not_depend_on_what_runs_beside_it() {
    for name in ["llama3", "mistral", "qwen3_sliding"] {
        let case = Case::load(name);
        let policy = case.policy();
        let vocab = policy.architecture().vocab as u32;
        let prompts = prompts(8, vocab);
        // 8 prompts with 4 samples: 32 at once.
        let requests: Vec<Request> =
            prompts.iter().enumerate().map(|(i, p)| request(p, 4, i as u64)).collect();
        let sampling = Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::default() };
        let options = |max_batch| Options {
            sampling: sampling.clone(),
            max_new_tokens: 80,
            max_batch,
            stop_tokens: vec![3],
        };
        let together = run(&policy, &requests, &options(32));
        let few = run(&policy, &requests, &options(5));
        assert_eq!(together, few, "{name}: a smaller batch changed a completion");
        for (i, request) in requests.iter().enumerate() {
            let alone = run(&policy, std::slice::from_ref(request), &options(1));
            for (sample, completion) in alone.into_iter().enumerate() {
                assert_eq!(
                    Completion { request: i, ..completion },
                    together[i * 4 + sample],
                    "{name}: alone"
                );
            }
        }
        let stopped = together.iter().filter(|c| c.finish == Finish::Stop).count();
        assert!(stopped > 0 && stopped < 32, "{name}: {stopped} of 32 stopped; the test wants both kinds");
        for c in &together {
            assert_eq!(c.finish == Finish::Stop, c.tokens.last() == Some(&3));
            assert!(!c.tokens[..c.tokens.len() - 1].contains(&3));
        }
    }
}

#[test]
fn reported_log_probabilities_are_those_of_the_training_path() {
    for name in ["llama3", "mistral", "qwen3", "qwen2"] {
        let case = Case::load(name);
        let policy = case.policy();
        let prompts = prompts(6, policy.architecture().vocab as u32);
        let requests: Vec<Request> = prompts.iter().map(|p| request(p, 3, 9)).collect();
        let sampling =
            Sampling { temperature: 0.7, top_k: 20, repetition_penalty: 1.3, ..Sampling::default() };
        let done = run(&policy, &requests, &Options { sampling, max_new_tokens: 70, ..Options::default() });
        let mut batch = Batch::new();
        for (prompt, group) in prompts.iter().zip(done.chunks(3)) {
            let responses: Vec<&[u32]> = group.iter().map(|c| &c.tokens[..]).collect();
            batch.push_group(prompt, &responses).unwrap();
        }
        let want = Want { temperature: 0.7, ..Want::default() };
        let expected = policy.token_stats(&batch, &want).unwrap().logprobs;
        let found: Vec<f32> = done.iter().flat_map(|c| c.logprobs.clone()).collect();
        // Two orders of summation in f32 over two layers; the fixtures' weights make logits of order 10.
        close(&found, &expected, 5e-5, name);
        assert!(done.iter().all(|c| c.sampling_logprobs.iter().all(|x| *x <= 1e-6)));
    }
}

#[test]
fn samples_of_a_prompt_differ_and_repeat_with_their_seed() {
    let policy = Case::load("qwen2").policy();
    let options = Options { max_new_tokens: 12, ..Options::default() };
    let first = run(&policy, &[request(&[1, 2, 3], 4, 5)], &options);
    assert_eq!(first, run(&policy, &[request(&[1, 2, 3], 4, 5)], &options));
    for (i, a) in first.iter().enumerate() {
        assert!(first[..i].iter().all(|b| b.tokens != a.tokens), "two samples are the same");
    }
    assert_ne!(first[0].tokens, run(&policy, &[request(&[1, 2, 3], 1, 6)], &options)[0].tokens);
}

struct AtLength(usize, Vec<(usize, usize)>);

impl Observer for AtLength {
    fn token(&mut self, _: usize, _: usize, tokens: &[u32]) -> bool {
        tokens.len() == self.0
    }

    fn finished(&mut self, completion: &Completion) {
        self.1.push((completion.request, completion.tokens.len()));
    }
}

#[test]
fn the_observer_and_the_context_end_completions() {
    let policy = Case::load("qwen2").policy();
    let mut observer = AtLength(5, Vec::new());
    let options = Options { max_new_tokens: 9, ..Options::default() };
    let generator = Generator::new(&policy);
    let done = generator.run(&[request(&[1], 2, 0)], &options, &mut observer).unwrap();
    assert!(done.iter().all(|c| c.finish == Finish::Observer && c.tokens.len() == 5));
    assert_eq!(observer.1, [(0, 5), (0, 5)]);

    let limit = policy.architecture().max_positions;
    let prompt: Vec<u32> = (0..limit as u32 - 3).map(|i| i % 50).collect();
    let done = generator.run(&[request(&prompt, 1, 0)], &options, &mut ()).unwrap();
    assert_eq!((done[0].finish, done[0].tokens.len()), (Finish::Context, 3));
    let too_long = vec![1; limit];
    for (prompt, named) in [(&too_long[..], "prompt 0"), (&[][..], "prompt 0"), (&[9999][..], "9999")] {
        let error = generator.run(&[request(prompt, 1, 0)], &options, &mut ()).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let wrong = Options { sampling: Sampling { top_p: 0.0, ..Sampling::default() }, ..Options::default() };
    assert!(
        generator.run(&[request(&[1], 1, 0)], &wrong, &mut ()).unwrap_err().to_string().contains("top_p")
    );
}
