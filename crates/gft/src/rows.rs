//! Rows of JSON, one a line, from a file or standard input, each with the place that an error about it names.

use std::fs::File;
use std::io::{IsTerminal, Read, stdin};
use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;

/// A row as it was read.
#[derive(Clone, Debug)]
pub struct InputRow {
    /// File and line: `stdin:3`.
    pub place: String,
    /// The row, its keys in the order in which they stood.
    pub object: Map<String, Value>,
}

impl InputRow {
    /// The ids under `key`: at least one, each below `vocab`. `None` if there is no such key.
    pub fn ids(&self, key: &str, vocab: usize) -> Result<Option<Vec<u32>>, Failure> {
        let value = match self.object.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let wrong = |found: &str| {
            let last = vocab.saturating_sub(1);
            self.failure(&format!(
                "`{key}` must be a list of token ids (whole numbers from 0 to {last}){found}"
            ))
        };
        let Value::Array(list) = value else { return Err(wrong(&format!(", not {}", kind(value)))) };
        if list.is_empty() {
            return Err(wrong(", not an empty list"));
        }
        let ids = list.iter().enumerate().map(|(index, value)| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.filter(|&id| (id as usize) < vocab)
                .ok_or_else(|| wrong(&format!("; index {index} is {value}")))
        });
        ids.collect::<Result<Vec<u32>, Failure>>().map(Some)
    }

    /// Something is wrong with this row.
    pub fn failure(&self, message: &str) -> Failure {
        Failure::data(format!("{}: {message}", self.place))
    }

    /// The keys, for saying what there is.
    pub fn keys(&self) -> String {
        let keys: Vec<&str> = self.object.keys().map(String::as_str).collect();
        if keys.is_empty() { "no columns".into() } else { keys.join(", ") }
    }
}

/// What kind of JSON a value is.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads all rows of a file, or of standard input where none (or `-`) is given. Blank lines are passed over.
///
/// # Errors
/// A file that cannot be read, a line that is not a JSON object, no row at all.
pub fn read(path: Option<&Path>, example: &str) -> Result<Vec<InputRow>, Failure> {
    let path = path.filter(|path| *path != Path::new("-"));
    let (name, bytes) = match path {
        Some(path) => (path.display().to_string(), read_file(path)?),
        None => ("stdin".into(), read_stdin(example)?),
    };
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut rows = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = format!("{name}:{}", index + 1);
        let object = parse(line).map_err(|message| Failure::data(format!("{place}: {message}")))?;
        rows.push(InputRow { place, object });
    }
    if rows.is_empty() {
        return Err(Failure::data(format!(
            "{name}: no rows; expected one JSON object a line, such as {example}"
        )));
    }
    Ok(rows)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::data(format!("{}: cannot read: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.starts_with(b"PAR1")
        || bytes.starts_with(&[0x1F, 0x8B])
        || bytes.starts_with(&[0x28, 0xB5, 0x2F, 0xFD])
    {
        return Err(Failure::data(format!(
            "{}: a Parquet or compressed file; rows are read as JSON, one object a line",
            path.display()
        )));
    }
    Ok(bytes)
}

fn read_stdin(example: &str) -> Result<Vec<u8>, Failure> {
    if stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "no rows: name a file or pipe them in, one JSON object a line, such as {example}"
        )));
    }
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes).map_err(|error| Failure::Run(format!("stdin: cannot read: {error}")))?;
    Ok(bytes)
}

fn parse(line: &[u8]) -> Result<Map<String, Value>, String> {
    if line.trim_ascii() == b"[" || (line.trim_ascii_start().starts_with(b"[") && line.contains(&b'{')) {
        return Err("a JSON list; rows are one object a line: jq -c '.[]' makes them so".into());
    }
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("a row must be a JSON object, not {}", kind(&other))),
        Err(error) if error.is_eof() => {
            Err("an incomplete JSON object; a row must stand on one line (jq -c . makes it so)".into())
        }
        Err(error) => Err(format!("not JSON: {}; a row is a JSON object on one line", without_line(&error))),
    }
}

/// The message with its column; the line is always 1 and says nothing.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}
