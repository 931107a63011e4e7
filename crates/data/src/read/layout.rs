//! Layouts: which columns of which data sets mean what.

use serde_json::{Map, Value};
use std::fmt;

/// Names of columns, each a key or a dotted path (`reward_model.ground_truth`). What is set wins over detection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMap {
    /// A question (text) or messages.
    pub prompt: Option<String>,
    /// A second part of the question, put below it (alpaca's `input`).
    pub input: Option<String>,
    /// A system message.
    pub system: Option<String>,
    /// A whole conversation; the last assistant turn is the completion.
    pub messages: Option<String>,
    /// The reference solution.
    pub solution: Option<String>,
    /// The gold answer.
    pub answer: Option<String>,
    /// A demonstration, or a list of them.
    pub expert: Option<String>,
    /// A list of responses of other models.
    pub teachers: Option<String>,
    /// Text without a prompt.
    pub text: Option<String>,
    /// The row's id.
    pub id: Option<String>,
}

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
        let is = |layout, columns: ColumnMap| Some((layout, ColumnMap { id, ..columns }));
        let named = |prompt: &str| ColumnMap { prompt: Some(prompt.into()), ..ColumnMap::default() };
        let solution = first(&["solution", "answer", "gold", "final_answer"]);
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
                ..named("instruction")
            };
            return is(Layout::Alpaca, columns);
        }
        if has("query") && has("response") {
            return is(Layout::QueryResponse, ColumnMap { expert: some("response"), ..named("query") });
        }
        if has("messages") {
            return is(Layout::Messages, ColumnMap { messages: some("messages"), ..ColumnMap::default() });
        }
        if has("conversations") {
            let columns =
                ColumnMap { messages: some("conversations"), system: some("system"), ..ColumnMap::default() };
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

impl ColumnMap {
    /// These names, those of `other` where there is none.
    pub(super) fn or(&self, other: &Self) -> Self {
        let pick = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
        Self {
            prompt: pick(&self.prompt, &other.prompt),
            input: pick(&self.input, &other.input),
            system: pick(&self.system, &other.system),
            messages: pick(&self.messages, &other.messages),
            solution: pick(&self.solution, &other.solution),
            answer: pick(&self.answer, &other.answer),
            expert: pick(&self.expert, &other.expert),
            teachers: pick(&self.teachers, &other.teachers),
            text: pick(&self.text, &other.text),
            id: pick(&self.id, &other.id),
        }
    }

    /// Role and name of each column that is set.
    pub(super) fn named(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("prompt", &self.prompt),
            ("input", &self.input),
            ("system", &self.system),
            ("messages", &self.messages),
            ("solution", &self.solution),
            ("answer", &self.answer),
            ("expert", &self.expert),
            ("teachers", &self.teachers),
            ("text", &self.text),
            ("id", &self.id),
        ];
        all.into_iter().filter_map(|(role, name)| Some((role, name.as_deref()?))).collect()
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
