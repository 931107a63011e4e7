//! What is in a data set, in numbers and token by token: to be looked at before a run is paid for.

mod lengths;
mod view;

use crate::{Dataset, Encode, EncodedCompletion, EncodedRow, Encoder, Result, Row};
pub use lengths::{Bin, Lengths};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
pub use view::{TokenRole, TokenView};

/// Statistics of a data set, with an encoder those of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatasetReport {
    /// What was detected.
    pub description: String,
    /// Template, end of turn, system prompt; empty without an encoder.
    pub encoding: String,
    /// Usable rows.
    pub rows: u64,
    /// Rows left out when reading.
    pub dropped: u64,
    /// Rows looked at for what follows: all, or as many as asked for.
    pub sampled: u64,
    /// Rows whose prompt stood in an earlier row.
    pub duplicate_prompts: u64,
    /// Rows whose prompt and completions stood in an earlier row.
    pub duplicate_rows: u64,
    /// Rows by the rule that found their gold answer.
    pub gold: BTreeMap<String, u64>,
    /// Rows without a gold answer: nothing can verify a response to them.
    pub without_gold: u64,
    /// Rows without any completion.
    pub without_completion: u64,
    /// "tokens" with an encoder, else "characters".
    pub unit: &'static str,
    /// Lengths of prompts that are kept.
    pub prompts: Lengths,
    /// Lengths of expert completions, after cutting.
    pub experts: Lengths,
    /// Lengths of teacher completions, after cutting.
    pub teachers: Lengths,
    /// Rows dropped because their prompt is too long.
    pub prompts_too_long: u64,
    /// Completions cut by the limits; their end is not learned.
    pub completions_cut: u64,
    /// Completions whose first token would have merged with the prompt's last.
    pub boundaries_merged: u64,
    /// Rows whose own text holds special tokens, which become control tokens.
    pub special_tokens_in_text: u64,
    /// Share of all tokens (each completion with its prompt) that are learned.
    pub supervised_fraction: f64,
    /// Rows that cannot be encoded.
    pub failed: u64,
    /// The first of their errors.
    pub failures: Vec<String>,
}

/// How many errors a report lists.
const LISTED: usize = 10;

/// What one row adds to the report.
#[derive(Default)]
struct Findings {
    prompt_hash: u64,
    row_hash: u64,
    completions: usize,
    special: bool,
    too_long: bool,
    error: Option<String>,
    prompt: Option<usize>,
    experts: Vec<usize>,
    teachers: Vec<usize>,
    cut: u64,
    merged: u64,
    supervised: u64,
    tokens: u64,
}

impl DatasetReport {
    /// Looks at the first `limit` rows (all if `None`).
    ///
    /// # Errors
    /// A row that cannot be read any more; rows that cannot be encoded are counted and listed.
    pub fn new(set: &Dataset, encoder: Option<&Encoder>, limit: Option<u64>) -> Result<Self> {
        let mut report = Self {
            description: set.description(),
            encoding: encoder.map(Encoder::description).unwrap_or_default(),
            rows: set.len(),
            dropped: set.dropped().len() as u64,
            sampled: limit.unwrap_or(u64::MAX).min(set.len()),
            gold: set.gold_rules().iter().map(|(rule, n)| (rule.to_string(), *n)).collect(),
            without_gold: set.without_gold(),
            unit: if encoder.is_some() { "tokens" } else { "characters" },
            ..Self::default()
        };
        let (mut prompts, mut rows) = (HashSet::new(), HashSet::new());
        let (mut lengths, mut supervised, mut tokens) = ([const { Vec::new() }; 3], 0, 0);
        let findings: Vec<Findings> = (0..report.sampled)
            .into_par_iter()
            .map(|i| Ok(look(&set.row(i)?, encoder)))
            .collect::<Result<_>>()?;
        for found in findings {
            report.duplicate_prompts += u64::from(!prompts.insert(found.prompt_hash));
            report.duplicate_rows += u64::from(!rows.insert(found.row_hash));
            report.without_completion += u64::from(found.completions == 0);
            report.special_tokens_in_text += u64::from(found.special);
            report.prompts_too_long += u64::from(found.too_long);
            report.completions_cut += found.cut;
            report.boundaries_merged += found.merged;
            supervised += found.supervised;
            tokens += found.tokens;
            lengths[0].extend(found.prompt);
            lengths[1].extend(found.experts);
            lengths[2].extend(found.teachers);
            if let Some(error) = found.error {
                report.failed += 1;
                if report.failures.len() < LISTED {
                    report.failures.push(error);
                }
            }
        }
        let [prompts, experts, teachers] = lengths;
        report.prompts = Lengths::of(prompts);
        report.experts = Lengths::of(experts);
        report.teachers = Lengths::of(teachers);
        report.supervised_fraction = if tokens == 0 { 0.0 } else { supervised as f64 / tokens as f64 };
        Ok(report)
    }
}

fn look(row: &Row, encoder: Option<&Encoder>) -> Findings {
    let prompt = row.prompt.text();
    let mut found = Findings { completions: row.expert.len() + row.teachers.len(), ..Findings::default() };
    found.prompt_hash = hash(&prompt);
    let contents: Vec<&str> = row.expert.iter().chain(&row.teachers).map(|c| c.content.as_str()).collect();
    found.row_hash = hash(&(&prompt, &contents));
    let Some(encoder) = encoder else {
        found.prompt = Some(prompt.chars().count());
        found.experts = row.expert.iter().map(|c| c.content.chars().count()).collect();
        found.teachers = row.teachers.iter().map(|c| c.content.chars().count()).collect();
        return found;
    };
    let specials = encoder.tokenizer().specials().all();
    found.special = specials.iter().any(|s| prompt.contains(s) || contents.iter().any(|c| c.contains(s)));
    match encoder.row(row) {
        Ok(Encode::Kept(encoded)) => measure(&mut found, &encoded),
        Ok(Encode::PromptTooLong { .. }) => found.too_long = true,
        Err(error) => found.error = Some(error.to_string()),
    }
    found
}

fn measure(found: &mut Findings, row: &EncodedRow) {
    found.prompt = Some(row.prompt.ids.len());
    found.experts = row.expert.iter().map(|c| c.ids.len()).collect();
    found.teachers = row.teachers.iter().map(|c| c.ids.len()).collect();
    let all = || row.expert.iter().chain(&row.teachers);
    let count = |what: fn(&EncodedCompletion) -> bool| all().filter(|c| what(c)).count() as u64;
    found.cut = count(|c| c.truncated);
    found.merged = count(|c| c.boundary_merged);
    found.supervised = all().map(|c| c.supervised.iter().filter(|&&s| s).count() as u64).sum();
    found.tokens = all().map(|c| (row.prompt.ids.len() + c.ids.len()) as u64).sum();
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
