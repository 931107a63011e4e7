//! A row in the columns of each layout, or why the layout cannot hold it.

use super::{ConvertOptions, Object};
use crate::{Completion, Message, Prompt, Row, find_gold};
use serde_json::{Map, Value, json};
use std::fmt;
use std::str::FromStr;

/// A layout that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This project's rows: `prompt`, `expert_completions`, `teacher_completions`, `solution`, `answer`. Holds everything.
    Group,
    /// `messages`.
    Messages,
    /// `prompt`, `completion`: texts or lists of messages.
    PromptCompletion,
    /// verl's `data_source`, `prompt`, `ability`, `reward_model`, `extra_info`.
    Verl,
    /// `instruction`, `input`, `output`, `system`.
    Alpaca,
    /// `conversations` of `from` and `value`.
    ShareGpt,
    /// `question`, `answer` (GSM8K).
    QuestionAnswer,
    /// `problem`, `solution`, `answer` (MATH, NuminaMath).
    ProblemSolution,
}

impl Target {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 8] = [
        ("group", Self::Group),
        ("messages", Self::Messages),
        ("prompt-completion", Self::PromptCompletion),
        ("verl", Self::Verl),
        ("alpaca", Self::Alpaca),
        ("sharegpt", Self::ShareGpt),
        ("question-answer", Self::QuestionAnswer),
        ("problem-solution", Self::ProblemSolution),
    ];
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, target)| target == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.replace('_', "-");
        let found = Self::ALL.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, target)| *target).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name);
            format!("unknown layout {text:?}; known are {}", names.join(", "))
        })
    }
}

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its number in the data set, from 0.
    pub index: u64,
    /// Whether its id comes from a column.
    pub own_id: bool,
}

/// A row's columns, or why there are none.
type Columns = Result<Object, String>;

impl Target {
    /// The row in this layout. What it leaves out without a word (teachers, names of models, columns whose names are
    /// taken) shows when the file is read back.
    pub(super) fn object(self, row: &Row, place: Place, options: &ConvertOptions) -> Columns {
        let own_id = place.own_id;
        let mut object = match self {
            Self::Group => {
                let mut object = row.to_json();
                if !own_id {
                    object.shift_remove("id");
                }
                // A column has one type: a completion of text alone is an object too.
                for key in ["expert_completions", "teacher_completions"] {
                    let list = object.get_mut(key).and_then(Value::as_array_mut);
                    for completion in list.into_iter().flatten().filter(|completion| completion.is_string()) {
                        *completion = json!({"content": completion.take()});
                    }
                }
                return Ok(object);
            }
            Self::Verl => return verl(row, place, options),
            Self::Messages => {
                let mut messages = conversation(row)?;
                if let Some(expert) = row.expert.first() {
                    messages.extend(turn(expert));
                }
                of("messages", listed(&messages))
            }
            Self::PromptCompletion => prompt_completion(row)?,
            Self::Alpaca => alpaca(row)?,
            Self::ShareGpt => sharegpt(row)?,
            Self::QuestionAnswer => question_answer(row)?,
            Self::ProblemSolution => problem_solution(row)?,
        };
        let references = !matches!(self, Self::QuestionAnswer | Self::ProblemSolution);
        if references {
            let parts = [("solution", &row.solution), ("answer", &row.gold)];
            for (key, value) in parts.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))) {
                object.insert(key.into(), value.into());
            }
        }
        if own_id {
            object.insert("id".into(), row.id.as_str().into());
        }
        for (key, value) in &row.columns {
            object.entry(key.clone()).or_insert_with(|| value.clone());
        }
        Ok(object)
    }
}

fn of(key: &str, value: Value) -> Object {
    Map::from_iter([(key.to_owned(), value)])
}

fn listed(messages: &[Message]) -> Value {
    messages.iter().map(|message| Value::Object(message.0.clone())).collect()
}

/// The prompt as messages.
fn conversation(row: &Row) -> Result<Vec<Message>, String> {
    match &row.prompt {
        Prompt::Question(text) => Ok(vec![Message::user(text)]),
        Prompt::Messages(messages) => Ok(messages.clone()),
        Prompt::Text(text) if text.is_empty() => Err("a text without prompt is no conversation".into()),
        Prompt::Text(_) => {
            Err("the prompt is text that the completion continues as it stands, not a user's question \
                                (--questions makes it one)"
                .into())
        }
    }
}

/// The messages of a completion.
fn turn(completion: &Completion) -> Vec<Message> {
    match completion.messages.as_slice() {
        [] => vec![Message::assistant(&completion.content)],
        turn => turn.to_vec(),
    }
}

/// The prompt where it is one question, and its system message.
fn question(row: &Row) -> Result<(Option<&str>, &str), String> {
    let text = |message: &'_ Message| message.0.len() == 2 && message.content().is_some();
    match &row.prompt {
        Prompt::Question(question) => Ok((None, question)),
        Prompt::Messages(messages) => match messages.as_slice() {
            [user] if user.role() == "user" && text(user) => Ok((None, user.content().unwrap_or_default())),
            [system, user]
                if system.role() == "system" && user.role() == "user" && text(system) && text(user) =>
            {
                Ok((system.content(), user.content().unwrap_or_default()))
            }
            _ => Err("the prompt is a conversation of several turns".into()),
        },
        Prompt::Text(_) => conversation(row).map(|_| (None, "")),
    }
}

