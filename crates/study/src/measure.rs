//! What is measured of a model: accuracy, coverage, forgetting, entropy, distance to the base, styles. Never one alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gft_data::{ColumnMap, Encode, EncodeOptions, Encoder, Tokenizer};
use gft_eval::stats::{Bootstrap, Estimate, pass_at_k};
use gft_eval::{DriftOptions, Grader, Item, Record, Run, RunOptions, Summary, Task, Watch, drift};
use gft_model::generate::{Generator, Sampling};
use gft_model::{Cpu, ModelFolder, Policy};
use gft_world::Style;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeOptions {
    /// Problems of the target at most.
    pub problems: usize,
    /// Completions of each.
    pub samples: usize,
    /// Problems of other families at most.
    pub others: usize,
    /// Completions of each of them.
    pub other_samples: usize,
    /// Prompts on which entropy and KL are measured.
    pub drift_prompts: usize,
    /// Seed of all completions.
    pub seed: u64,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { problems: 256, samples: 16, others: 256, other_samples: 4, drift_prompts: 128, seed: 7 }
    }
}

/// A mean over problems with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl From<Estimate> for Interval {
    fn from(found: Estimate) -> Self {
        Self { mean: found.mean, low: found.low, high: found.high }
    }
}

/// What was measured of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Completions of each target problem.
    pub samples: usize,
    /// Mean share of right completions on the target (avg@n), temperature 1.
    pub accuracy: Interval,
    /// Share of target problems that at least one of the n completions solves (pass@n).
    pub pass: Interval,
    /// Mean share of right completions on the other families.
    pub held_out: Interval,
    /// Entropy per token of the model's own completions, in nats.
    pub entropy: f64,
    /// `KL(model || base)` per token of the model's own completions, over the whole vocabulary, in nats.
    pub kl: f64,
    /// Shares of the styles among target completions; what is in no style is `other`.
    pub styles: BTreeMap<String, f64>,
    /// Share of right completions of each target problem, for paired comparisons.
    pub per_problem: Vec<f64>,
    /// The same of the other families.
    pub others_per_problem: Vec<f64>,
}

impl Measured {
    /// pass@k on the target, the mean over problems, for `k` up to the number of completions; `None` above it.
    pub fn pass_at(&self, k: usize) -> Option<f64> {
        let right = |share: &f64| (share * self.samples as f64).round() as usize;
        let each = self.per_problem.iter().map(|share| pass_at_k(self.samples, right(share), k));
        let each = each.collect::<Option<Vec<f64>>>()?;
        (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
    }
}

/// Measures models against one base on fixed problems with fixed random numbers: two results differ by weights alone.
pub struct Probe {
    target: Task,
    others: Task,
    base: Policy<Cpu>,
    encoder: Encoder,
    grader: Grader,
    options: ProbeOptions,
    max_new_tokens: usize,
}

impl Probe {
    /// Reads the problems of `target` and `others` and the base that distances are measured to.
    ///
    /// # Errors
    /// Files or folders that cannot be used.
    pub fn new(base: &Path, target: &Path, others: &Path, options: ProbeOptions) -> Result<Self> {
        Ok(Self {
            target: Task::open(target, None, &ColumnMap::EMPTY, Some(options.problems))?,
            others: Task::open(others, None, &ColumnMap::EMPTY, Some(options.others))?,
            base: ModelFolder::open(base)?.load(Cpu::new())?,
            encoder: Encoder::new(Arc::new(Tokenizer::load(base)?), EncodeOptions::default())?,
            grader: Grader::default(),
            options,
            max_new_tokens: 72,
        })
    }

