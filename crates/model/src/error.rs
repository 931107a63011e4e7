//! The errors of the policy engine: each names the file, what was expected and what was found.

use std::path::PathBuf;

use crate::device::DeviceError;

/// What can go wrong between a model folder and its token statistics.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// `config.json` describes a model that this engine does not compute.
    #[error("{}: unsupported architecture: {reason}", path.display())]
    Unsupported {
        /// The configuration file.
        path: PathBuf,
        /// Which key, its value and what is supported.
        reason: String,
    },
    /// `config.json` is not valid.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// Which key and what was expected.
        reason: String,
    },
    /// A weights file is not a safetensors file, or its header lies.
    #[error("{}: not a valid safetensors file: {reason}", path.display())]
    Safetensors {
        /// The weights file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder has no tensor of that name.
    #[error("{}: tensor `{tensor}` is missing (expected shape {expected:?})", path.display())]
    MissingTensor {
        /// The folder or weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape that `config.json` asks for.
        expected: Vec<usize>,
    },
    /// The folder has tensors that the architecture does not know.
    #[error(
        "{}: {count} tensor(s) that this architecture has no place for, the first is `{tensor}`: \
         the folder is another architecture than its config.json says",
        path.display()
    )]
    ExtraTensor {
        /// The folder or weights file.
        path: PathBuf,
        /// The first of them by name.
        tensor: String,
        /// How many there are.
        count: usize,
    },
    /// A tensor has another shape than `config.json` asks for.
    #[error("{}: tensor `{tensor}` has shape {found:?}, config.json asks for {expected:?}", path.display())]
    Shape {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape that `config.json` asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor has a type that cannot be read as numbers of a model.
    #[error("{}: tensor `{tensor}` has dtype {found}; supported are F32, F16 and BF16", path.display())]
    Dtype {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The type in the file.
        found: String,
    },
    /// A batch that cannot be run.
    #[error("invalid batch: {0}")]
    Batch(String),
    /// The device stopped computing.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Options that contradict each other or are out of range.
    #[error("invalid option: {0}")]
    Option(String),
}

impl ModelError {
    /// Wraps an I/O error with the path it concerns.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Result of an engine call.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
