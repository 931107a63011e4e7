//! Layouts: which columns of which data sets mean what.

use super::columns::ColumnMap;
use serde_json::{Map, Value};
use std::fmt;

/// A known layout of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `prompt`, `solution`, `expert_completions`?, `teacher_completions`.
    Groups,
    /// `prompt` (messages), `reward_model.ground_truth`, `extra_info.answer`.
    Verl,
    /// `problem`, `solution`, `answer`?.
    ProblemSolution,
    /// `question`, `answer`.
    QuestionAnswer,
    /// `prompt`, `completion`.
    PromptCompletion,
    /// `prompt`, `chosen`, `rejected`: the chosen one as expert, the rejected one as teacher.
    Preference,
    /// `prompt`, `solution` or `answer`.
    PromptSolution,
    /// `instruction`, `input`?, `output`.
    Alpaca,
    /// `query`, `response`.
    QueryResponse,
    /// `messages`.
    Messages,
    /// `conversations` of `from` and `value` (or `role` and `content`).
    ShareGpt,
    /// `prompt` alone.
    PromptOnly,
    /// `text` alone.
    Text,
    /// Columns named by the user alone.
    Mapped,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Groups => "groups (prompt, solution, teacher_completions)",
            Self::Verl => "verl (prompt, reward_model, extra_info)",
            Self::ProblemSolution => "problem/solution",
            Self::QuestionAnswer => "question/answer",
            Self::PromptCompletion => "prompt/completion",
            Self::Preference => "preference (prompt, chosen as expert, rejected as teacher)",
            Self::PromptSolution => "prompt/solution",
            Self::Alpaca => "alpaca (instruction, input, output)",
            Self::QueryResponse => "query/response",
            Self::Messages => "messages",
            Self::ShareGpt => "ShareGPT (conversations)",
            Self::PromptOnly => "prompt only",
            Self::Text => "text",
            Self::Mapped => "columns as mapped",
        })
    }
}

impl Layout {
    /// The layout of rows with the keys of `row`, and its columns. The order matters: a NuminaMath row has both `problem`
    /// and `messages`, and the first is the better source.
    pub(super) fn detect(row: &Map<String, Value>) -> Option<(Self, ColumnMap)> {
        let has = |key: &str| row.get(key).is_some_and(|v| !v.is_null());
        let some = |key: &str| row.contains_key(key).then(|| key.to_string());
        let first = |keys: &[&str]| keys.iter().find(|key| has(key)).map(|key| (*key).to_string());
        let id = first(&["id", "unique_id", "uuid"]);
        let is = |layout, columns: ColumnMap| {
            Some((layout, ColumnMap { id: columns.id.clone().or_else(|| id.clone()), ..columns }))
        };
        let named = |prompt: &str| ColumnMap { prompt: Some(prompt.into()), ..ColumnMap::default() };
        let solution = first(&["solution", "answer", "gold", "final_answer"]);
        // Beside a conversation only what can be a reference counts as one.
        let reference = |key: &str| {
            let text = |v: &Value| v.is_string() || v.is_number();
            row.get(key).is_some_and(text).then(|| key.to_string())
        };
        let beside = || ColumnMap {
            solution: reference("solution"),
            answer: reference("answer"),
            ..ColumnMap::default()
        };
        let answer =
            || first(&["answer", "final_answer", "gold"]).filter(|key| Some(key) != solution.as_ref());
        if has("prompt") && (has("teacher_completions") || has("expert_completions")) {
            return is(
                Layout::Groups,
                ColumnMap {
                    solution: some("solution"),
                    answer: some("answer"),
                    expert: some("expert_completions"),
                    teachers: some("teacher_completions"),
                    ..named("prompt")
                },
            );
        }
        if has("prompt") && has("reward_model") {
            return is(
                Layout::Verl,
                ColumnMap {
                    id: at(row, "extra_info.id").map(|_| "extra_info.id".to_string()),
                    answer: Some("reward_model.ground_truth".into()),
                    solution: Some("extra_info.answer".into()),
                    ..named("prompt")
                },
            );
        }
        if has("problem") && solution.is_some() {
            return is(Layout::ProblemSolution, ColumnMap { answer: answer(), solution, ..named("problem") });
        }
        if has("question") && (solution.is_some() || has("response")) {
            let expert = some("response");
            return is(
                Layout::QuestionAnswer,
                ColumnMap { answer: answer(), solution, expert, ..named("question") },
            );
        }
        if has("prompt") && has("completion") {
            let columns = ColumnMap {
                expert: some("completion"),
                solution: some("solution"),
                answer: some("answer"),
                ..named("prompt")
            };
            return is(Layout::PromptCompletion, columns);
        }
        if has("prompt") && has("chosen") && has("rejected") {
            let columns = ColumnMap { expert: some("chosen"), teachers: some("rejected"), ..named("prompt") };
            return is(Layout::Preference, columns);
        }
        if has("prompt") && solution.is_some() {
            return is(Layout::PromptSolution, ColumnMap { answer: answer(), solution, ..named("prompt") });
        }
        if has("instruction") && row.contains_key("output") {
            let columns = ColumnMap {
                input: some("input"),
                system: some("system"),
                expert: some("output"),
                prompt: Some("instruction".into()),
                ..beside()
            };
            return is(Layout::Alpaca, columns);
        }
        if has("query") && has("response") {
            return is(
                Layout::QueryResponse,
                ColumnMap { expert: some("response"), prompt: Some("query".into()), ..beside() },
            );
        }
        if has("messages") {
            return is(Layout::Messages, ColumnMap { messages: some("messages"), ..beside() });
        }
        if has("conversations") {
            let columns = ColumnMap { messages: some("conversations"), system: some("system"), ..beside() };
            return is(Layout::ShareGpt, columns);
        }
        if let Some(prompt) = first(&["prompt", "question", "problem", "instruction", "query"]) {
            return is(Layout::PromptOnly, named(&prompt));
        }
        if has("text") {
            return is(Layout::Text, ColumnMap { text: some("text"), ..ColumnMap::default() });
        }
        None
    }
}

/// The value at a key or, if there is no such key, at a dotted path; null counts as absent.
pub(super) fn at<'a>(row: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let found = match row.get(path) {
        Some(value) => Some(value),
        None => {
            let mut parts = path.split('.');
            let first = row.get(parts.next()?)?;
            parts.try_fold(first, |value, key| value.get(key))
        }
    };
    found.filter(|v| !v.is_null())
}
