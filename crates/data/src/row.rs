//! The row: one prompt, its reference answer, and the completions that came with it.

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
}

impl Completion {
    /// A completion of text alone.
    pub fn text(content: impl Into<String>) -> Self {
        Self { content: content.into(), ..Self::default() }
    }
}

/// One row of a data set.
#[derive(Clone, Debug, PartialEq)]
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
}
