//! The user's own names of columns: `prompt=question,solution=answer`.

use super::layout::at;
use crate::{DataError, Result};
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// Names of columns, each a key or a dotted path (`reward_model.ground_truth`). What is set wins over detection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMap {
    /// A question (text) or messages.
    pub prompt: Option<String>,
    /// A second part of the question, put below it (alpaca's `input`).
    pub input: Option<String>,
    /// A system message.
    pub system: Option<String>,
    /// A whole conversation; the last assistant turn is the completion.
    pub messages: Option<String>,
    /// The reference solution.
    pub solution: Option<String>,
    /// The gold answer.
    pub answer: Option<String>,
    /// A demonstration, or a list of them.
    pub expert: Option<String>,
    /// A list of responses of other models.
    pub teachers: Option<String>,
    /// Text without a prompt.
    pub text: Option<String>,
    /// The row's id.
    pub id: Option<String>,
}

impl ColumnMap {
    /// The map that names nothing.
    pub const EMPTY: Self = Self {
        prompt: None,
        input: None,
        system: None,
        messages: None,
        solution: None,
        answer: None,
        expert: None,
        teachers: None,
        text: None,
        id: None,
    };

    /// The map of `role=column` pairs, such as `prompt=question`.
    ///
    /// # Errors
    /// A pair without `=`, a role that there is not (with the nearest), a role named twice.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut map = Self::EMPTY;
        for pair in pairs {
            let wrong = |what: &str| {
                DataError::Argument(format!(
                    "column map: {what}; expected role=column pairs, as in prompt=question,solution=answer"
                ))
            };
            let (role, name) = pair.split_once('=').ok_or_else(|| wrong(&format!("{pair:?} has no =")))?;
            let (role, name) = (role.trim(), name.trim());
            if name.is_empty() {
                return Err(wrong(&format!("{role:?} names no column")));
            }
            let mut slots = map.slots_mut();
            let Some((_, slot)) = slots.iter_mut().find(|(known, _)| *known == role) else {
                let roles = Self::EMPTY.slots().map(|(role, _)| role);
                let hint =
                    nearest(role, roles).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                return Err(wrong(&format!("unknown role {role:?}{hint}; roles are {}", roles.join(", "))));
            };
            if let Some(before) = slot.replace(name.to_string()) {
                return Err(wrong(&format!("{role} is named twice, {before:?} and {name:?}")));
            }
        }
        Ok(map)
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// These names, those of `other` where there is none.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let mut map = self.clone();
        for ((_, slot), (_, name)) in map.slots_mut().into_iter().zip(other.slots()) {
            if slot.is_none() {
                slot.clone_from(name);
            }
        }
        map
    }

    /// Role and name of each column that is set.
    pub fn named(&self) -> Vec<(&'static str, &str)> {
        self.slots().into_iter().filter_map(|(role, name)| Some((role, name.as_deref()?))).collect()
    }

    /// The value of a column of `row`: a key or a dotted path. Null counts as absent.
    pub fn value<'a>(row: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
        at(row, path)
    }

    /// What is wrong, if a named column is in none of `rows`: the columns that there are, and the nearest.
    pub fn missing_from(&self, rows: &[&Map<String, Value>]) -> Option<String> {
        let absent = |name: &str| rows.iter().all(|row| at(row, name).is_none());
        let (role, name) = self.named().into_iter().find(|(_, name)| absent(name))?;
        let mut columns: Vec<&str> = Vec::new();
        for key in rows.iter().flat_map(|row| row.keys()) {
            if !columns.contains(&key.as_str()) {
                columns.push(key);
            }
        }
        let inner: Vec<String> = rows.iter().flat_map(|row| paths(row)).collect();
        let known = columns.iter().copied().chain(inner.iter().map(String::as_str));
        let hint = nearest(name, known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        Some(format!(
            "the column map names {name:?} as {role}, but no row has such a column (the columns are {}){hint}",
            columns.join(", ")
        ))
    }

    fn slots(&self) -> [(&'static str, &Option<String>); 10] {
        [
            ("prompt", &self.prompt),
            ("input", &self.input),
            ("system", &self.system),
            ("messages", &self.messages),
            ("solution", &self.solution),
            ("answer", &self.answer),
            ("expert", &self.expert),
            ("teachers", &self.teachers),
            ("text", &self.text),
            ("id", &self.id),
        ]
    }

    fn slots_mut(&mut self) -> [(&'static str, &mut Option<String>); 10] {
        [
            ("prompt", &mut self.prompt),
            ("input", &mut self.input),
            ("system", &mut self.system),
            ("messages", &mut self.messages),
            ("solution", &mut self.solution),
            ("answer", &mut self.answer),
            ("expert", &mut self.expert),
            ("teachers", &mut self.teachers),
            ("text", &mut self.text),
            ("id", &mut self.id),
        ]
    }
}

impl FromStr for ColumnMap {
    type Err = DataError;

    /// `role=column` pairs, parted by commas.
    fn from_str(text: &str) -> Result<Self> {
        Self::from_pairs(text.split(',').map(str::trim).filter(|pair| !pair.is_empty()))
    }
}

impl fmt::Display for ColumnMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.named().iter().map(|(role, name)| format!("{role}={name}")).collect();
        f.write_str(&pairs.join(","))
    }
}

/// Dotted paths of the columns inside of a row's objects.
fn paths(row: &Map<String, Value>) -> Vec<String> {
    let inner = row.iter().filter_map(|(key, value)| Some((key, value.as_object()?)));
    inner.flat_map(|(key, object)| object.keys().map(move |name| format!("{key}.{name}"))).collect()
}

/// The known name that is most like `name`, if any is close; upper and lower case count as the same.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(&name, &known.to_lowercase()), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_as_they_are_typed() {
        let map: ColumnMap = " prompt = question, answer=meta.gold,".parse().unwrap();
        assert_eq!((map.prompt.as_deref(), map.answer.as_deref()), (Some("question"), Some("meta.gold")));
        assert_eq!(map.to_string(), "prompt=question,answer=meta.gold");
        assert!("".parse::<ColumnMap>().unwrap().is_empty());
        for (text, parts) in [
            ("question", ["\"question\" has no =", "prompt=question,solution=answer"]),
            ("promt=q", ["unknown role \"promt\" (did you mean prompt?)", "roles are prompt, input"]),
            ("prompt=", ["\"prompt\" names no column", "role=column"]),
            ("prompt=a,prompt=b", ["prompt is named twice", "\"a\" and \"b\""]),
        ] {
            let error = text.parse::<ColumnMap>().unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }

    #[test]
    fn a_mistyped_column_names_the_nearest() {
        let row: Map<String, Value> =
            serde_json::from_str(r#"{"Question": "q", "meta": {"gold": "1"}}"#).unwrap();
        let said = |text: &str| text.parse::<ColumnMap>().unwrap().missing_from(&[&row]);
        assert_eq!(said("prompt=Question,answer=meta.gold"), None);
        let error = said("prompt=question").unwrap();
        assert!(
            error.contains("\"question\" as prompt") && error.ends_with("did you mean \"Question\"?"),
            "{error}"
        );
        assert!(error.contains("the columns are Question, meta"), "{error}");
        assert!(said("answer=meta.gould").unwrap().contains("\"meta.gold\""));
        assert!(!said("answer=xyz").unwrap().contains("did you mean"));
    }
}
