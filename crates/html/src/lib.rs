//! Runs as one HTML file that needs nothing else: no network, no server, no library.
//!
//! [`Run`] reads what a run's folder holds; `series` and `groups` choose what is shown of it; `page` writes the file.
//! Tables are written here and can be read without scripts; curves, histograms and groups are drawn by `assets/page.js`
//! from data embedded as JSON. Whatever a model wrote is hostile: it reaches the page as escaped text or as JSON whose
//! `<` is escaped, and is put into the document as text alone.

mod config;
mod escape;
mod evaluations;
mod groups;
mod page;
mod run;
mod series;

use std::path::Path;

pub use run::Run;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder that is no run.
    #[error("{path}: not a run: it has no metrics.jsonl (the output folder of gft train has one)")]
    NoRun {
        /// The folder.
        path: String,
    },
    /// A file that cannot be read.
    #[error("{path}: cannot read: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is not what it must be.
    #[error("{path}:{line}: not JSON: {source}")]
    Json {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A run's tokenizer that cannot be read.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
}

/// The page of some runs: everything of one, or several laid over each other.
///
/// # Errors
/// A folder that is no run, a file that cannot be read.
pub fn report(paths: &[&Path]) -> Result<String> {
    let mut runs = paths.iter().map(|path| Run::read(path)).collect::<Result<Vec<Run>>>()?;
    run::name_apart(&mut runs);
    page::page(&runs)
}
