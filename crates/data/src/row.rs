//! The row: one prompt, its reference answer, and the completions that came with it.

use crate::{DataError, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation: an object with `role`, mostly `content`, and whatever else a template reads
/// (`tool_calls`, `name` ...), in the order in which the data set wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Message(pub Map<String, Value>);

impl Message {
    /// A message with text content.
    pub fn new(role: &str, content: &str) -> Self {
        Self(Map::from_iter([("role".into(), role.into()), ("content".into(), content.into())]))
    }

    /// A user's message.
    pub fn user(content: &str) -> Self {
        Self::new("user", content)
    }

    /// A model's message.
    pub fn assistant(content: &str) -> Self {
        Self::new("assistant", content)
    }

    /// A system message.
    pub fn system(content: &str) -> Self {
        Self::new("system", content)
    }

    /// The role, empty if there is none.
    pub fn role(&self) -> &str {
        self.0.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// The content if it is a string.
    pub fn content(&self) -> Option<&str> {
        self.0.get("content").and_then(Value::as_str)
    }

    /// Whether the message says itself that it is not to be learned (`"weight": 0`, as OpenAI's files have it).
    pub(crate) fn is_context(&self) -> bool {
        self.0.get("weight").and_then(Value::as_f64) == Some(0.0)
    }

    pub(crate) fn set_content(&mut self, content: String) {
        self.0.insert("content".into(), content.into());
    }
}

/// What the model is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// A user's question: a model with a chat template sees it as a user's message, another one through the plain template.
    Question(String),
    /// A conversation up to the turn that the model has to write.
    Messages(Vec<Message>),
    /// Text that the completion continues as it stands, without any template.
    #[serde(skip_deserializing)]
    Text(String),
}

impl Prompt {
    /// The prompt as one text, for looking at and for finding duplicates; not what the model sees.
    pub fn text(&self) -> String {
        match self {
            Self::Question(text) | Self::Text(text) => text.clone(),
            Self::Messages(messages) => {
                let lines =
                    messages.iter().map(|m| format!("{}: {}", m.role(), m.content().unwrap_or_default()));
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// A response to a prompt that came with the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text of the response.
    pub content: String,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A reward that the data set gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// The messages of the response where it is more than one assistant message with text (tool calls, reasoning).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Whatever else the data set says of it: where it comes from, how it was drawn, why it ended. Nothing here is read by
    /// training; it is written back as it was read.
    #[serde(flatten)]
    pub provenance: Map<String, Value>,
}

impl Completion {
    /// A completion of text alone.
    pub fn text(content: impl Into<String>) -> Self {
        Self { content: content.into(), ..Self::default() }
    }
}

/// The column in which group files keep samples of a policy. Training learns from experts and teachers and draws the
/// policy's completions itself, so to it this is a column like any other.
pub const POLICY_COMPLETIONS: &str = "policy_completions";

/// One row of a data set.
#[derive(Clone, Debug)]
pub struct Row {
    /// The row's own id, else `file stem:line`. Not promised to be unique.
    pub id: String,
    /// What the model is given.
    pub prompt: Prompt,
    /// The reference as the data set writes it: a worked solution or a bare answer.
    pub solution: Option<String>,
    /// The reference answer taken out of it, for the verifier.
    pub gold: Option<String>,
    /// Demonstrations to learn from.
    pub expert: Vec<Completion>,
    /// Responses of other models, right or wrong.
    pub teachers: Vec<Completion>,
    /// All other columns, for reward functions.
    pub columns: Map<String, Value>,
    /// Columns that have a role beside the prompt, as the file has them and under their own names: a reward function that
    /// was written for the file asks for them by these.
    pub named: Map<String, Value>,
}

/// Rows are the same if they say the same, under whatever names their files have it.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, prompt, solution, gold, expert, teachers, columns, named: _ } = self;
        (id, prompt, solution, gold) == (&other.id, &other.prompt, &other.solution, &other.gold)
            && (expert, teachers, columns) == (&other.expert, &other.teachers, &other.columns)
    }
}

impl Row {
    /// A row that has a prompt and nothing else.
    pub fn of(prompt: Prompt) -> Row {
        Row {
            id: String::new(),
            prompt,
            solution: None,
            gold: None,
            expert: Vec::new(),
            teachers: Vec::new(),
            columns: Map::new(),
            named: Map::new(),
        }
    }

    /// The samples of a policy that the row brings in [`POLICY_COMPLETIONS`]; none where there is no such column.
    ///
    /// # Errors
    /// A column that is no list of texts or of objects with `content`.
    pub fn policy_completions(&self) -> Result<Vec<Completion>> {
        let wrong = |message: String| DataError::Encode {
            row: self.id.clone(),
            message: format!("column {POLICY_COMPLETIONS:?} {message}"),
        };
        let list = match self.columns.get(POLICY_COMPLETIONS) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(wrong("must be a list of completions".into())),
        };
        let one = |(at, value): (usize, &Value)| match value {
            Value::String(text) => Ok(Completion::text(text)),
            value => serde_json::from_value(value.clone()).map_err(|e| wrong(format!("entry {at}: {e}"))),
        };
        list.iter().enumerate().map(one).collect()
    }

    /// The row as this project writes it, to be read back as it is: a text with its completion as `text` or `prompt` and
    /// `completion`, everything else as a group row.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut object = Map::from_iter([("id".to_string(), Value::from(self.id.as_str()))]);
        let list =
            |completions: &[Completion]| completions.iter().map(Completion::to_json).collect::<Value>();
        match (&self.prompt, self.expert.as_slice()) {
            (Prompt::Text(prompt), [only]) if self.teachers.is_empty() => {
                let (key, value) = if prompt.is_empty() {
                    ("text", only.content.clone().into())
                } else {
                    ("completion", only.to_json())
                };
                if !prompt.is_empty() {
                    object.insert("prompt".into(), prompt.as_str().into());
                }
                object.insert(key.into(), value);
            }
            _ => {
                let prompt = match &self.prompt {
                    Prompt::Question(text) | Prompt::Text(text) => Value::from(text.as_str()),
                    Prompt::Messages(messages) => {
                        messages.iter().map(|m| Value::Object(m.0.clone())).collect()
                    }
                };
                object.insert("prompt".into(), prompt);
                object.insert("expert_completions".into(), list(&self.expert));
                object.insert("teacher_completions".into(), list(&self.teachers));
            }
        }
        let optional = [("solution", &self.solution), ("answer", &self.gold)];
        for (key, value) in optional.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))) {
            object.insert(key.into(), value.into());
        }
        for (key, value) in &self.columns {
            object.entry(key.clone()).or_insert_with(|| value.clone());
        }
        object
    }
}

impl Completion {
    /// The completion as a row has it: text alone as text, else an object with `content`.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        let fields =
            [("model", self.model.as_deref().map(Value::from)), ("reward", self.reward.map(Value::from))];
        for (key, value) in fields.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            object.insert(key.into(), value);
        }
        if !self.messages.is_empty() {
            object.insert(
                "messages".into(),
                self.messages.iter().map(|m| Value::Object(m.0.clone())).collect(),
            );
        }
        if object.is_empty() && self.provenance.is_empty() {
            return Value::from(self.content.as_str());
        }
        object.insert("content".into(), self.content.as_str().into());
        for (key, value) in &self.provenance {
            object.entry(key.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(object)
    }
}
