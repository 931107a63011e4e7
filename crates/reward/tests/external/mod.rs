//! Rows and candidates for rewards from outside.

use gft_data::{Prompt, Row};
use gft_reward::{Candidate, Score};
use serde_json::{Map, Value};

/// A row with a reference answer and columns.
pub fn row(prompt: Prompt, gold: &str, columns: Value) -> Row {
    let columns: Map<String, Value> = columns.as_object().cloned().unwrap_or_default();
    Row {
        id: "r1".into(),
        prompt,
        solution: Some(format!("so #### {gold}")),
        gold: Some(gold.into()),
        expert: Vec::new(),
        teachers: Vec::new(),
        columns,
        named: Map::new(),
    }
}

/// A completion of a row.
pub fn candidate<'a>(row: &'a Row, text: &'a str) -> Candidate<'a> {
    Candidate { row, text, tokens: text.len(), truncated: false, demonstration: false }
}

/// Why a score is none.
pub fn why(score: &Score) -> &str {
    match score {
        Score::Failed(why) => why,
        other => panic!("not a failure: {other:?}"),
    }
}