/// A completion where it is text alone.
fn text(completion: &Completion) -> Result<&str, String> {
    if completion.messages.is_empty() {
        return Ok(&completion.content);
    }
    Err("the completion has more than text (tool calls, reasoning, several messages)".into())
}

fn expert(row: &Row) -> Result<&Completion, String> {
    row.expert.first().ok_or_else(|| "there is no expert completion".into())
}

fn prompt_completion(row: &Row) -> Columns {
    let expert = expert(row)?;
    let (prompt, completion) = match &row.prompt {
        Prompt::Text(text) if text.is_empty() => return Err("a text without prompt".into()),
        Prompt::Text(prompt) => (prompt.as_str().into(), text(expert)?.into()),
        _ => (listed(&conversation(row)?), listed(&turn(expert))),
    };
    Ok(Map::from_iter([("prompt".to_owned(), prompt), ("completion".to_owned(), completion)]))
}

fn alpaca(row: &Row) -> Columns {
    let (system, question) = question(row)?;
    let output = text(expert(row)?)?;
    let mut object = Map::from_iter([
        ("instruction".to_owned(), Value::from(question)),
        ("input".to_owned(), "".into()),
        ("output".to_owned(), output.into()),
    ]);
    if let Some(system) = system {
        object.insert("system".into(), system.into());
    }
    Ok(object)
}

fn sharegpt(row: &Row) -> Columns {
    let mut messages = conversation(row)?;
    if let Some(expert) = row.expert.first() {
        messages.extend(turn(expert));
    }
    let said = |message: &Message| -> Result<Value, String> {
        let from = match message.role() {
            "user" => "human",
            "assistant" => "gpt",
            "system" => "system",
            "tool" => "observation",
            other => return Err(format!("there is no speaker for the role {other:?}")),
        };
        match message.content() {
            Some(text) if message.0.len() == 2 => Ok(json!({"from": from, "value": text})),
            _ => Err(format!(
                "a message of {} has more than text (tool calls, reasoning, images)",
                message.role()
            )),
        }
    };
    let conversation = messages.iter().map(said).collect::<Result<Value, String>>()?;
    Ok(of("conversations", conversation))
}

fn question_answer(row: &Row) -> Columns {
    let (system, question) = question(row)?;
    if system.is_some() {
        return Err("the prompt has a system message".into());
    }
    let mut object = of("question", question.into());
    let expert = row.expert.first().map(text).transpose()?;
    match (&row.solution, &row.gold) {
        (Some(solution), gold) => {
            let found = find_gold(solution).map(|(answer, _)| answer);
            if gold.is_none() || *gold == found {
                object.insert("answer".into(), solution.as_str().into());
            } else {
                object.insert("solution".into(), solution.as_str().into());
                object.insert("answer".into(), gold.as_deref().into());
            }
            if let Some(expert) = expert.filter(|expert| expert != solution) {
                object.insert("response".into(), expert.into());
            }
        }
        (None, Some(gold)) => {
            object.insert("answer".into(), gold.as_str().into());
            if let Some(expert) = expert {
                object.insert("response".into(), expert.into());
            }
        }
        (None, None) => {
            let expert = expert.ok_or("there is neither a solution nor an answer")?;
            object.insert("answer".into(), expert.into());
        }
    }
    Ok(object)
}

fn problem_solution(row: &Row) -> Columns {
    let (system, question) = question(row)?;
    if system.is_some() {
        return Err("the prompt has a system message".into());
    }
    let expert = row.expert.first().map(text).transpose()?;
    let solution = row.solution.as_deref().or(expert).ok_or("there is no solution")?;
    let mut object = of("problem", question.into());
    object.insert("solution".into(), solution.into());
    if let Some(gold) = &row.gold {
        object.insert("answer".into(), gold.as_str().into());
    }
    Ok(object)
}

/// verl's columns in verl's order. What a row brings of them is kept; its other columns go into `extra_info`.
fn verl(row: &Row, place: Place, options: &ConvertOptions) -> Columns {
    let messages = conversation(row)?;
    let gold = row.gold.as_deref().ok_or("there is no reference answer for reward_model.ground_truth")?;
    let column = |name: &str| row.columns.get(name).filter(|value| !value.is_null()).cloned();
    let asked = messages.iter().rev().find(|message| message.role() == "user").and_then(Message::content);
    let mut extra = match column("extra_info") {
        Some(Value::Object(extra)) => extra,
        _ => Map::from_iter([
            ("split".to_owned(), options.split.as_str().into()),
            ("index".to_owned(), place.index.into()),
            ("answer".to_owned(), row.solution.as_deref().or(row.expert.first().map(|e| &*e.content)).into()),
            ("question".to_owned(), asked.into()),
        ]),
    };
    if place.own_id {
        extra.insert("id".into(), row.id.as_str().into());
    }
    let verls = ["data_source", "prompt", "ability", "reward_model", "extra_info"];
    for (key, value) in row.columns.iter().filter(|(key, _)| !verls.contains(&key.as_str())) {
        extra.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let judged = json!({"style": "rule", "ground_truth": gold});
    Ok(Map::from_iter([
        (
            "data_source".to_owned(),
            column("data_source").unwrap_or_else(|| options.data_source.as_str().into()),
        ),
        ("prompt".to_owned(), listed(&messages)),
        ("ability".to_owned(), column("ability").unwrap_or_else(|| "math".into())),
        ("reward_model".to_owned(), column("reward_model").unwrap_or(judged)),
        ("extra_info".to_owned(), Value::Object(extra)),
    ]))
}
