//! An answer of a teacher, and how one is read out of what an endpoint sends.

use gft_remote::quoted;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Tokens of a request, as the server counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of all answers of the request together.
    pub completion_tokens: u64,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its text; empty where the server sent none.
    pub content: String,
    /// What a reasoning model thought before it, where the server sends that apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Why it ended: `stop`, `length`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Tokens of the request that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Answers of that request.
    pub of: usize,
}

impl Answer {
    /// Whether it was cut at the limit on its length.
    pub fn truncated(&self) -> bool {
        self.finish_reason.as_deref() == Some("length")
    }
}

/// Reads the body of a chat completion: its answers and, where the server counts them, its tokens.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(body: &[u8]) -> Result<(Vec<Answer>, Option<Usage>), String> {
    let said = |what: &str| format!("{what}: {}", quoted(body));
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) else {
        return Err(said("answered with something that is not a JSON object"));
    };
    let Some(Value::Array(choices)) = object.get("choices") else {
        return Err(said("answered without a list `choices`"));
    };
    if choices.is_empty() {
        return Err(said("answered with no choice"));
    }
    let usage = object.get("usage").and_then(|usage| {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        Some(Usage { prompt_tokens: count("prompt_tokens")?, completion_tokens: count("completion_tokens")? })
    });
    let answers = choices.iter().map(|choice| {
        let message = choice.get("message").and_then(Value::as_object).ok_or("a choice without `message`")?;
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| message.get(*name)?.as_str());
            found.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        if message.get("content").is_some_and(|content| !content.is_string() && !content.is_null()) {
            return Err("a choice whose `content` is not text");
        }
        Ok(Answer {
            content: text(&["content"]).unwrap_or_default(),
            reasoning: text(&["reasoning_content", "reasoning"]),
            finish_reason: choice.get("finish_reason").and_then(Value::as_str).map(str::to_owned),
            usage,
            of: choices.len(),
        })
    });
    let answers: Result<Vec<_>, _> = answers.collect();
    answers.map(|answers| (answers, usage)).map_err(|what| said(&format!("answered with {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_nonsense() {
        let body = br#"{"choices": [
            {"message": {"content": "4", "reasoning_content": "hm"}, "finish_reason": "stop"},
            {"message": {"content": null}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}"#;
        let (answers, usage) = read(body).unwrap();
        assert_eq!(usage, Some(Usage { prompt_tokens: 3, completion_tokens: 5 }));
        assert_eq!((answers[0].content.as_str(), answers[0].reasoning.as_deref()), ("4", Some("hm")));
        assert!(!answers[0].truncated() && answers[1].truncated() && answers[1].content.is_empty());
        assert_eq!(answers[1].of, 2);
        let nonsense = [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"choices": null}"#,
            r#"{"choices": []}"#,
            r#"{"choices": [{}]}"#,
            r#"{"choices": [{"message": "4"}]}"#,
            r#"{"choices": [{"message": {"content": 4}}]}"#,
            r#"{"choices": [{"message": {"content": "4"}}"#,
        ];
        for body in nonsense {
            assert!(read(body.as_bytes()).unwrap_err().starts_with("answered with"), "{body}");
        }
    }
}
