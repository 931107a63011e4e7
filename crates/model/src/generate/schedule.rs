//! Which sequences run together: a finished one makes room for a waiting one at once.

use std::collections::VecDeque;

use super::generator::Generator;
use super::pages::{Pages, Run};
use super::{Completion, Finish, Observer, Options, Request};
use crate::device::{Buffer, Chain, Device, Draw, DrawRow, Slot};
use crate::error::{ModelError, Result};
use crate::policy::Policy;

/// Prompt tokens that are run together at most (a single longer prompt runs alone).
pub(crate) const PREFILL_TOKENS: usize = 4096;

/// A prompt whose keys and values are in the cache.
struct Prompt<B> {
    run: Run,
    /// Logits that follow it, until its last sample has started.
    logits: Option<B>,
    /// Samples that have not started.
    waiting: usize,
    /// Samples that have not finished.
    open: usize,
}

/// A completion that is being drawn.
struct Sequence {
    completion: Completion,
    run: Run,
}

struct Schedule<'a, D: Device> {
    generator: &'a Generator<'a, D>,
    requests: &'a [Request],
    options: &'a Options,
    waiting: VecDeque<(usize, usize)>,
    prompts: Vec<Option<Prompt<D::Buf>>>,
    active: Vec<Sequence>,
    done: Vec<Completion>,
    pages: Pages,
    cache: D::Cache,
}

impl<D: Device> Generator<'_, D> {
    /// Completes every request; completions come in the order of requests and samples.
    ///
    /// # Errors
    /// When options are out of range, or a prompt is empty, too long for the model or outside of its vocabulary; when the
    /// device fails.
    pub fn run(
        &self,
        requests: &[Request],
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Completion>> {
        options.check()?;
        let limit = self.policy.arch.max_positions;
        if let Some(index) = requests.iter().position(|r| r.prompt.is_empty() || r.prompt.len() >= limit) {
            return Err(ModelError::Batch(format!(
                "prompt {index} has {} tokens; the model takes 1 to {}",
                requests[index].prompt.len(),
                limit - 1
            )));
        }
        let mut schedule = Schedule {
            generator: self,
            requests,
            options,
            waiting: (0..requests.len())
                .flat_map(|r| (0..requests[r].samples).map(move |s| (r, s)))
                .collect(),
            prompts: requests.iter().map(|_| None).collect(),
            active: Vec::new(),
            done: Vec::new(),
            pages: Pages::default(),
            cache: self.cache(),
        };
        while schedule.admit(observer)? || !schedule.active.is_empty() {
            schedule.step(observer)?;
        }
        let mut done = schedule.done;
        done.sort_by_key(|completion| (completion.request, completion.sample));
        Ok(done)
    }
}

