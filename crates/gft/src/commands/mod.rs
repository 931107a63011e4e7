//! One file per command: its arguments and what it does with them.

pub mod bench;
pub mod objective;
pub mod plan;
pub mod train;
