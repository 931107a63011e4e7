//! Why a command stops, and the exit code that says so to scripts.

use std::process::ExitCode;

use gft_data::DataError;
use gft_model::ModelError;
use gft_model::device::DeviceError;

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
    /// The device's memory does not suffice (4).
    #[error("{0}")]
    Memory(String),
    /// A server is gone, or refuses what it is asked (5).
    #[error("{0}")]
    Remote(String),
    /// The user stopped it (130).
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// A wrong call.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A folder or file that is not what it must be.
    pub fn data(message: impl Into<String>) -> Self {
        Self::Data(message.into())
    }

    /// The same failure, said of a place: `stdin:12: ...`.
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Run(message) => Self::Run(format!("{place}: {message}")),
            Self::Usage(message) => Self::Usage(format!("{place}: {message}")),
            Self::Data(message) => Self::Data(format!("{place}: {message}")),
            Self::Memory(message) => Self::Memory(format!("{place}: {message}")),
            Self::Remote(message) => Self::Remote(format!("{place}: {message}")),
            Self::Interrupted => Self::Interrupted,
        }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Run(_) => 1,
            Self::Usage(_) => 2,
            Self::Data(_) => 3,
            Self::Memory(_) => 4,
            Self::Remote(_) => 5,
            Self::Interrupted => 130,
        })
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Option(_) => Self::Usage(error.to_string()),
            ModelError::Device(DeviceError::OutOfMemory { .. }) => Self::Memory(error.to_string()),
            ModelError::Io { .. } | ModelError::Batch(_) | ModelError::Device(_) => {
                Self::Run(error.to_string())
            }
            _ => Self::Data(error.to_string()),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match &error {
            DataError::Argument(_) => Self::Usage(error.to_string()),
            DataError::Stopped => Self::Interrupted,
            DataError::Io { source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
                Self::Run(error.to_string())
            }
            _ => Self::Data(error.to_string()),
        }
    }
}

impl From<gft_eval::Error> for Failure {
    fn from(error: gft_eval::Error) -> Self {
        use gft_eval::Error;
        match error {
            Error::Data(error) => error.into(),
            Error::Model(error) => error.into(),
            Error::Io { .. } | Error::NotFinite { .. } => Self::Run(error.to_string()),
            other => Self::Data(other.to_string()),
        }
    }
}

impl From<gft_diagnose::Error> for Failure {
    fn from(error: gft_diagnose::Error) -> Self {
        use gft_diagnose::Error;
        match error {
            Error::Data(error) => error.into(),
            Error::Model(error) => error.into(),
            Error::Eval(error) => error.into(),
            Error::Interrupted => Self::Interrupted,
            Error::NoDemonstrations { .. } => Self::Data(error.to_string()),
            Error::Train(_) | Error::Temporary(_) => Self::Run(error.to_string()),
        }
    }
}

impl From<gft_rollout::teacher::TeacherError> for Failure {
    fn from(error: gft_rollout::teacher::TeacherError) -> Self {
        use gft_rollout::teacher::TeacherError;
        match error {
            TeacherError::Data(error) => error.into(),
            TeacherError::Rollout(error) => match *error {
                gft_rollout::Error::Data(error) => error.into(),
                gft_rollout::Error::Model(error) => error.into(),
                gft_rollout::Error::Interrupted => Self::Interrupted,
            },
            TeacherError::Interrupted => Self::Interrupted,
            TeacherError::Setting { .. } => Self::Usage(error.to_string()),
            TeacherError::Damaged { .. } => Self::Data(error.to_string()),
            TeacherError::Io { .. } => Self::Run(error.to_string()),
            TeacherError::Refused { .. } | TeacherError::Gone { .. } => Self::Remote(error.to_string()),
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
            Error::Reward(gft_reward::Error::File { .. }) => Self::Data(error.to_string()),
            Error::Reward(_) => Self::Usage(error.to_string()),
            Error::Data(_) | Error::Rows(_) => Self::Data(error.to_string()),
            Error::Memory { .. } => Self::Memory(error.to_string()),
            Error::Interrupted => Self::Interrupted,
            other => Self::Run(other.to_string()),
        }
    }
}

impl From<gft_world::Error> for Failure {
    fn from(error: gft_world::Error) -> Self {
        match error {
            gft_world::Error::Data(error) => error.into(),
            gft_world::Error::Model(error) => error.into(),
            gft_world::Error::Write { .. } => Self::Run(error.to_string()),
        }
    }
}

impl From<gft_study::Error> for Failure {
    fn from(error: gft_study::Error) -> Self {
        use gft_study::Error;
        match error {
            Error::Data(error) => error.into(),
            Error::Model(error) => error.into(),
            Error::Eval(error) => error.into(),
            Error::Train(error) => error.into(),
            Error::Config(error) => error.into(),
            Error::Interrupted => Self::Interrupted,
            Error::File { .. } => Self::Data(error.to_string()),
            Error::Io { .. } => Self::Run(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_memory_has_a_code_of_its_own() {
        let device = "cuda:0".to_owned();
        let (of, operation) = (device.clone(), "alloc".to_owned());
        let full =
            DeviceError::OutOfMemory { device: of, operation, wanted: 8, free: 4, total: 16, held: 12 };
        let failed = DeviceError::Failed { device, operation: "add".into(), reason: "no".into() };
        assert_eq!(Failure::from(ModelError::Device(full)).exit_code(), ExitCode::from(4));
        assert_eq!(Failure::from(ModelError::Device(failed)).exit_code(), ExitCode::from(1));
        let refused = gft_train::Error::Memory {
            device: "cuda:0".to_owned(),
            needed: 3_000_000_000,
            free: 2_000_000_000,
            advice: "lower tokens_per_pass from 4096 to 1024".to_owned(),
        };
        assert!(refused.to_string().contains("to 1024"), "{refused}");
        assert_eq!(Failure::from(refused).exit_code(), ExitCode::from(4));
    }
}
