//! What one row adds to the report.

use crate::{Encode, EncodedRow, Encoder, Row};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What one row adds to the report.
#[derive(Default)]
pub(super) struct Findings {
    /// `None` where there is no prompt.
    pub prompt_hash: Option<u64>,
    pub row_hash: u64,
    pub completions: usize,
    pub special: bool,
    pub too_long: bool,
    pub continued: bool,
    pub error: Option<String>,
    pub prompt: Option<u32>,
    pub experts: Vec<u32>,
    pub teachers: Vec<u32>,
    pub cut: u64,
    pub merged: u64,
    pub supervised: u64,
    pub tokens: u64,
}

/// Looks at a row with an encoder and the same without limits, else at its characters.
pub(super) fn look(row: &Row, encoders: Option<(&Encoder, &Encoder)>) -> Findings {
    let prompt = row.prompt.text();
    let mut found = Findings { completions: row.expert.len() + row.teachers.len(), ..Findings::default() };
    found.prompt_hash = (!prompt.is_empty()).then(|| hash(&prompt));
    let contents: Vec<&str> = row.expert.iter().chain(&row.teachers).map(|c| c.content.as_str()).collect();
    found.row_hash = hash(&(&prompt, &contents));
    let Some((encoder, whole)) = encoders else {
        let characters = |text: &str| length(text.chars().count());
        found.prompt = Some(characters(&prompt));
        found.experts = row.expert.iter().map(|c| characters(&c.content)).collect();
        found.teachers = row.teachers.iter().map(|c| characters(&c.content)).collect();
        return found;
    };
    found.continued = encoder.continues(&row.prompt);
    let specials = encoder.tokenizer().specials().all();
    found.special = specials.iter().any(|s| prompt.contains(s) || contents.iter().any(|c| c.contains(s)));
    match whole.row(row) {
        Ok(Encode::Kept(encoded)) => measure(&mut found, encoder, &encoded),
        // There is no limit that it could be above.
        Ok(Encode::PromptTooLong { .. }) => found.too_long = true,
        Err(error) => found.error = Some(error.to_string()),
    }
    found
}

fn measure(found: &mut Findings, encoder: &Encoder, row: &EncodedRow) {
    let prompt = row.prompt.ids.len();
    found.prompt = Some(length(prompt));
    found.experts = row.expert.iter().map(|c| length(c.ids.len())).collect();
    found.teachers = row.teachers.iter().map(|c| length(c.ids.len())).collect();
    let all = || row.expert.iter().chain(&row.teachers);
    found.merged = all().filter(|c| c.boundary_merged).count() as u64;
    if encoder.prompt_limit(prompt).is_some() {
        found.too_long = true;
        return;
    }
    let limit = encoder.completion_limit(prompt);
    found.cut = all().filter(|c| c.ids.len() > limit).count() as u64;
    found.supervised = all().map(|c| c.supervised.iter().take(limit).filter(|&&s| s).count() as u64).sum();
    found.tokens = all().map(|c| (prompt + c.ids.len().min(limit)) as u64).sum();
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
