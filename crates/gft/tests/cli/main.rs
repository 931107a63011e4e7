//! The real binary, run in fresh folders as a user runs it.

mod chat;
mod generate;
mod init_model;
mod logprobs;
mod mistakes;
mod process;
