//! What a run tells people: event files that TensorBoard reads, lines and tables on the console, progress.
//!
//! Metrics arrive as they stand in `metrics.jsonl`: a JSON object from TRL's metric names to numbers, where `null` is a
//! number that is not finite. Nothing here computes a metric, and the console part is pure: text from values.

mod console;
mod duration;
mod error;
mod progress;
mod tensorboard;

pub use console::{COLUMNS, Position, bytes, counted, evaluation_line, grouped, sample_table, training_line};
pub use duration::{clock, remaining};
pub use error::ReportError;
pub use progress::Progress;
pub use tensorboard::{EventWriter, PREFIX as EVENT_FILE_PREFIX, cut_after, tag};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, ReportError>;
