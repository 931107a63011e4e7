//! File formats: JSONL is read where it lies, everything else is unpacked once into lines of JSON.
//!
//! What a file is, is told by its first bytes, not by its name; only plain text has to be named `.txt`.

use super::lines::{LineStore, Source};
use crate::{DataError, Result};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::SpooledTempFile;

/// Unpacked rows of a file up to this many bytes stay in memory, more go to an unnamed file in the system's temporary
/// folder (`TMPDIR`).
const IN_MEMORY: usize = 32 << 20;

/// Opens a data file; the text says its format.
///
/// # Errors
/// A file that cannot be read or unpacked.
pub(super) fn open(path: &Path) -> Result<(LineStore, String)> {
    let mut file = File::open(path).map_err(DataError::io(path, "open"))?;
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic).map_err(DataError::io(path, "read"))?;
    file.seek(SeekFrom::Start(0)).map_err(DataError::io(path, "seek in"))?;
    if magic == b"PAR1" {
        return parquet(path, file);
    }
    let (reader, packing): (Box<dyn Read>, _) = match magic.as_slice() {
        [0x1F, 0x8B, ..] => (Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))), ", gzip"),
        [0x28, 0xB5, 0x2F, 0xFD] => {
            (Box::new(zstd::Decoder::new(file).map_err(DataError::io(path, "unpack"))?), ", zstd")
        }
        _ => (Box::new(file), ""),
    };
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    let first = first_byte(&mut reader).map_err(DataError::io(path, "read"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zst").trim_end_matches(".zstd");
    if first == Some(b'[') {
        return Ok((spool(path, |out| array(reader, out))?, format!("JSON array{packing}")));
    }
    if name.ends_with(".txt") {
        let mut blank = 0;
        let store = spool(path, |out| text_lines(reader, out, &mut blank))?;
        let left_out = if blank > 0 { format!(", {blank} blank lines left out") } else { String::new() };
        return Ok((store, format!("plain text, a row a line{packing}{left_out}")));
    }
    if name.ends_with(".json")
        && let Some(what) = whole_object(path, packing)?
    {
        return Ok(what);
    }
    if packing.is_empty() {
        let file = File::open(path).map_err(DataError::io(path, "open"))?;
        return Ok((LineStore::new(path, Source::File(file)), "JSONL".into()));
    }
    let store = spool(path, |out| io::copy(&mut reader, out).map(|_| ()).map_err(|e| e.to_string()))?;
    Ok((store, format!("JSONL{packing}")))
}

/// Runs `fill` on a temporary file and makes a store of it.
fn spool(
    path: &Path,
    fill: impl FnOnce(&mut SpooledTempFile) -> std::result::Result<(), String>,
) -> Result<LineStore> {
    let mut out = SpooledTempFile::new(IN_MEMORY);
    fill(&mut out).map_err(|message| DataError::file(path, message))?;
    Ok(LineStore::new(path, Source::Spool(out)))
}

/// The first byte that is neither space nor byte order mark, without taking it.
fn first_byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let skip = |b: &&u8| b.is_ascii_whitespace() || [0xEF, 0xBB, 0xBF].contains(*b);
        let blank = buffer.iter().take_while(skip).count();
        if let Some(&byte) = buffer.get(blank) {
            reader.consume(blank);
            return Ok(Some(byte));
        }
        reader.consume(blank);
    }
}

/// A JSON array, one element after the other.
fn array(reader: impl Read, out: &mut impl Write) -> std::result::Result<(), String> {
    struct Rows<'a, W>(&'a mut W);
    impl<'de, W: Write> Visitor<'de> for Rows<'_, W> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of rows")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
            while let Some(row) = seq.next_element::<Value>()? {
                serde_json::to_writer(&mut *self.0, &row).map_err(serde::de::Error::custom)?;
                self.0.write_all(b"\n").map_err(serde::de::Error::custom)?;
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_reader(reader);
    reader
        .deserialize_seq(Rows(out))
        .and_then(|()| reader.end())
        .map_err(|e| format!("not a JSON array: {e}"))
}

/// Each line of a text as a row of its own.
fn text_lines(
    reader: impl BufRead,
    out: &mut impl Write,
    blank: &mut u64,
) -> std::result::Result<(), String> {
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(|e| format!("line {}: {e}", number + 1))?;
        if line.trim().is_empty() {
            *blank += 1;
            continue;
        }
        writeln!(out, "{}", serde_json::json!({"text": line})).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// A file that is one JSON object: rows under its only list, or rows by their ids. `None` if its lines are rows.
fn whole_object(path: &Path, packing: &str) -> Result<Option<(LineStore, String)>> {
    if !packing.is_empty() {
        return Ok(None);
    }
    let file = File::open(path).map_err(DataError::io(path, "open"))?;
    let Ok(object) = serde_json::from_reader::<_, Map<String, Value>>(BufReader::new(file)) else {
        return Ok(None);
    };
    let rows_of =
        |value: &Value| value.as_array().is_some_and(|l| !l.is_empty() && l.iter().all(Value::is_object));
    if let [key] = object.iter().filter(|(_, v)| rows_of(v)).map(|(k, _)| k.as_str()).collect::<Vec<_>>()[..]
        && !["messages", "conversations", "prompt", "teacher_completions"].contains(&key)
    {
        let store = spool(path, |out| write_rows(out, object[key].as_array().into_iter().flatten()))?;
        return Ok(Some((store, format!("JSON, the list under {key:?}"))));
    }
    if !object.is_empty() && object.values().all(Value::is_object) {
        let rows: Vec<Value> = object.into_iter().map(|(id, row)| with_id(id, row)).collect();
        return Ok(Some((spool(path, |out| write_rows(out, rows.iter()))?, "JSON, rows by id".into())));
    }
    Ok(None)
}

fn with_id(id: String, mut row: Value) -> Value {
    if let Value::Object(row) = &mut row {
        row.entry("id").or_insert(Value::String(id));
    }
    row
}

fn write_rows<'a>(
    out: &mut impl Write,
    rows: impl Iterator<Item = &'a Value>,
) -> std::result::Result<(), String> {
    for row in rows {
        writeln!(out, "{row}").map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path, _: File) -> Result<(LineStore, String)> {
    Err(DataError::file(
        path,
        "a Parquet file, and this build has no Parquet reader (cargo feature \"parquet\")",
    ))
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path, file: File) -> Result<(LineStore, String)> {
    let mut bytes = Vec::new();
    let store = spool(path, |out| super::parquet::write_rows(file, out).map(|columns| bytes = columns))?;
    let said = if bytes.is_empty() { String::new() } else { format!(" ({} as base64)", bytes.join(", ")) };
    Ok((store, format!("Parquet{said}")))
}
