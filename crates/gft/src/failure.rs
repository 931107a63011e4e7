//! Why a command stops, and the exit code that says so to scripts.

use std::process::ExitCode;

use gft_model::ModelError;

/// A failed command; the variant decides the exit code, which is stable.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The run failed (1).
    #[error("{0}")]
    Run(String),
    /// The command was called wrongly (2).
    #[error("{0}")]
    Usage(String),
    /// A model folder or a data file is not what it must be (3).
    #[error("{0}")]
    Data(String),
}

impl Failure {
    /// A wrong call.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Run(_) => 1,
            Self::Usage(_) => 2,
            Self::Data(_) => 3,
        })
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Option(_) => Self::Usage(error.to_string()),
            ModelError::Io { .. } | ModelError::Batch(_) => Self::Run(error.to_string()),
            _ => Self::Data(error.to_string()),
        }
    }
}
