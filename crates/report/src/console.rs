//! What people read while a run goes on, as text made from values: the line of a step, of an evaluation, tables of samples.

mod line;
mod numbers;
mod table;

pub use line::{COLUMNS, Position, evaluation_line, training_line};
pub use numbers::{bytes, counted, grouped};
pub use table::sample_table;
