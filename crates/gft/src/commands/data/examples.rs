//! Rows of a data set as they are learned: each completion's tokens with their roles.

use gft_data::{Completion, Dataset, Encoder, Prompt, Row, TokenView};
use serde::Serialize;

use crate::failure::Failure;

/// One row.
#[derive(Debug, Serialize)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// Its number, from 0.
    pub index: u64,
    /// What the model is given, as it stands in the row.
    pub prompt: Prompt,
    /// The reference answer.
    pub gold: Option<String>,
    /// Its completions, experts first.
    pub completions: Vec<Shown>,
    /// The prompt's tokens where there are no completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<Vec<TokenView>>,
    /// Why there are no tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One completion.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// expert or teacher.
    pub source: &'static str,
    /// Who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its text.
    pub content: String,
    /// Prompt and completion as tokens, with a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<TokenView>>,
}

/// `count` rows spread evenly over the data, the first row first.
///
/// # Errors
/// A row that cannot be read any more.
pub fn examples(data: &Dataset, encoder: Option<&Encoder>, count: u64) -> Result<Vec<Example>, Failure> {
    let count = count.min(data.len());
    (0..count)
        .map(|i| {
            let index = i * data.len() / count;
            Ok(example(data.row(index)?, index, encoder))
        })
        .collect()
}

fn example(row: Row, index: u64, encoder: Option<&Encoder>) -> Example {
    let views = encoder.map(|encoder| encoder.view(&row));
    let (mut tokens, problem) = match views {
        None => (Vec::new(), None),
        Some(Ok(Some(views))) => (views, None),
        Some(Ok(None)) => (Vec::new(), Some("the prompt is too long: this row is dropped".to_owned())),
        Some(Err(error)) => (Vec::new(), Some(error.to_string())),
    };
    let alone = row.expert.is_empty() && row.teachers.is_empty();
    let prompt_tokens = if alone { tokens.pop() } else { None };
    let mut tokens = tokens.into_iter();
    let mut shown = |source, completions: Vec<Completion>| -> Vec<Shown> {
        let one = |c: Completion| Shown { source, model: c.model, content: c.content, tokens: tokens.next() };
        completions.into_iter().map(one).collect()
    };
    let mut completions = shown("expert", row.expert);
    completions.extend(shown("teacher", row.teachers));
    let Row { id, prompt, gold, .. } = row;
    Example { id, index, prompt, gold, completions, prompt_tokens, problem }
}
