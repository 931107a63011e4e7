//! What is in a data set, in numbers and token by token: to be looked at before a run is paid for.

mod lengths;
mod look;
mod view;

use crate::{Dataset, EncodeOptions, Encoder, FileSummary, Result};
pub use lengths::{Bin, Lengths};
use look::{Findings, look};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
pub use view::{TokenRole, TokenView};

/// Statistics of a data set, with an encoder those of its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatasetReport {
    /// What was detected in each file.
    pub files: Vec<FileSummary>,
    /// Files of the same folders that were left out because they are of other splits.
    pub left_out: Vec<PathBuf>,
    /// Template, end of turn, system prompt; empty without an encoder.
    pub encoding: String,
    /// Usable rows.
    pub rows: u64,
    /// Rows left out when reading.
    pub dropped: u64,
    /// Why, the most frequent reason first.
    pub drop_reasons: Vec<DropReason>,
    /// What is easily overlooked.
    pub notes: Vec<String>,
    /// Rows looked at for what follows: all, or as many as asked for.
    pub sampled: u64,
    /// Rows whose prompt stood in an earlier row.
    pub duplicate_prompts: u64,
    /// Rows whose prompt and completions stood in an earlier row.
    pub duplicate_rows: u64,
    /// Rows whose prompt is continued as it stands, without any template; 0 without an encoder.
    pub continued_prompts: u64,
    /// Rows by the rule that found their gold answer.
    pub gold: BTreeMap<String, u64>,
    /// Rows without a gold answer: nothing can verify a response to them.
    pub without_gold: u64,
    /// Rows without any completion.
    pub without_completion: u64,
    /// "tokens" with an encoder, else "characters".
    pub unit: &'static str,
    /// Lengths of prompts.
    pub prompts: Lengths,
    /// Lengths of expert completions, whole.
    pub experts: Lengths,
    /// Lengths of teacher completions, whole.
    pub teachers: Lengths,
    /// Lengths of each completion with its prompt, whole.
    pub totals: Lengths,
    /// The limits that the next two count by.
    pub limits: Limits,
    /// Rows dropped because their prompt is too long.
    pub prompts_too_long: u64,
    /// Completions of the other rows that the limits cut; the end of a cut one is not learned.
    pub completions_cut: u64,
    /// Completions whose first token would have merged with the prompt's last.
    pub boundaries_merged: u64,
    /// Rows whose own text holds special tokens, which become control tokens.
    pub special_tokens_in_text: u64,
    /// Tokens that are learned, within the limits.
    pub supervised_tokens: u64,
    /// Share of all tokens (each completion with its prompt, within the limits) that are learned.
    pub supervised_fraction: f64,
    /// Rows that cannot be encoded.
    pub failed: u64,
    /// The first of their errors.
    pub failures: Vec<String>,
}

/// Rows that were left out for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropReason {
    /// How many.
    pub count: u64,
    /// What was wrong with the first.
    pub reason: String,
    /// Where the first ones stand.
    pub places: Vec<Location>,
}

/// A row's place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// Its line or row number, from 1.
    pub line: u64,
}

/// Bounds in tokens, `None` for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Of a prompt.
    pub max_prompt_length: Option<usize>,
    /// Of a completion.
    pub max_completion_length: Option<usize>,
    /// Of both together.
    pub max_length: Option<usize>,
}

impl Limits {
    fn of(options: &EncodeOptions) -> Self {
        Self {
            max_prompt_length: options.max_prompt_tokens,
            max_completion_length: options.max_completion_tokens,
            max_length: options.max_length,
        }
    }
}

/// How many rows a report names that were left out for the same reason.
const PLACES: usize = 5;
/// How many errors a report lists.
const LISTED: usize = 10;
/// Rows that are looked at together: memory does not grow with the file but by a few bytes a row.
const PIECE: u64 = 2048;

