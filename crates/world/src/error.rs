//! Why the world could not be written.

use std::path::{Path, PathBuf};

/// Why the world could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be written.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tokenizer.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
    /// The model folder.
    #[error(transparent)]
    Model(#[from] gft_model::ModelError),
}

impl Error {
    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Write { path, source }
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
