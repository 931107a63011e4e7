//! What an external reward is asked and what it may answer, as lines of JSON.

use std::collections::BTreeMap;

use gft_data::Prompt;
pub(crate) use gft_remote::quoted;
use serde_json::{Map, Value};

use crate::{Candidate, Score};

/// A usable answer for one completion.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) score: Score,
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// The answer to the question with the expected id.
    Answer(Answer),
    /// An answer to an earlier question, which was given up.
    Late,
    /// Nothing that can be used; says what was wrong.
    Nonsense(String),
}

/// The question about a completion: every column of the row, and over them the fields of the protocol.
pub(crate) fn question(id: u64, candidate: &Candidate<'_>) -> Vec<u8> {
    let row = candidate.row;
    let mut object: Map<String, Value> = row.columns.clone();
    let prompt = match &row.prompt {
        Prompt::Question(text) | Prompt::Text(text) => Value::from(text.as_str()),
        Prompt::Messages(messages) => {
            messages.iter().map(|message| Value::Object(message.0.clone())).collect()
        }
    };
    object.insert("id".into(), id.into());
    object.insert("row_id".into(), row.id.as_str().into());
    object.insert("prompt".into(), prompt);
    object.insert("completion".into(), candidate.text.into());
    object.insert("solution".into(), row.solution.as_deref().into());
    object.insert("gold".into(), row.gold.as_deref().into());
    object.insert("tokens".into(), candidate.tokens.into());
    object.insert("truncated".into(), candidate.truncated.into());
    let mut line = Value::Object(object).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Reads a line of an answer to question `id`.
pub(crate) fn read(line: &[u8], id: u64) -> Line {
    let nonsense = |what: &str| Line::Nonsense(format!("{what}: {}", quoted(line)));
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(line) else {
        return nonsense("answered with something that is not a JSON object on one line");
    };
    match object.get("id").map(Value::as_u64) {
        Some(Some(found)) if found == id => {}
        Some(Some(found)) if found < id => return Line::Late,
        _ => return nonsense(&format!("answered without the id of the question ({id})")),
    }
    if let Some(error) = object.get("error") {
        let said = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        let failed = Score::Failed(format!("reported an error: {}", quoted(said.as_bytes())));
        return Line::Answer(Answer { score: failed, metrics: BTreeMap::new() });
    }
    let score = match object.get("reward") {
        Some(Value::Null) => Score::Unscorable,
        Some(value) => match number(value) {
            Some(value) => Score::Value(value),
            None => return nonsense("answered with a `reward` that is neither a finite number nor null"),
        },
        None => return nonsense("answered without `reward`"),
    };
    match metrics(object.get("metrics")) {
        Some(metrics) => Line::Answer(Answer { score, metrics }),
        None => nonsense("answered with `metrics` that are not an object of numbers"),
    }
}

/// A finite number; true is 1 and false is 0.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        other => other.as_f64().filter(|value| value.is_finite()),
    }
}

fn metrics(value: Option<&Value>) -> Option<BTreeMap<String, f64>> {
    match value {
        None | Some(Value::Null) => Some(BTreeMap::new()),
        Some(Value::Object(object)) => {
            object.iter().map(|(name, value)| Some((name.clone(), number(value)?))).collect()
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(line: &str) -> Option<Score> {
        match read(line.as_bytes(), 7) {
            Line::Answer(answer) => Some(answer.score),
            _ => None,
        }
    }

    #[test]
    fn answers() {
        assert_eq!(score(r#"{"id": 7, "reward": 0.25}"#), Some(Score::Value(0.25)));
        assert_eq!(score(r#"{"id": 7, "reward": true, "metrics": null}"#), Some(Score::Value(1.0)));
        assert_eq!(score(r#"{"id": 7, "reward": null}"#), Some(Score::Unscorable));
        assert!(
            matches!(score(r#"{"id": 7, "error": "no"}"#), Some(Score::Failed(why)) if why.contains("`no`"))
        );
        let line = read(br#"{"id": 7, "reward": 1, "metrics": {"acc": 0.5, "ok": true}}"#, 7);
        let Line::Answer(answer) = line else { panic!("{line:?}") };
        assert_eq!(answer.metrics, [("acc".to_owned(), 0.5), ("ok".to_owned(), 1.0)].into());
    }

    #[test]
    fn late_answers_and_nonsense() {
        assert_eq!(read(br#"{"id": 6, "reward": 1}"#, 7), Line::Late);
        let nonsense = [
            "1.0",
            "",
            "reward: 1",
            r#"{"id": 8, "reward": 1}"#,
            r#"{"reward": 1}"#,
            r#"{"id": 7}"#,
            r#"{"id": 7, "reward": "1"}"#,
            r#"{"id": 7, "reward": NaN}"#,
            r#"{"id": 7, "reward": 1e999}"#,
            r#"{"id": 7, "reward": 1, "metrics": [1]}"#,
            r#"{"id": 7, "reward": 1, "metrics": {"a": "b"}}"#,
        ];
        for line in nonsense {
            assert!(matches!(read(line.as_bytes(), 7), Line::Nonsense(_)), "{line}");
        }
    }
}
