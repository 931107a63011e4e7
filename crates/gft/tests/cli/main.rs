//! The real binary, run in fresh folders as a user runs it.

#![allow(clippy::unwrap_used, clippy::panic)] // test helpers stand outside of #[test] functions

mod chat;
mod device;
mod driver;
mod generate;
mod init_model;
mod logprobs;
mod mistakes;
mod plan;
mod process;
mod streams;
