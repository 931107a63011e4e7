//! Why a study stops.

use std::path::{Path, PathBuf};

/// Why a study stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A table or a file of results that says something else than it may.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Rows.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
    /// Weights.
    #[error(transparent)]
    Model(#[from] gft_model::ModelError),
    /// Evaluation.
    #[error(transparent)]
    Eval(#[from] gft_eval::Error),
    /// A run.
    #[error(transparent)]
    Train(#[from] gft_train::Error),
    /// The settings of a run.
    #[error(transparent)]
    Config(#[from] gft_train::ConfigError),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, action, source }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Error {
        Error::File { path: path.to_path_buf(), message: message.into() }
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
