//! `gft data`: look at data sets and rewrite them.

mod convert;
mod examples;
mod inspect;
mod page;
mod paint;

use clap::{Args as ClapArgs, Subcommand};

use crate::failure::Failure;

/// Arguments of `gft data`.
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at a data set as training reads it: formats, lengths, duplicates, gold answers, every token's role.
    Inspect(Box<inspect::Args>),
    /// Rewrite data in another layout or format.
    Convert(Box<convert::Args>),
}

/// Runs `gft data`.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Inspect(args) => inspect::run(*args),
        Command::Convert(args) => convert::run(*args),
    }
}
