//! Texts to train a tokenizer on: plain text files, and the strings of JSONL rows.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;

/// A piece of plain text is cut at the next line end behind this many bytes, so that pieces can be counted in parallel.
const PIECE: usize = 1 << 16;

/// Reads files as texts. A file whose first line is a JSON object is JSONL.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, or has a line that is no JSON object after others that are.
pub fn read(paths: &[impl AsRef<Path>]) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let before = texts.len();
        add(path, &mut texts)?;
        if texts[before..].iter().all(|text| text.trim().is_empty()) {
            return Err(Failure::data(format!("{}: no text in this file", path.display())));
        }
    }
    Ok(texts)
}

fn add(path: &Path, texts: &mut Vec<String>) -> Result<(), Failure> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| match path.is_dir() {
        true => Failure::data(format!("{shown}: a folder; --text takes files: {shown}/*.txt")),
        false => Failure::data(format!("{shown}: cannot read: {error}")),
    })?;
    if bytes.starts_with(b"PAR1")
        || bytes.starts_with(&[0x1F, 0x8B])
        || bytes.starts_with(&[0x28, 0xB5, 0x2F, 0xFD])
    {
        return Err(Failure::data(format!(
            "{shown}: a Parquet or compressed file; --text reads plain text and JSONL, uncompressed"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        Failure::data(format!("{shown}:{line}: not UTF-8 text (byte {at} of the file)"))
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if matches!(serde_json::from_str(first), Ok(Value::Object(_))) {
        return add_rows(path, text, texts);
    }
    let mut rest = text;
    while !rest.is_empty() {
        let cut = rest.as_bytes().iter().skip(PIECE).position(|&byte| byte == b'\n');
        let (piece, behind) = rest.split_at(cut.map_or(rest.len(), |at| PIECE + at + 1));
        texts.push(piece.to_owned());
        rest = behind;
    }
    Ok(())
}

fn add_rows(path: &Path, text: &str, texts: &mut Vec<String>) -> Result<(), Failure> {
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).map_err(|error| {
            Failure::data(format!(
                "{}:{}: not JSON, as the lines before are: {error}",
                path.display(),
                index + 1
            ))
        })?;
        add_strings(row, texts);
    }
    Ok(())
}

fn add_strings(value: Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(list) => list.into_iter().for_each(|value| add_strings(value, texts)),
        Value::Object(object) => object.into_iter().for_each(|(_, value)| add_strings(value, texts)),
        _ => {}
    }
}
