//! What a model says of its own accord: how often it meets the reference, and in how many ways it answers.

use std::collections::BTreeSet;

use gft_data::Encoder;
use gft_eval::stats::{Bootstrap, Estimate};
use gft_eval::{Grader, Item, Problem, Record, Run, RunOptions, Summary, Watch};
use gft_model::Policy;
use gft_model::device::Device;
use gft_model::generate::{Generator, Sampling};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::examples::Example;

/// How a model is asked.
#[derive(Clone, Debug)]
pub struct Probe<'a> {
    /// The demonstrations whose prompts are asked; those without a reference answer are passed over.
    pub examples: &'a [Example],
    /// Tokenizer and template.
    pub encoder: &'a Encoder,
    /// Completions of each prompt, drawn at temperature 1.
    pub samples: usize,
    /// Tokens of a completion at most.
    pub max_new_tokens: usize,
    /// Sequences that are computed together.
    pub max_batch: usize,
    /// Seed of the completions: the same for every model that is compared.
    pub seed: u64,
}

/// How often a model's own completions meet the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sparsity {
    /// Prompts that were asked.
    pub prompts: usize,
    /// Completions of each.
    pub samples: usize,
    /// Completions that are the reference, word for word: SFT's reward.
    pub same_text: usize,
    /// Completions with the reference's answer: the verifier's reward.
    pub right: usize,
    /// Groups of own completions by the verifier: all wrong, mixed, all right.
    pub groups: [usize; 3],
    /// Groups that have a signal once the demonstrations of the row are in them, graded by the same verifier.
    pub with_demonstrations: usize,
    /// Share of right completions.
    pub avg: Option<Estimate>,
    /// Chance that at least one of a prompt's completions is right.
    pub pass_at_all: Option<Estimate>,
    /// Mean of `-log p` of the model's own tokens: an unbiased estimate of its entropy per token, in nats.
    pub entropy: Option<f64>,
    /// Distinct texts among a prompt's completions, on average.
    pub distinct_solutions: f64,
    /// Distinct answers among a prompt's completions, on average.
    pub distinct_answers: Option<f64>,
    /// Share of completions that were cut at the limit.
    pub truncated: Option<f64>,
}

struct Keep<'a> {
    records: Vec<Record>,
    stopped: bool,
    tick: &'a mut dyn FnMut() -> bool,
}

impl Watch for Keep<'_> {
    fn token(&mut self) -> bool {
        self.stopped |= (self.tick)();
        self.stopped
    }

    fn problem(&mut self, record: Record) -> gft_eval::Result<()> {
        self.records.push(record);
        Ok(())
    }
}

impl Probe<'_> {
    /// Asks a model. `tick` is called at every token and returns whether to stop.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; what engine, tokenizer and grading refuse.
    pub fn of<D: Device>(&self, policy: &Policy<D>, tick: &mut dyn FnMut() -> bool) -> Result<Sparsity> {
        let graded =
            |example: &&Example| example.row.gold.as_ref().is_some_and(|gold| !gold.trim().is_empty());
        let asked: Vec<&Example> = self.examples.iter().filter(graded).collect();
        let problems: Vec<Problem> =
            asked.iter().map(|e| Problem { row: e.row.clone(), choices: Vec::new() }).collect();
        let items: Vec<Item<'_>> = asked
            .iter()
            .zip(&problems)
            .enumerate()
            .map(|(doc, (e, problem))| Item { doc, problem, prompt: String::new(), ids: e.prompt.clone() })
            .collect();
        let options = RunOptions {
            samples: self.samples,
            sampling: Sampling::default(),
            max_new_tokens: self.max_new_tokens,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            max_batch: self.max_batch,
            seed: self.seed,
        };
        let (generator, grader) = (Generator::new(policy), Grader::default());
        let run = Run { generator: &generator, encoder: self.encoder, grader: &grader, options: &options };
        let mut kept = Keep { records: Vec::new(), stopped: false, tick };
        if run.over(&items, &mut kept)? {
            return Err(Error::Interrupted);
        }
        kept.records.sort_by_key(|record| record.doc);
        Ok(self.count(&asked, &kept.records, &grader))
    }

    fn count(&self, asked: &[&Example], records: &[Record], grader: &Grader) -> Sparsity {
        let mut groups = [0; 3];
        let (mut same_text, mut with_demonstrations, mut distinct) = (0, 0, 0);
        for (example, record) in asked.iter().zip(records) {
            let (right, counted) = (record.right(), record.counted());
            groups[if right == 0 {
                0
            } else if right < counted {
                1
            } else {
                2
            }] += 1;
            let row = &example.row;
            let given =
                row.expert.iter().take(1).chain(&row.teachers).map(|completion| completion.content.trim());
            let (mut all_right, mut all) = (right, counted);
            for text in given.clone() {
                let (verdict, _) = grader.answer(&record.gold, text);
                all += usize::from(verdict.counts());
                all_right += usize::from(verdict == gft_eval::Verdict::Right);
            }
            with_demonstrations += usize::from(all_right > 0 && all_right < all);
            let reference = given.clone().next().unwrap_or_default();
            let texts: Vec<&str> = record.samples.iter().map(|sample| sample.text.trim()).collect();
            same_text += texts.iter().filter(|text| **text == reference).count();
            distinct += texts.into_iter().collect::<BTreeSet<_>>().len();
        }
        let summary = Summary::of(records, &Bootstrap::default());
        Sparsity {
            prompts: records.len(),
            samples: self.samples,
            same_text,
            right: records.iter().map(Record::right).sum(),
            groups,
            with_demonstrations,
            avg: summary.avg,
            pass_at_all: summary.pass_at.get(&self.samples).copied(),
            entropy: summary.logprob_per_token.map(|logprob| -logprob),
            distinct_solutions: distinct as f64 / records.len().max(1) as f64,
            distinct_answers: summary.distinct_answers,
            truncated: summary.truncated,
        }
    }
}
