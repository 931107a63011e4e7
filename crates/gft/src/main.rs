//! The `gft` binary: parse, validate, call, print.

mod commands;
mod failure;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Group fine-tuning for language models.
#[derive(Parser)]
#[command(name = "gft", version, about, max_term_width = 110)]
struct Cli {
    /// Threads to compute with [default: all cores].
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure this machine and the engine on it: products, a training step, decoding.
    Bench(commands::bench::Args),
    /// Train a model: SFT, DFT, GFT, GRPO and their relatives.
    Train(commands::train::Args),
    /// Print what a training run would do: every setting and where it comes from, the batch, steps, memory, disk.
    Plan(commands::plan::Args),
    /// Evaluate a method on groups of log-probabilities: JSON lines in, loss and gradients out.
    Objective(commands::objective::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::report(&failure);
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|error| Failure::usage(format!("--threads {threads}: {error}")))?;
    }
    match cli.command {
        Command::Bench(args) => commands::bench::run(args),
        Command::Train(args) => commands::train::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Objective(args) => commands::objective::run(args),
    }
}
