//! Records on disk: written as problems end, read back by the evaluation that continues.
//!
//! A folder belongs to one set of settings (model, task, prompt, sampling): its name carries their hash, so that records
//! that were made otherwise are never mixed in.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::record::Record;

/// The folder of one evaluation.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    file: File,
    /// Records of earlier calls.
    records: Vec<Record>,
}

impl Store {
    /// Opens `parent/{name}-{hash of settings}` and reads the records that are there. A last line that was cut when an
    /// evaluation was killed is removed.
    ///
    /// # Errors
    /// A folder that cannot be made, a file that cannot be read, a whole line that is no record.
    pub fn open(parent: &Path, name: &str, settings: &Value) -> Result<Store> {
        let text = settings.to_string();
        let hash: String =
            Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let folder = parent.join(format!("{name}-{hash}"));
        fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
        write_json(&folder.join("settings.json"), settings)?;
        let path = folder.join("records.jsonl");
        let records = read_whole_lines(&path)?;
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path, "open"))?;
        Ok(Store { folder, file, records })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Whether problem `doc` has been done.
    pub fn has(&self, doc: usize) -> bool {
        self.records.iter().any(|record| record.doc == doc)
    }

    /// Appends a record in one write.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn push(&mut self, record: Record) -> Result<()> {
        let path = self.folder.join("records.jsonl");
        let mut line =
            serde_json::to_string(&record).map_err(|error| Error::io(&path, "write")(error.into()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(Error::io(&path, "write"))?;
        self.records.push(record);
        Ok(())
    }

    /// All records in the order of their problems.
    pub fn into_records(mut self) -> Vec<Record> {
        self.records.sort_by_key(|record| record.doc);
        self.records
    }

    /// Writes a value as a file of the folder.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        write_json(&self.folder.join(name), value)
    }
}

/// Writes a value as indented JSON.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_string_pretty(value).map_err(|error| Error::io(path, "write")(error.into()))?;
    text.push('\n');
    fs::write(path, text).map_err(Error::io(path, "write"))
}

fn read_whole_lines(path: &Path) -> Result<Vec<Record>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(path, "read")(error)),
    };
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        let file = OpenOptions::new().write(true).open(path).map_err(Error::io(path, "open"))?;
        file.set_len(whole as u64).map_err(Error::io(path, "cut"))?;
    }
    let mut records: Vec<Record> = Vec::new();
    for (index, line) in bytes[..whole].split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice(line).map_err(|source| Error::Record {
            path: path.to_path_buf(),
            line: index + 1,
            source,
        })?;
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(doc: usize) -> Record {
        Record { doc, id: format!("r{doc}"), prompt: "?\n".into(), gold: "1".into(), samples: Vec::new() }
    }

    #[test]
    fn a_cut_line_is_done_again_and_other_settings_have_another_folder() {
        let dir = tempfile::tempdir().unwrap();
        let settings = json!({"n": 1});
        let mut store = Store::open(dir.path(), "t", &settings).unwrap();
        store.push(record(1)).unwrap();
        store.push(record(0)).unwrap();
        let path = store.folder().join("records.jsonl");
        drop(store);
        let mut text = fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 5);
        fs::write(&path, &text).unwrap();
        let mut store = Store::open(dir.path(), "t", &settings).unwrap();
        assert!(store.has(1) && !store.has(0));
        store.push(record(0)).unwrap();
        let docs: Vec<usize> = store.into_records().iter().map(|record| record.doc).collect();
        assert_eq!(docs, [0, 1]);
        assert!(Store::open(dir.path(), "t", &json!({"n": 2})).unwrap().records().is_empty());
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "t", &json!({})).unwrap();
        fs::write(store.folder().join("records.jsonl"), "{}\n").unwrap();
        let error = Store::open(dir.path(), "t", &json!({})).unwrap_err().to_string();
        assert!(error.contains("records.jsonl:1"), "{error}");
    }
}
