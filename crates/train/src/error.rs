//! Why a run cannot start, go on or be saved: each with the place, the value and what to do.

use std::path::{Path, PathBuf};

/// Something that is wrong in a line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

/// Faults as `file:line: what`, as compilers write them; several below a count.
fn in_lines(path: &Path, faults: &[Fault]) -> String {
    let path = path.display();
    match faults {
        [Fault { line, message }] => format!("{path}:{line}: {message}"),
        several => several.iter().fold(format!("{path}: {} mistakes", several.len()), |text, fault| {
            format!("{text}\n  {path}:{}: {}", fault.line, fault.message)
        }),
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// What is wrong in the file, all of it.
    #[error("{}", in_lines(path, faults))]
    Faults {
        /// The file.
        path: PathBuf,
        /// At least one, by line.
        faults: Vec<Fault>,
    },
    /// Something that is wrong with a setting of the file, found when settings were held against each other.
    #[error("{}:{line}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line of the setting, from 1.
        line: usize,
        /// What is wrong.
        error: Box<ConfigError>,
    },
    /// A name that is not known.
    #[error("unknown setting `{name}`{}", nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_else(|| "; `gft plan` lists all settings".into()))]
    Unknown {
        /// What was given.
        name: String,
        /// The known name that is most like it.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong type.
    #[error("`{key}` = {value} is not {expected}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What was given.
        value: String,
        /// The type in words.
        expected: &'static str,
    },
    /// Another trainer's name for something that is no setting here.
    #[error("`{name}` is no setting of gft: {instead}")]
    Foreign {
        /// What was given.
        name: String,
        /// What there is instead.
        instead: &'static str,
    },
    /// A setting of the whole run in a stage.
    #[error(
        "`{key}` is set in a stage, but belongs to the run as a whole: move it above the first [[stages]]"
    )]
    BelongsToTheRun {
        /// The setting.
        key: &'static str,
    },
    /// Values that contradict each other or the method.
    #[error("{0}")]
    Contradiction(String),
    /// A setting without which nothing can be done.
    #[error("`{key}` is not set: {help}")]
    Required {
        /// The setting.
        key: &'static str,
        /// How to give it.
        help: &'static str,
    },
}

/// What ends a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
    /// No row is left to train on.
    #[error("{0}")]
    Rows(String),
    /// The model or the engine.
    #[error(transparent)]
    Model(#[from] gft_model::ModelError),
    /// A run that a device's memory does not hold.
    #[error(
        "{device}: the run would need {} and {} are free: {advice}. `gft plan` with the same --device shows the parts",
        gft_report::bytes(*needed), gft_report::bytes(*free)
    )]
    Memory {
        /// The device.
        device: String,
        /// Bytes at the predicted peak.
        needed: u64,
        /// Bytes that nobody uses.
        free: u64,
        /// Which settings to change.
        advice: String,
    },
    /// Numbers that the objective refuses.
    #[error("step {}: {error}", step + 1)]
    Objective {
        /// The step, from 0.
        step: u64,
        /// What it refuses.
        error: gft_objective::Error,
    },
    /// The rewards.
    #[error(transparent)]
    Reward(#[from] gft_reward::Error),
    /// A reward that fails while the run goes on.
    #[error(
        "step {}: {error} -> mend the reward and resume, or let it fail on more with max_reward_error_frac",
        step + 1
    )]
    RewardFailed {
        /// The step, from 0, which was not taken.
        step: u64,
        /// Which reward, how often, and why.
        error: gft_reward::Error,
    },
    /// A file that cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A saved state that cannot be continued.
    #[error("{}: cannot resume: {reason}", path.display())]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// Why and what to do.
        reason: String,
    },
    /// A checkpoint that cannot be written or trusted.
    #[error(transparent)]
    Checkpoint(#[from] gft_checkpoint::CheckpointError),
    /// Too many updates in a row were refused.
    #[error(
        "stopped after {skipped} refused updates in a row, the last because {reason}; weights are those of the last \
         accepted update, the batch is in {}: lower the learning rate, or look at these rows",
        dump.display()
    )]
    Aborted {
        /// Refusals in a row.
        skipped: u32,
        /// Why the last was refused.
        reason: String,
        /// The file with the batch.
        dump: PathBuf,
    },
    /// The user asked to stop; the state before the step that was under way is intact.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Wraps an I/O error with the path it concerns.
    pub fn io(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, action, source }
    }
}

impl From<gft_rollout::Error> for Error {
    fn from(error: gft_rollout::Error) -> Self {
        match error {
            gft_rollout::Error::Data(error) => Error::Data(error),
            gft_rollout::Error::Model(error) => Error::Model(error),
            gft_rollout::Error::Interrupted => Error::Interrupted,
        }
    }
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
