//! A written file read back as a user's file would be, and compared with the rows that it was made from.

use super::{ConvertProgress, Loss, Target, Work, count, read_back};
use crate::{Completion, DataError, Dataset, Message, Prompt, Result, Row};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::path::Path;

/// What is not in the file.
pub(super) struct Checked {
    pub lost: Vec<Loss>,
}

/// Compares the file with the rows `written`, in order.
///
/// # Errors
/// A file that cannot be read back, or with another number of rows: a fault of this program.
pub(super) fn check(
    work: &Work<'_>,
    path: &Path,
    written: &[u64],
    progress: &mut ConvertProgress<'_>,
) -> Result<Checked> {
    let back = Dataset::open(&[path], &read_back())?;
    if back.len() != written.len() as u64 {
        return Err(DataError::file(
            path,
            format!("{} rows were written and {} read back", written.len(), back.len()),
        ));
    }
    let mut lost = Vec::new();
    for (&index, at) in written.iter().zip(0..) {
        work.tell("reading back", index, progress)?;
        let (before, after) = (work.row(index)?, back.row(at)?);
        let own_id = work.set.has_own_id(index);
        for what in differences(&before, &after, own_id, work.options.target) {
            count(&mut lost, &what, &before.id);
        }
    }
    Ok(Checked { lost })
}

/// What of `before` is not in `after`. More than there was is no loss: an answer found in a solution, verl's own columns.
fn differences(before: &Row, after: &Row, own_id: bool, target: Target) -> Vec<String> {
    let mut lost = Vec::new();
    let mut said = |is: bool, what: &str| {
        if is {
            lost.push(what.to_owned());
        }
    };
    said(!same_prompt(&before.prompt, &after.prompt), "the prompt as it is");
    said(before.solution.is_some() && before.solution != after.solution, "the reference solution");
    said(before.gold.is_some() && before.gold != after.gold, "the reference answer");
    said(own_id && before.id != after.id, "the id");
    completions(&before.expert, &after.expert, "expert", &mut said);
    completions(&before.teachers, &after.teachers, "teacher", &mut said);
    let verls = ["data_source", "prompt", "ability", "reward_model", "extra_info"];
    for (name, value) in before.columns.iter().filter(|(_, value)| !value.is_null()) {
        let inner = match target {
            Target::Verl if !verls.contains(&name.as_str()) => {
                after.columns.get("extra_info").and_then(|info| info.get(name))
            }
            _ => None,
        };
        let found = after.columns.get(name).or(inner);
        said(!found.is_some_and(|found| holds(found, value)), &format!("the column {name:?}"));
    }
    lost
}

fn completions(before: &[Completion], after: &[Completion], source: &str, said: &mut impl FnMut(bool, &str)) {
    if before.len() > after.len() {
        match after.len() {
            0 => said(true, &format!("{source} completions")),
            n => said(true, &format!("{source} completions beyond the first {n}")),
        }
    }
    // Where a row has no demonstrations, an extra one would be learned.
    said(before.len() < after.len(), &format!("that there are no {source} completions"));
    let pairs = || before.iter().zip(after);
    let same = |(a, b): (&Completion, &Completion)| a.content == b.content && same_turn(a, b);
    said(!pairs().all(same), &format!("{source} completions as they are"));
    let told = |(a, b): (&Completion, &Completion)| {
        (&a.model, a.reward, &a.provenance) == (&b.model, b.reward, &b.provenance)
    };
    said(!pairs().all(told), &format!("models, rewards and provenance of {source} completions"));
}

fn same_turn(a: &Completion, b: &Completion) -> bool {
    same_messages(&a.messages, &b.messages)
}

/// A question is a user's message: templates see the same.
fn same_prompt(a: &Prompt, b: &Prompt) -> bool {
    match (a, b) {
        (Prompt::Text(a), Prompt::Text(b)) => a == b,
        (Prompt::Text(_), _) | (_, Prompt::Text(_)) => false,
        (a, b) => same_messages(&messages(a), &messages(b)),
    }
}

fn messages(prompt: &Prompt) -> Cow<'_, [Message]> {
    match prompt {
        Prompt::Messages(messages) => Cow::Borrowed(messages),
        Prompt::Question(text) | Prompt::Text(text) => Cow::Owned(vec![Message::user(text)]),
    }
}

fn same_messages(a: &[Message], b: &[Message]) -> bool {
    let same = |(a, b): (&Message, &Message)| contains(&b.0, &a.0) && contains(&a.0, &b.0);
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// Whether `found` says all that `value` says. Null is the same as absent, which Parquet cannot tell apart, and a number
/// the same as a float of its value.
fn holds(found: &Value, value: &Value) -> bool {
    match (found, value) {
        (Value::Object(found), Value::Object(value)) => contains(found, value),
        (Value::Array(found), Value::Array(value)) => {
            found.len() == value.len() && found.iter().zip(value).all(|(found, value)| holds(found, value))
        }
        (Value::Number(found), Value::Number(value)) => found == value || found.as_f64() == value.as_f64(),
        (found, value) => found == value,
    }
}

fn contains(found: &Map<String, Value>, value: &Map<String, Value>) -> bool {
    let mut said = value.iter().filter(|(_, value)| !value.is_null());
    said.all(|(key, value)| found.get(key).is_some_and(|found| holds(found, value)))
}
