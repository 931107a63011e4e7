//! Files made for a test, and data sets opened from them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses what it needs; a test may panic"
)]

use gft_data::{Dataset, ReadOptions};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data").join(name)
}

pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

pub fn open(path: &Path) -> Dataset {
    Dataset::open(&[path], &ReadOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}
