//! What can go wrong in an evaluation.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an evaluation stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A data file that cannot be read, or text that cannot be tokenized.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
    /// The engine refused.
    #[error(transparent)]
    Model(#[from] gft_model::ModelError),
    /// A file that is not the benchmark it is taken for, or has nothing to evaluate on.
    #[error("{}: {message}", path.display())]
    Task {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A problem that cannot be put to this model.
    #[error("{id}: {message}")]
    Problem {
        /// The problem.
        id: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A file of records that cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of a file of records that is none.
    #[error("{}:{line}: not a record of an evaluation: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A log-probability that is no number.
    #[error("{id}: a log-probability is not finite: the weights are damaged, or have values beyond f32")]
    NotFinite {
        /// The problem.
        id: String,
    },
}

impl Error {
    pub(crate) fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error + 'a {
        move |source| Error::Io { path: path.to_path_buf(), action, source }
    }
}
