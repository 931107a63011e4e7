//! Values of columns: conversations, completions of messages, and what a value is called in errors.

use crate::{Completion, Message};
use serde_json::Value;

/// Messages of a list of `role`/`content` or ShareGPT's `from`/`value` objects.
pub(super) fn messages(value: &Value, name: &str) -> Result<Vec<Message>, String> {
    let Value::Array(list) = value else {
        return Err(format!("column {name:?} must be a list of messages, not {}", kind(value)));
    };
    if list.is_empty() {
        return Err(format!("column {name:?} is an empty list of messages"));
    }
    let bad = |i: usize, what: &str| format!("column {name:?}, message {i}: {what}");
    let message = |(i, value): (usize, &Value)| {
        let Value::Object(object) = value else { return Err(bad(i, "must be an object")) };
        if let (Some(Value::String(from)), Some(Value::String(text))) =
            (object.get("from"), object.get("value"))
        {
            let role = match from.as_str() {
                "human" | "user" => "user",
                "gpt" | "assistant" | "chatgpt" | "bing" | "bard" | "model" | "function_call" => "assistant",
                "system" => "system",
                "observation" | "tool" | "function_response" => "tool",
                other => return Err(bad(i, &format!("unknown speaker {other:?}"))),
            };
            return Ok(Message::new(role, text));
        }
        match object.get("role") {
            Some(Value::String(role)) if !role.is_empty() => Ok(Message(object.clone())),
            _ => Err(bad(i, "needs a \"role\" and a \"content\" (or \"from\" and \"value\")")),
        }
    };
    list.iter().enumerate().map(message).collect()
}

/// A completion of one or several messages; plain text if it is one assistant message with nothing but text.
pub(super) fn completion(turn: Vec<Message>) -> Completion {
    let content =
        turn.iter().rev().find(|m| m.role() == "assistant").and_then(Message::content).unwrap_or_default();
    let content = content.to_string();
    let plain = turn.len() == 1 && turn[0].0.len() == 2 && turn[0].content().is_some();
    Completion { content, messages: if plain { Vec::new() } else { turn }, ..Completion::default() }
}

pub(super) fn missing(name: &str) -> String {
    format!("column {name:?} is missing")
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Why a line is no row, with what to do about what is often met.
pub(super) fn why_no_object(line: &[u8]) -> String {
    if line.starts_with(b"\xFF\xFE") || line.starts_with(b"\xFE\xFF") || line.contains(&0) {
        return "it is UTF-16 or binary; text must be UTF-8 (iconv -f UTF-16 -t UTF-8 FILE)".into();
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return "it is not UTF-8 text: a binary file, or one that was cut or is encoded otherwise".into();
    };
    let error = match serde_json::from_str::<Value>(text) {
        Ok(value) => return format!("a row must be an object, not {}", kind(&value)),
        Err(error) => error,
    };
    if !text.trim_start().starts_with('{') {
        let separated = text.contains(',') || text.contains('\t');
        let table = if separated { "it looks like CSV; " } else { "" };
        return format!(
            "no JSON: {error}; {table}what is read is JSONL, JSON and Parquet, and .txt as lines of text"
        );
    }
    let number = ["NaN", "Infinity"].into_iter().find(|word| text.contains(word));
    let number = number.map_or(String::new(), |word| format!("; {word} is no JSON, null is"));
    format!("no JSON: {error}{number}")
}
