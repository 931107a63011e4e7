//! Completions of problems, graded as they end.
//!
//! A completion is a function of the weights, the seed, the problem's place in its task and the sample's number: not of
//! the batch, of what was done before, or of the other problems.

use std::collections::BTreeMap;

use gft_data::{CompletionText, Encoder};
use gft_model::device::Device;
use gft_model::generate::{self, Completion, Generator, Observer, Options, Request, Sampling};
use gft_model::random::Stream;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::grade::Grader;
use crate::record::{Finish, Record, Sample};
use crate::task::Problem;

/// How completions are drawn and graded.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Completions of each problem.
    pub samples: usize,
    /// The distribution that tokens are drawn from.
    pub sampling: Sampling,
    /// Tokens of a completion at most.
    pub max_new_tokens: usize,
    /// Texts at which a completion ends; they do not belong to it.
    pub stop: Vec<String>,
    /// Ids at which a completion ends, beside those of the model.
    pub stop_tokens: Vec<u32>,
    /// Sequences that are computed together; changes the time, never the result.
    pub max_batch: usize,
    /// Seed of every random number.
    pub seed: u64,
}

/// A problem as the model is given it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Its place in its task.
    pub doc: usize,
    /// The problem.
    pub problem: &'a Problem,
    /// What the model is given.
    pub prompt: String,
    /// The same as token ids.
    pub ids: Vec<u32>,
}

/// Hears how far an evaluation is.
pub trait Watch {
    /// A token was drawn. Returns whether to stop: what is open is then dropped.
    fn token(&mut self) -> bool;
    /// All completions of a problem have ended.
    ///
    /// # Errors
    /// What keeps the record from being kept.
    fn problem(&mut self, record: Record) -> Result<()>;
}

/// A run over problems.
pub struct Run<'a, D: Device> {
    /// The weights, arranged for generation.
    pub generator: &'a Generator<'a, D>,
    /// Tokenizer, template and ends of turns.
    pub encoder: &'a Encoder,
    /// What is right.
    pub grader: &'a Grader,
    /// How completions are drawn.
    pub options: &'a RunOptions,
}

impl<D: Device> Run<'_, D> {
    /// Completes and grades every item. Returns whether it was stopped before the end.
    ///
    /// # Errors
    /// What the engine, the tokenizer or the watcher refuses.
    pub fn over(&self, items: &[Item<'_>], watch: &mut dyn Watch) -> Result<bool> {
        let seed = Stream::new(self.options.seed);
        let requests: Vec<Request> = items
            .iter()
            .map(|item| Request {
                prompt: item.ids.clone(),
                samples: self.options.samples,
                stream: seed.child(item.doc as u64),
            })
            .collect();
        let options = Options {
            sampling: self.options.sampling.clone(),
            max_new_tokens: self.options.max_new_tokens,
            stop_tokens: [self.encoder.stop_ids(), self.options.stop_tokens.clone()].concat(),
            max_batch: self.options.max_batch,
        };
        let mut open = Open {
            run: self,
            items,
            watch,
            writing: BTreeMap::new(),
            ended: BTreeMap::new(),
            stop: false,
            failure: None,
        };
        self.generator.run(&requests, &options, &mut open)?;
        match open.failure {
            Some(error) => Err(error),
            None => Ok(open.stop),
        }
    }
}

/// Completions that are being drawn, and those whose problem has others open.
struct Open<'a, 'r, D: Device> {
    run: &'r Run<'a, D>,
    items: &'r [Item<'r>],
    watch: &'r mut dyn Watch,
    /// Texts so far, where there are stop strings to look for.
    writing: BTreeMap<(usize, usize), CompletionText<'r>>,
    ended: BTreeMap<usize, Vec<Ended>>,
    stop: bool,
    failure: Option<Error>,
}

struct Ended {
    number: usize,
    finish: Finish,
    tokens: usize,
    logprob: f64,
    text: String,
}

impl<D: Device> Open<'_, '_, D> {
    fn write(&mut self, key: (usize, usize), id: u32) -> Result<bool> {
        let (tokenizer, stops) = (self.run.encoder.tokenizer(), &self.run.options.stop);
        let text = self.writing.entry(key).or_insert_with(|| CompletionText::new(tokenizer, stops));
        text.push(id)?;
        Ok(text.stopped())
    }

    fn text(&mut self, completion: &Completion) -> Result<String> {
        let tokenizer = self.run.encoder.tokenizer();
        if let Some(text) = self.writing.remove(&(completion.request, completion.sample)) {
            return Ok(text.finish()?.text);
        }
        let known: Vec<u32> =
            completion.tokens.iter().copied().filter(|&id| tokenizer.id_to_token(id).is_some()).collect();
        Ok(tokenizer.decode(&known, true)?)
    }

    fn end(&mut self, completion: &Completion) -> Result<()> {
        let item = &self.items[completion.request];
        if completion.logprobs.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite { id: item.problem.row.id.clone() });
        }
        let ended = Ended {
            number: completion.sample,
            finish: match completion.finish {
                generate::Finish::Stop | generate::Finish::Observer => Finish::Stop,
                generate::Finish::Length => Finish::Length,
                generate::Finish::Context => Finish::Context,
            },
            tokens: completion.tokens.len(),
            logprob: completion.logprobs.iter().map(|x| f64::from(*x)).sum(),
            text: self.text(completion)?,
        };
        let of_problem = self.ended.entry(completion.request).or_default();
        of_problem.push(ended);
        if of_problem.len() < self.run.options.samples {
            return Ok(());
        }
        let mut all = self.ended.remove(&completion.request).unwrap_or_default();
        all.sort_by_key(|ended| ended.number);
        let graded = |ended: Ended| {
            let (verdict, answer) = self.run.grader.grade(item.problem, &ended.text);
            let Ended { finish, tokens, logprob, text, .. } = ended;
            Sample { verdict, answer, finish, tokens, logprob, text }
        };
        self.watch.problem(Record {
            doc: item.doc,
            id: item.problem.row.id.clone(),
            prompt: item.prompt.clone(),
            gold: item.problem.gold().to_owned(),
            samples: all.into_par_iter().map(graded).collect(),
        })
    }
}

impl<D: Device> Observer for Open<'_, '_, D> {
    fn token(&mut self, request: usize, sample: usize, tokens: &[u32]) -> bool {
        self.stop |= self.watch.token();
        if self.stop || self.failure.is_some() {
            return true;
        }
        let Some(&id) = tokens.last().filter(|_| !self.run.options.stop.is_empty()) else { return false };
        match self.write((request, sample), id) {
            Ok(stopped) => stopped,
            Err(error) => {
                self.failure = Some(error);
                true
            }
        }
    }

    fn finished(&mut self, completion: &Completion) {
        if !self.stop && self.failure.is_none() {
            self.failure = self.end(completion).err();
        }
    }
}