impl<D: Device> Schedule<'_, D> {
    /// Starts waiting samples until the batch is full. Returns whether any were started.
    fn admit(&mut self, observer: &mut dyn Observer) -> Result<bool> {
        let mut started = false;
        while self.active.len() < self.options.max_batch && !self.waiting.is_empty() {
            let room = self.options.max_batch - self.active.len();
            let next: Vec<(usize, usize)> = self.waiting.iter().take(room).copied().collect();
            self.prefill(&next)?;
            // The budget of one prefill may have left some prompts for the next round.
            let ready = next.iter().take_while(|(request, _)| self.prompts[*request].is_some()).count();
            let first: Vec<Sequence> = self.waiting.drain(..ready).map(Sequence::new).collect();
            started |= !first.is_empty();
            let logits = self.first_logits(&first);
            self.draw(first, logits, observer)?;
        }
        Ok(started)
    }

    /// The logits that each sequence begins with, `[sequences, V]`: its prompt's.
    fn first_logits(&mut self, sequences: &[Sequence]) -> D::Buf {
        let Policy { device, arch, .. } = self.generator.policy;
        let mut logits = device.alloc(sequences.len() * arch.vocab);
        for (i, sequence) in sequences.iter().enumerate() {
            let Some(prompt) = &mut self.prompts[sequence.completion.request] else { continue };
            if let Some(from) = &prompt.logits {
                device.copy(from.all(), logits.part_mut(i * arch.vocab..(i + 1) * arch.vocab));
            }
            prompt.waiting -= 1;
            if prompt.waiting == 0 {
                prompt.logits = None;
            }
        }
        logits
    }

    /// Runs the prompts of these samples that are not in the cache yet, as many as fit one pass.
    fn prefill(&mut self, samples: &[(usize, usize)]) -> Result<()> {
        let mut fresh: Vec<usize> = Vec::new();
        let mut tokens = 0;
        for &(request, _) in samples {
            if self.prompts[request].is_some() || fresh.last() == Some(&request) {
                continue;
            }
            tokens += self.requests[request].prompt.len();
            if tokens > PREFILL_TOKENS && !fresh.is_empty() {
                break;
            }
            fresh.push(request);
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let mut slots: Vec<Slot> = Vec::new();
        let mut runs = Vec::new();
        for &request in &fresh {
            let mut run = Run::default();
            slots.extend(self.requests[request].prompt.iter().map(|_| self.pages.next(&mut run)));
            runs.push(run);
        }
        let device = self.generator.policy.device();
        device.reserve_pages(&mut self.cache, self.pages.count());
        let prompts: Vec<&[u32]> = fresh.iter().map(|&request| &self.requests[request].prompt[..]).collect();
        let logits = self.generator.prefill(&prompts, &slots, &mut self.cache)?;
        let vocab = logits.len() / fresh.len();
        for (i, (request, run)) in fresh.into_iter().zip(runs).enumerate() {
            let samples = self.requests[request].samples;
            let mut own = device.alloc(vocab);
            device.copy(logits.part(i * vocab..(i + 1) * vocab), own.all_mut());
            self.prompts[request] = Some(Prompt { run, logits: Some(own), waiting: samples, open: samples });
        }
        Ok(())
    }

    /// Runs the last token of every active sequence and draws the next.
    fn step(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.active.is_empty() {
            return Ok(());
        }
        let mut sequences = std::mem::take(&mut self.active);
        let (mut tokens, mut slots, mut chains) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in &mut sequences {
            tokens.push(sequence.completion.tokens.last().copied().unwrap_or_default());
            slots.push(self.pages.next(&mut sequence.run));
            let mut chain = Chain::default();
            if let Some(prompt) = &self.prompts[sequence.completion.request] {
                prompt.run.extend(&mut chain);
            }
            sequence.run.extend(&mut chain);
            chains.push(chain);
        }
        self.generator.policy.device().reserve_pages(&mut self.cache, self.pages.count());
        let logits = self.generator.step(&tokens, &slots, &chains, &mut self.cache);
        self.draw(sequences, logits, observer)
    }

    /// Draws the next token of each sequence; those that end are done, the others become active.
    fn draw(
        &mut self,
        mut sequences: Vec<Sequence>,
        mut logits: D::Buf,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if sequences.is_empty() {
            return Ok(());
        }
        let rows: Vec<DrawRow<'_>> = sequences
            .iter()
            .map(|sequence| {
                let Completion { request, sample, tokens, .. } = &sequence.completion;
                let request = &self.requests[*request];
                let uniform = request.stream.child(*sample as u64).uniform(tokens.len() as u64);
                DrawRow { uniform, seen: [&request.prompt, tokens] }
            })
            .collect();
        let device = self.generator.policy.device();
        let draws = device.draw(&self.options.sampling, &rows, logits.all_mut());
        device.status()?;
        for (mut sequence, draw) in sequences.drain(..).zip(draws) {
            match self.append(&mut sequence, draw, observer) {
                None => self.active.push(sequence),
                Some(finish) => self.finish(sequence, finish, observer),
            }
        }
        Ok(())
    }

    /// Appends a token and says whether the completion ends with it.
    fn append(&self, sequence: &mut Sequence, draw: Draw, observer: &mut dyn Observer) -> Option<Finish> {
        let completion = &mut sequence.completion;
        completion.tokens.push(draw.token);
        completion.logprobs.push(draw.logprob);
        completion.sampling_logprobs.push(draw.sampling_logprob);
        let observed = observer.token(completion.request, completion.sample, &completion.tokens);
        let len = completion.tokens.len();
        if self.options.stop_tokens.contains(&draw.token) {
            Some(Finish::Stop)
        } else if observed {
            Some(Finish::Observer)
        } else if len >= self.options.max_new_tokens {
            Some(Finish::Length)
        } else if self.requests[completion.request].prompt.len() + len
            >= self.generator.policy.arch.max_positions
        {
            Some(Finish::Context)
        } else {
            None
        }
    }

    fn finish(&mut self, sequence: Sequence, finish: Finish, observer: &mut dyn Observer) {
        let Sequence { mut completion, run } = sequence;
        completion.finish = finish;
        observer.finished(&completion);
        self.pages.release(run);
        let slot = &mut self.prompts[completion.request];
        if let Some(prompt) = slot {
            prompt.open -= 1;
            if prompt.open == 0
                && let Some(prompt) = slot.take()
            {
                self.pages.release(prompt.run);
            }
        }
        self.done.push(completion);
    }
}

impl Sequence {
    fn new((request, sample): (usize, usize)) -> Self {
        let completion = Completion {
            request,
            sample,
            tokens: Vec::new(),
            logprobs: Vec::new(),
            sampling_logprobs: Vec::new(),
            finish: Finish::Length,
        };
        Sequence { completion, run: Run::default() }
    }
}
