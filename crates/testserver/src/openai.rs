//! What OpenAI-compatible servers say.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::{Reply, Server};

/// A server of chat completions whose reply depends on the request's body and on how often its prompt was asked before.
/// Its address for clients is `{url}/v1`.
pub fn server(reply: impl Fn(&Value, usize) -> Reply + Send + Sync + 'static) -> Server {
    let counts: Mutex<HashMap<String, usize>> = Mutex::default();
    Server::start(move |request| {
        let times = {
            let mut counts = counts.lock().unwrap();
            let times = counts.entry(prompt(&request.body)).or_default();
            *times += 1;
            *times - 1
        };
        reply(&request.body, times)
    })
}

/// The last message of a request.
pub fn prompt(body: &Value) -> String {
    let messages = body["messages"].as_array().unwrap();
    messages.last().unwrap()["content"].as_str().unwrap().to_owned()
}

/// Answers as many as were asked for, `text` of each one's seed (its number, where no seed was sent).
pub fn answers(body: &Value, text: impl Fn(u64) -> String) -> Reply {
    let n = body["n"].as_u64().unwrap_or(1);
    let first = body["seed"].as_u64().unwrap_or(0);
    let choice = |k| json!({"message": {"content": text(first + k)}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 2, "completion_tokens": 3 * n});
    Reply::json(&json!({"choices": (0..n).map(choice).collect::<Vec<_>>(), "usage": usage}))
}

/// Answers with the prompt and the sample's seed.
pub fn good(body: &Value) -> Reply {
    answers(body, |seed| format!("{} {seed}", prompt(body)))
}