    /// Measures the model in `folder`. `stop` is asked at every token.
    ///
    /// # Errors
    /// A folder that cannot be read; [`Error::Interrupted`].
    pub fn measure(&self, folder: &Path, stop: &dyn Fn() -> bool) -> Result<Measured> {
        let policy = ModelFolder::open(folder)?.load(Cpu::new())?;
        let generator = Generator::new(&policy);
        let ProbeOptions { samples, other_samples, drift_prompts, seed, .. } = self.options;
        let target = self.records(&generator, &self.target, samples, stop)?;
        let others = self.records(&generator, &self.others, other_samples, stop)?;
        let prompts = self.items(&self.target)?.into_iter().take(drift_prompts).map(|item| item.ids);
        let options = DriftOptions {
            samples: 2,
            max_new_tokens: self.max_new_tokens,
            stop_tokens: self.encoder.stop_ids(),
            max_batch: 64,
            seed,
            bootstrap: Bootstrap { resamples: 1, ..Bootstrap::default() },
        };
        let moved = drift(&policy, &self.base, &prompts.collect::<Vec<_>>(), &options, &mut || stop())?
            .ok_or(Error::Interrupted)?;
        let summary = Summary::of(&target, &Bootstrap::default());
        let held_out = Summary::of(&others, &Bootstrap::default());
        let of = |found: Option<Estimate>, what: &str| {
            found
                .map(Interval::from)
                .ok_or_else(|| Error::file(folder, format!("no {what} could be measured")))
        };
        let mean = |found: Option<Estimate>, what: &str| of(found, what).map(|found| found.mean);
        Ok(Measured {
            samples,
            accuracy: of(summary.avg, "accuracy")?,
            pass: of(summary.pass_at.get(&samples).copied(), "coverage")?,
            held_out: of(held_out.avg, "accuracy on other families")?,
            entropy: mean(moved.per_token.entropy, "entropy")?,
            kl: mean(moved.per_token.exact, "distance to the base")?,
            styles: styles(&target),
            per_problem: target.iter().filter_map(Record::mean).collect(),
            others_per_problem: others.iter().filter_map(Record::mean).collect(),
        })
    }

    fn items<'a>(&self, task: &'a Task) -> Result<Vec<Item<'a>>> {
        let mut items = Vec::new();
        for (doc, problem) in task.problems.iter().enumerate() {
            // A prompt without room for an answer is no problem that this model can be measured by.
            if let Encode::Kept(prompt) = self.encoder.prompt(&problem.row)? {
                items.push(Item { doc, problem, prompt: problem.row.prompt.text(), ids: prompt.ids });
            }
        }
        Ok(items)
    }

    fn records(
        &self,
        generator: &Generator<'_, Cpu>,
        task: &Task,
        samples: usize,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<Record>> {
        let options = RunOptions {
            samples,
            sampling: Sampling::default(),
            max_new_tokens: self.max_new_tokens,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            max_batch: 64,
            seed: self.options.seed,
        };
        let run = Run { generator, encoder: &self.encoder, grader: &self.grader, options: &options };
        let mut kept = Kept { records: Vec::new(), stop };
        if run.over(&self.items(task)?, &mut kept)? {
            return Err(Error::Interrupted);
        }
        // They come in the order in which they end.
        kept.records.sort_by_key(|record| record.doc);
        Ok(kept.records)
    }
}

/// Keeps records in memory.
struct Kept<'a> {
    records: Vec<Record>,
    stop: &'a dyn Fn() -> bool,
}

impl Watch for Kept<'_> {
    fn token(&mut self) -> bool {
        (self.stop)()
    }

    fn problem(&mut self, record: Record) -> gft_eval::Result<()> {
        self.records.push(record);
        Ok(())
    }
}

fn styles(records: &[Record]) -> BTreeMap<String, f64> {
    let total = records.iter().map(|record| record.samples.len()).sum::<usize>().max(1) as f64;
    let mut shares = BTreeMap::new();
    for sample in records.iter().flat_map(|record| &record.samples) {
        let name = Style::of(&sample.text).map_or("other", Style::name);
        *shares.entry(name.to_owned()).or_insert(0.0) += 1.0 / total;
    }
    shares
}
