//! `--columns` and `--bad-rows`: which column of the user's file is what, and what becomes of rows that cannot be read.

use clap::{Args, ValueEnum};
use gft_data::{BadRows, ColumnMap, ReadOptions};

use crate::failure::Failure;
use crate::rows::InputRow;

/// The flag.
#[derive(Args, Clone, Debug, Default)]
pub struct ColumnArgs {
    /// Names of columns where detection does not know them: prompt=question,solution=answer. Roles: prompt, input,
    /// system, messages, solution, answer, expert, teachers, text, id; dotted names reach into objects.
    #[arg(long, value_name = "ROLE=COLUMN,...", value_parser = parse)]
    columns: Option<ColumnMap>,
}

fn parse(text: &str) -> Result<ColumnMap, String> {
    text.parse().map_err(|error: gft_data::DataError| error.to_string())
}

/// A map that names nothing.
static NOTHING: ColumnMap = ColumnMap::EMPTY;

impl ColumnArgs {
    /// The map; empty where the flag is not given.
    pub fn map(&self) -> &ColumnMap {
        self.columns.as_ref().unwrap_or(&NOTHING)
    }

    /// How to read a data set with it.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions { columns: self.map().clone(), ..ReadOptions::default() }
    }
}

/// What becomes of a row that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bad {
    /// The command stops there.
    Error,
    /// It is left out and counted.
    Drop,
}

/// The flag for such rows.
#[derive(Args, Clone, Copy, Debug)]
pub struct BadRowsArg {
    /// Rows that cannot be read: an error, as for training, or left out and counted.
    #[arg(long, value_enum, default_value = "error", value_name = "WHAT")]
    bad_rows: Bad,
}

impl BadRowsArg {
    /// For reading.
    pub fn what(self) -> BadRows {
        match self.bad_rows {
            Bad::Error => BadRows::Error,
            Bad::Drop => BadRows::Drop,
        }
    }
}

/// `--columns` for commands that read rows one by one: of all roles only these have a meaning there, and the keys
/// under which they are looked for.
#[derive(Args, Clone, Debug, Default)]
pub struct RowColumnArgs {
    /// Names of columns where they are others: prompt=question. Roles: prompt, messages, expert (the completion); dotted
    /// names reach into objects.
    #[arg(long, value_name = "ROLE=COLUMN,...", value_parser = parse_row)]
    columns: Option<ColumnMap>,
}

const KEYS: [(&str, &str); 3] = [("prompt", "prompt"), ("messages", "messages"), ("expert", "completion")];

fn parse_row(text: &str) -> Result<ColumnMap, String> {
    let map = parse(text)?;
    let known = |role: &str| KEYS.iter().any(|(name, _)| *name == role);
    match map.named().into_iter().find(|(role, _)| !known(role)) {
        Some((role, _)) => Err(format!("{role} has no meaning here; roles are prompt, messages and expert")),
        None => Ok(map),
    }
}

impl RowColumnArgs {
    /// The row with the named columns under the keys that are looked for; it keeps its own where nothing is named.
    ///
    /// # Errors
    /// A column that the row does not have, with the columns that it has and the nearest.
    pub fn apply(&self, row: &InputRow) -> Result<InputRow, Failure> {
        let mut mapped = row.clone();
        let Some(columns) = &self.columns else { return Ok(mapped) };
        if let Some(message) = columns.missing_from(&[&row.object]) {
            return Err(row.failure(&message));
        }
        if columns.prompt.is_some() || columns.messages.is_some() {
            mapped.object.retain(|key, _| key != "prompt" && key != "messages");
        }
        for (role, name) in columns.named() {
            let key = KEYS.iter().find(|(known, _)| *known == role).map(|(_, key)| *key);
            if let (Some(key), Some(value)) = (key, ColumnMap::value(&row.object, name)) {
                mapped.object.insert(key.to_owned(), value.clone());
            }
        }
        Ok(mapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> InputRow {
        let object = json!({"prompt": "old", "question": "q", "meta": {"reply": "r"}});
        InputRow { place: "stdin:1".into(), object: object.as_object().cloned().unwrap() }
    }

    #[test]
    fn named_columns_win() {
        let args = RowColumnArgs { columns: parse_row("prompt=question,expert=meta.reply").ok() };
        let mapped = args.apply(&row()).unwrap().object;
        assert_eq!((&mapped["prompt"], &mapped["completion"]), (&json!("q"), &json!("r")));
        let args = RowColumnArgs { columns: parse_row("messages=question").ok() };
        assert!(args.apply(&row()).unwrap().object.get("prompt").is_none());
    }

    #[test]
    fn mistakes_are_named() {
        let args = RowColumnArgs { columns: parse_row("prompt=qestion").ok() };
        let error = args.apply(&row()).unwrap_err().to_string();
        assert!(error.starts_with("stdin:1: ") && error.contains("did you mean \"question\""), "{error}");
        assert!(parse_row("solution=x").unwrap_err().contains("roles are prompt, messages and expert"));
    }
}