impl DatasetReport {
    /// Looks at the first `limit` rows (all if `None`). `progress` is told of rows read and of all there are.
    ///
    /// # Errors
    /// A row that cannot be read any more; rows that cannot be encoded are counted and listed.
    pub fn new(
        set: &Dataset,
        encoder: Option<&Encoder>,
        limit: Option<u64>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let mut report = Self {
            files: set.files(),
            left_out: set.left_out().to_vec(),
            encoding: encoder.map(Encoder::description).unwrap_or_default(),
            rows: set.len(),
            dropped: set.dropped().len() as u64,
            drop_reasons: drop_reasons(set),
            sampled: limit.unwrap_or(u64::MAX).min(set.len()),
            gold: set.gold_rules().iter().map(|(rule, n)| (rule.to_string(), *n)).collect(),
            without_gold: set.without_gold(),
            unit: if encoder.is_some() { "tokens" } else { "characters" },
            limits: encoder.map(|encoder| Limits::of(encoder.options())).unwrap_or_default(),
            ..Self::default()
        };
        // Lengths are those of the whole texts; what the limits do to them is counted beside.
        let whole = encoder.map(Encoder::without_limits);
        let mut seen = Seen::default();
        for start in (0..report.sampled).step_by(PIECE as usize) {
            progress(start, report.sampled);
            let piece = start..(start + PIECE).min(report.sampled);
            let look = |i| Ok(look(&set.row(i)?, encoder.zip(whole.as_ref())));
            let findings: Vec<Findings> = piece.into_par_iter().map(look).collect::<Result<_>>()?;
            findings.into_iter().for_each(|found| report.add(found, &mut seen));
        }
        let note = encoder.and_then(|e| e.continued_note(report.continued_prompts, report.sampled));
        report.notes.extend(note);
        report.prompts = Lengths::of(seen.prompts);
        report.experts = Lengths::of(seen.experts);
        report.teachers = Lengths::of(seen.teachers);
        report.totals = Lengths::of(seen.totals);
        if seen.tokens > 0 {
            report.supervised_fraction = report.supervised_tokens as f64 / seen.tokens as f64;
        }
        Ok(report)
    }

    fn add(&mut self, found: Findings, seen: &mut Seen) {
        let again = found.prompt_hash.is_some_and(|hash| !seen.prompt_hashes.insert(hash));
        self.duplicate_prompts += u64::from(again);
        self.duplicate_rows += u64::from(!seen.row_hashes.insert(found.row_hash));
        self.continued_prompts += u64::from(found.continued);
        self.without_completion += u64::from(found.completions == 0);
        self.special_tokens_in_text += u64::from(found.special);
        self.prompts_too_long += u64::from(found.too_long);
        self.completions_cut += found.cut;
        self.boundaries_merged += found.merged;
        self.supervised_tokens += found.supervised;
        seen.tokens += found.tokens;
        if let Some(prompt) = found.prompt {
            seen.prompts.push(prompt);
            let completions = found.experts.iter().chain(&found.teachers);
            seen.totals.extend(completions.map(|length| prompt + length));
        }
        seen.experts.extend(found.experts);
        seen.teachers.extend(found.teachers);
        if let Some(error) = found.error {
            self.failed += 1;
            if self.failures.len() < LISTED {
                self.failures.push(error);
            }
        }
    }
}

/// What is kept of every row until the end.
#[derive(Default)]
struct Seen {
    prompt_hashes: HashSet<u64>,
    row_hashes: HashSet<u64>,
    prompts: Vec<u32>,
    experts: Vec<u32>,
    teachers: Vec<u32>,
    totals: Vec<u32>,
    tokens: u64,
}

/// Reasons that differ in numbers alone, such as a column of a line, are one reason.
fn drop_reasons(set: &Dataset) -> Vec<DropReason> {
    let mut reasons: Vec<(String, DropReason)> = Vec::new();
    for dropped in set.dropped() {
        let key: String = dropped.reason.chars().filter(|c| !c.is_ascii_digit()).collect();
        let place = Location { path: dropped.path.clone(), line: dropped.line };
        match reasons.iter_mut().find(|(known, _)| *known == key) {
            Some((_, reason)) => {
                reason.count += 1;
                if reason.places.len() < PLACES {
                    reason.places.push(place);
                }
            }
            None => {
                let reason = dropped.reason.clone();
                reasons.push((key, DropReason { count: 1, reason, places: vec![place] }));
            }
        }
    }
    let mut reasons: Vec<DropReason> = reasons.into_iter().map(|(_, reason)| reason).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    reasons
}

#[cfg(test)]
mod tests;
