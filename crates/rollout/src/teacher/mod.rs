//! Responses of other models to a data set's prompts: from OpenAI-compatible endpoints and from local model folders.
//!
//! Every response goes into a [`Cache`] on disk under the hash of the question that it answers, before anything else is
//! done with it. So building groups has two halves that need not happen in one process: [`ask`] (or [`draw`] for a local
//! model) fills the cache with what is missing ([`Respondent::census`] says what is), and [`Panel::assemble`] makes group
//! rows of it. An interrupted build never asks twice.

mod answer;
mod ask;
mod assemble;
mod budget;
mod cache;
mod endpoint;
mod local;
mod pace;
mod question;
mod respondent;

pub use answer::{Answer, Usage};
pub use ask::{Ended as AskEnded, Failed, Tally, ask};
pub use assemble::{Assembled, Counts, Keep, Panel};
pub use budget::{Bound, Budget, Price, Spent};
pub use cache::Cache;
pub use endpoint::{Endpoint, EndpointSettings};
pub use local::{LocalTeacher, draw, place};
pub use question::{Framing, Key, Question, Sampling};
pub use respondent::{Census, Respondent};

/// What stops the asking as a whole.
#[derive(Debug, thiserror::Error)]
pub enum TeacherError {
    /// A setting that cannot be.
    #[error("teacher {teacher}: `{setting}` {problem}")]
    Setting {
        /// The teacher.
        teacher: String,
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The cache cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: std::path::PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file of the cache is not what was written there.
    #[error("{}: not a cached response ({message}); delete the file to ask again", path.display())]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The server refuses every request alike: wrong key, address or model.
    #[error("teacher {teacher}: {url} refuses requests: {why}")]
    Refused {
        /// The teacher.
        teacher: String,
        /// The address.
        url: String,
        /// What it said.
        why: String,
    },
    /// So many prompts in a row failed that the server is taken to be gone.
    #[error(
        "teacher {teacher}: {failed} prompts in a row brought nothing from {url}, the last: {why}; what was answered is \
         kept, the same command goes on from there"
    )]
    Gone {
        /// The teacher.
        teacher: String,
        /// The address.
        url: String,
        /// Prompts without success.
        failed: usize,
        /// The last trouble.
        why: String,
    },
    /// A row that cannot be read any more, or whose tokens cannot be decoded.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
    /// A local teacher failed.
    #[error(transparent)]
    Rollout(#[from] Box<crate::Error>),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}
