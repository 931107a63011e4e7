//! `gft group`: groups of expert, teacher and own responses as files that can be built, looked at and shared.

mod build;
mod fill;
mod panel;
mod spec;
mod stats;
mod summary;

use clap::Subcommand;

use crate::failure::Failure;

/// What can be done with groups.
#[derive(Subcommand)]
pub enum Command {
    /// Add teachers' responses, and if wanted the policy's, to the rows of a data set.
    Build(Box<build::Args>),
    /// What is in files of groups: accuracy, length and diversity of each source, groups without signal, rejected experts.
    Stats(Box<stats::Args>),
}

/// Runs `gft group`.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Build(args) => build::run(*args),
        Command::Stats(args) => stats::run(&args),
    }
}
