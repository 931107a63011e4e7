//! What can go wrong in a diagnosis.

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a diagnosis stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Rows that cannot be read or encoded.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
    /// The engine refused.
    #[error(transparent)]
    Model(#[from] gft_model::ModelError),
    /// Sampling or grading failed.
    #[error(transparent)]
    Eval(#[from] gft_eval::Error),
    /// The short training failed.
    #[error("the short training on your data: {0}")]
    Train(#[from] gft_train::Error),
    /// A temporary folder that cannot be made.
    #[error("a temporary folder: {0}")]
    Temporary(#[from] std::io::Error),
    /// Rows without demonstrations.
    #[error("none of the {rows} rows has a demonstration to learn from; SFT cannot be diagnosed without")]
    NoDemonstrations {
        /// Rows.
        rows: usize,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<gft_train::ConfigError> for Error {
    fn from(error: gft_train::ConfigError) -> Self {
        Self::Train(error.into())
    }
}
