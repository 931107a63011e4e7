//! A question to a teacher, and the hash under which its answer is kept.

use gft_data::{Message, Prompt, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Usage;

/// How a teacher draws its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Logits are divided by this; `None` leaves it to the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling; `None` leaves it to the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Tokens of an answer at most.
    pub max_tokens: u32,
    /// Seed of sample 0; sample `k` has `seed + k`. `None` sends none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts at which an answer ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

/// One prompt as a teacher is asked it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Where the teacher is: an address, or what identifies a folder's weights.
    pub place: String,
    /// The teacher's name there.
    pub model: String,
    /// The conversation up to the answer.
    pub messages: Vec<Message>,
    /// How it is to draw.
    pub sampling: Sampling,
}

/// The name of an answer in the cache: SHA-256 of all that it depends on, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Question {
    /// The question that sample `k` answers, as it is hashed and kept beside its answer.
    pub fn describe(&self, k: usize) -> Value {
        json!({
            "place": self.place,
            "model": self.model,
            "messages": self.messages,
            "sampling": self.sampling,
            "sample": k,
        })
    }

    /// The key of sample `k`. It does not depend on how many samples are wanted: more of them later add to the first.
    pub fn key(&self, k: usize) -> Key {
        // Keys of objects stand in the order written above: the text is the same in every run.
        let hash = Sha256::digest(self.describe(k).to_string().as_bytes());
        Key(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Tokens that a request for `n` answers costs at most: a token has at least one byte, and a message some of the
    /// template's.
    pub fn at_most(&self, n: usize) -> Usage {
        let bytes: usize = self.messages.iter().map(|message| json!(message).to_string().len() + 16).sum();
        Usage {
            prompt_tokens: bytes as u64,
            completion_tokens: n as u64 * u64::from(self.sampling.max_tokens),
        }
    }
}

/// What is put around a row's prompt when a teacher is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Framing {
    /// System message where the row has none.
    pub system: Option<String>,
    /// Text behind the last user message.
    pub suffix: Option<String>,
}

impl Framing {
    /// The conversation that asks for a response to `row`; `None` where the row has nothing to respond to.
    pub fn messages(&self, row: &Row) -> Option<Vec<Message>> {
        let mut messages = match &row.prompt {
            Prompt::Messages(messages) => messages.clone(),
            Prompt::Question(text) | Prompt::Text(text) if text.trim().is_empty() => return None,
            Prompt::Question(text) | Prompt::Text(text) => vec![Message::user(text)],
        };
        if let Some(system) = &self.system
            && messages.first().is_none_or(|message| message.role() != "system")
        {
            messages.insert(0, Message::system(system));
        }
        if let Some(suffix) = &self.suffix {
            let last = messages.iter_mut().rev().find(|message| message.role() == "user")?;
            let text = format!("{}{suffix}", last.content()?);
            last.0.insert("content".into(), text.into());
        }
        Some(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            place: "http://127.0.0.1/v1".into(),
            model: "m".into(),
            messages: vec![Message::user("2+2?")],
            sampling: Sampling {
                temperature: Some(1.0),
                top_p: None,
                max_tokens: 8,
                seed: None,
                stop: vec![],
            },
        }
    }

    /// Written out: a change of the hash would ask everything again that users have paid for.
    #[test]
    fn keys_stay_what_they_are() {
        assert_eq!(
            question().describe(1).to_string(),
            r#"{"place":"http://127.0.0.1/v1","model":"m","messages":[{"role":"user","content":"2+2?"}],"sampling":{"temperature":1.0,"max_tokens":8},"sample":1}"#
        );
        assert_eq!(question().key(1).as_str().len(), 64);
    }

    #[test]
    fn keys_depend_on_everything() {
        let mut seen = vec![question().key(0), question().key(1)];
        let mut other = |change: fn(&mut Question)| {
            let mut question = question();
            change(&mut question);
            let key = question.key(0);
            assert!(!seen.contains(&key), "{question:?}");
            seen.push(key);
        };
        other(|q| q.place.push('x'));
        other(|q| q.model.push('x'));
        other(|q| q.messages.push(Message::assistant("4")));
        other(|q| q.sampling.temperature = None);
        other(|q| q.sampling.top_p = Some(0.5));
        other(|q| q.sampling.max_tokens = 9);
        other(|q| q.sampling.seed = Some(0));
        other(|q| q.sampling.stop.push("\n".into()));
    }
}
