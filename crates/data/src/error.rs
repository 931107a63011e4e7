//! What can go wrong with data, each case naming the path and line and saying what to do.

use std::path::{Path, PathBuf};

/// An error of reading, templating or tokenizing data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb: "read", "write".
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file as a whole is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// No row of the files can be used.
    #[error("{0}")]
    NoRows(String),
    /// A layout cannot hold what the rows have.
    #[error("{0}")]
    Lossy(String),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
    /// One row cannot be used.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line (JSONL) or row number (other formats), from 1.
        line: u64,
        /// What is wrong and what to do.
        message: String,
    },
    /// The chat template failed, or does something that training cannot use.
    #[error("chat template {origin}: {message}")]
    Template {
        /// Where the template came from.
        origin: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A row cannot be turned into token ids with a trustworthy mask.
    #[error("row {row}: {message}")]
    Encode {
        /// The row's id.
        row: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The tokenizer library failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A value given by the caller is out of range.
    #[error("{0}")]
    Argument(String),
}

impl DataError {
    /// Returns a closure for `map_err` on an I/O result.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File { path: path.to_path_buf(), message: message.into() }
    }
}
