//! What a run tells people: event files that TensorBoard reads, and lines on the console.
//!
//! Metrics arrive as they stand in `metrics.jsonl`: a JSON object from TRL's metric names to numbers, where `null` is a
//! number that is not finite. Nothing here computes a metric, and the console part is pure: text from values.

mod console;
mod duration;
mod error;
mod tensorboard;

pub use console::{COLUMNS, Progress, evaluation_line, training_line};
pub use duration::{clock, remaining};
pub use error::ReportError;
pub use tensorboard::{EventWriter, tag};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, ReportError>;
