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
    /// The user stopped it; what there was is saved (130).
    #[error("{0}")]
    Interrupted(String),
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
            Self::Interrupted(_) => 130,
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

impl From<gft_train::ConfigError> for Failure {
    fn from(error: gft_train::ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<gft_train::Error> for Failure {
    fn from(error: gft_train::Error) -> Self {
        use gft_train::Error;
        match error {
            Error::Config(error) => error.into(),
            Error::Model(error) => error.into(),
            Error::Reward(_) => Self::Usage(error.to_string()),
            Error::Data(_) | Error::Rows(_) => Self::Data(error.to_string()),
            Error::Interrupted => Self::Interrupted("interrupted".into()),
            other => Self::Run(other.to_string()),
        }
    }
}
