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
