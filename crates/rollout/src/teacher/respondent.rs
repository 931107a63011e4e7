//! Someone whose answers are wanted: a teacher or the policy, with all that its questions are made of.

use std::collections::HashSet;

use gft_data::{Completion, Dataset, Row};
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::{Answer, Cache, Framing, Question, Sampling, TeacherError, Usage};

/// A teacher, or the policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Respondent {
    /// Its name in group rows.
    pub name: String,
    /// Its name where it is asked.
    pub model: String,
    /// Where it is: an address, or what identifies a folder's weights.
    pub place: String,
    /// What a group row says of that place.
    pub origin: (&'static str, String),
    /// What is put around a row's prompt.
    pub framing: Framing,
    /// How it draws.
    pub sampling: Sampling,
    /// Answers to each prompt.
    pub n: usize,
}

/// What a cache lacks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Census {
    /// Rows with answers missing, each question once.
    pub lacking: Vec<u64>,
    /// Rows that ask nothing.
    pub without_question: u64,
    /// Rows whose question an earlier row asks too: one answer serves both.
    pub repeated: u64,
    /// Answers that are there.
    pub cached: u64,
    /// Answers that are missing.
    pub missing: u64,
    /// Tokens that the missing ones cost at most, a request for each row.
    pub at_most: Usage,
}

/// Rows that are looked at together.
const PIECE: u64 = 1024;

impl Respondent {
    /// What it is asked about a row; `None` where the row has nothing to respond to.
    pub fn question(&self, row: &Row) -> Option<Question> {
        let messages = self.framing.messages(row)?;
        let (place, model, sampling) = (self.place.clone(), self.model.clone(), self.sampling.clone());
        Some(Question { place, model, messages, sampling })
    }

    /// Looks for the answers to the first `rows` rows of a data set.
    ///
    /// # Errors
    /// A row that cannot be read any more.
    pub fn census(&self, data: &Dataset, rows: u64, cache: &Cache) -> Result<Census, TeacherError> {
        let (mut census, mut seen) = (Census::default(), HashSet::new());
        for start in (0..rows).step_by(PIECE as usize) {
            let looked: Vec<_> = (start..(start + PIECE).min(rows))
                .into_par_iter()
                .map(|index| {
                    let Some(question) = self.question(&data.row(index)?) else { return Ok(None) };
                    let missing = (0..self.n).filter(|&k| !cache.has(&question, k)).count();
                    Ok(Some((index, question.key(0), missing, question.at_most(missing))))
                })
                .collect::<Result<_, TeacherError>>()?;
            for found in looked {
                let Some((index, key, missing, at_most)) = found else {
                    census.without_question += 1;
                    continue;
                };
                if !seen.insert(key) {
                    census.repeated += 1;
                    continue;
                }
                census.cached += (self.n - missing) as u64;
                if missing > 0 {
                    census.missing += missing as u64;
                    census.lacking.push(index);
                    census.at_most.prompt_tokens += at_most.prompt_tokens;
                    census.at_most.completion_tokens += at_most.completion_tokens;
                }
            }
        }
        Ok(census)
    }

    /// All answers to a question; `None` if one is missing.
    pub(super) fn answers(
        &self,
        cache: &Cache,
        question: &Question,
    ) -> Result<Option<Vec<Answer>>, TeacherError> {
        (0..self.n).map(|k| cache.get(question, k)).collect()
    }

    /// Answer `k` as a group row has it. `verified` is the verifier's word; `None` where it has none.
    pub(super) fn completion(&self, k: usize, answer: Answer, verified: Option<bool>) -> Completion {
        let sampling = &self.sampling;
        let mut provenance = Map::new();
        let mut say = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                provenance.insert(key.into(), value);
            }
        };
        say("verified", Some(verified.into()));
        say("finish_reason", answer.finish_reason.map(Value::from));
        say("sample", Some(k.into()));
        // A server gets a seed for each sample; a folder draws sample k of its seed.
        let step = if self.origin.0 == "endpoint" { k as u64 } else { 0 };
        say("seed", sampling.seed.map(|seed| seed.wrapping_add(step).into()));
        say("temperature", sampling.temperature.map(Value::from));
        say("top_p", sampling.top_p.map(Value::from));
        // A server counts the tokens of a request: those of one answer are known where it gave one.
        say("tokens", answer.usage.filter(|_| answer.of == 1).map(|usage| usage.completion_tokens.into()));
        say(self.origin.0, Some(self.origin.1.as_str().into()));
        say("reasoning", answer.reasoning.map(Value::from));
        Completion { model: Some(self.name.clone()), provenance, ..Completion::text(answer.content) }
    }
}
