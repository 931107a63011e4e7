//! What can go wrong with reports.

use std::io;
use std::path::PathBuf;

/// An error of writing a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Values that cannot be shown as asked.
    #[error("{tag}: {message}")]
    Values {
        /// The metric.
        tag: String,
        /// What is wrong and what to do.
        message: String,
    },
}
