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
    /// The answers to the question with the expected id.
    Answer(Vec<Answer>),
    /// An answer to an earlier question, which was given up.
    Late,
    /// Nothing that can be used; says what was wrong.
    Nonsense(String),
}

/// The question about a completion, or about several together: `group` is then a list of what is asked about one.
pub(crate) fn question(id: u64, candidates: &[Candidate<'_>], whole: bool) -> Vec<u8> {
    let object = match candidates {
        [one] if !whole => fields(one, Some(id)),
        several => {
            let fields = |candidate: &Candidate<'_>| Value::Object(fields(candidate, None));
            let group: Value = several.iter().map(fields).collect();
            Map::from_iter([("id".to_owned(), id.into()), ("group".to_owned(), group)])
        }
    };
    let mut line = Value::Object(object).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// What is asked about a completion: every column of the row but its prompt, under its own name, and over them the fields
/// of the protocol, the question's id first.
fn fields(candidate: &Candidate<'_>, id: Option<u64>) -> Map<String, Value> {
    let row = candidate.row;
    let mut object: Map<String, Value> = row.columns.clone();
    object.extend(row.named.iter().map(|(name, value)| (name.clone(), value.clone())));
    let prompt = match &row.prompt {
        Prompt::Question(text) | Prompt::Text(text) => Value::from(text.as_str()),
        Prompt::Messages(messages) => {
            messages.iter().map(|message| Value::Object(message.0.clone())).collect()
        }
    };
    object.extend(id.map(|id| ("id".to_owned(), id.into())));
    object.insert("row_id".into(), row.id.as_str().into());
    object.insert("prompt".into(), prompt);
    object.insert("completion".into(), candidate.text.into());
    object.insert("solution".into(), row.solution.as_deref().into());
    object.insert("gold".into(), row.gold.as_deref().into());
    object.insert("tokens".into(), candidate.tokens.into());
    object.insert("truncated".into(), candidate.truncated.into());
    object
}

/// Whether the first line of a program says that it takes groups as a whole; `None` where the line says nothing of it.
pub(crate) fn takes_groups(line: &[u8]) -> Option<bool> {
    serde_json::from_slice::<Value>(line).ok()?.get("groups")?.as_bool()
}

/// Reads a line of an answer to question `id`: about one completion, or about a `group` of so many together.
pub(crate) fn read(line: &[u8], id: u64, group: Option<usize>) -> Line {
    let object = match object(line, id) {
        Ok(object) => object,
        Err(other) => return other,
    };
    let Some(expected) = group else {
        return match answer(&object, line) {
            Ok(answer) => Line::Answer(vec![answer]),
            Err(what) => Line::Nonsense(what),
        };
    };
    let found: Vec<_> = match object.get("group").and_then(Value::as_array) {
        Some(group) => group.iter().map(|one| answer(one.as_object().unwrap_or(&Map::new()), line)).collect(),
        // What failed, failed for all of them.
        None if object.contains_key("error") => vec![answer(&object, line); expected],
        None => Vec::new(),
    };
    if found.len() != expected {
        let what = format!("answered with no list of {expected} answers: {}", quoted(line));
        return Line::Nonsense(what);
    }
    match found.into_iter().collect() {
        Ok(answers) => Line::Answer(answers),
        Err(what) => Line::Nonsense(what),
    }
}

/// The object of a line that answers question `id`.
fn object(line: &[u8], id: u64) -> Result<Map<String, Value>, Line> {
    let nonsense = |what: &str| Err(Line::Nonsense(format!("{what}: {}", quoted(line))));
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(line) else {
        return nonsense("answered with something that is not a JSON object on one line");
    };
    match object.get("id").map(Value::as_u64) {
        Some(Some(found)) if found == id => Ok(object),
        Some(Some(found)) if found < id => Err(Line::Late),
        _ => nonsense(&format!("answered without the id of the question ({id})")),
    }
}

/// What an object of an answer says, or what is wrong with it.
fn answer(object: &Map<String, Value>, line: &[u8]) -> Result<Answer, String> {
    let nonsense = |what: &str| Err(format!("{what}: {}", quoted(line)));
    if let Some(error) = object.get("error") {
        let said = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        let failed = Score::Failed(format!("reported an error: {}", quoted(said.as_bytes())));
        return Ok(Answer { score: failed, metrics: BTreeMap::new() });
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
        Some(metrics) => Ok(Answer { score, metrics }),
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
        match read(line.as_bytes(), 7, None) {
            Line::Answer(answers) => Some(answers[0].score.clone()),
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
        let line = read(br#"{"id": 7, "reward": 1, "metrics": {"acc": 0.5, "ok": true}}"#, 7, None);
        let Line::Answer(answers) = line else { panic!("{line:?}") };
        assert_eq!(answers[0].metrics, [("acc".to_owned(), 0.5), ("ok".to_owned(), 1.0)].into());
    }

    #[test]
    fn answers_about_a_group() {
        let line =
            br#"{"id": 7, "group": [{"reward": 1, "metrics": {"a": 2}}, {"reward": null}, {"error": "no"}]}"#;
        let Line::Answer(answers) = read(line, 7, Some(3)) else { panic!("no answer") };
        assert_eq!((&answers[0].score, answers[0].metrics["a"]), (&Score::Value(1.0), 2.0));
        assert_eq!(answers[1].score, Score::Unscorable);
        assert!(matches!(&answers[2].score, Score::Failed(why) if why.contains("`no`")));
        let Line::Answer(failed) = read(br#"{"id": 7, "error": "gone"}"#, 7, Some(2)) else {
            panic!("no answer")
        };
        assert!(failed.len() == 2 && matches!(&failed[1].score, Score::Failed(_)));
        assert_eq!(read(br#"{"id": 6, "group": []}"#, 7, Some(0)), Line::Late);
        for line in [
            r#"{"id": 7, "group": [{"reward": 1}]}"#,
            r#"{"id": 7, "group": [1, 2]}"#,
            r#"{"id": 7, "reward": 1}"#,
            r#"{"group": [{"reward": 1}, {"reward": 1}]}"#,
        ] {
            assert!(matches!(read(line.as_bytes(), 7, Some(2)), Line::Nonsense(_)), "{line}");
        }
        assert_eq!(takes_groups(br#"{"groups": true}"#), Some(true));
        assert_eq!(takes_groups(b"loading"), None);
    }

    #[test]
    fn late_answers_and_nonsense() {
        assert_eq!(read(br#"{"id": 6, "reward": 1}"#, 7, None), Line::Late);
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
            assert!(matches!(read(line.as_bytes(), 7, None), Line::Nonsense(_)), "{line}");
        }
    }
}
