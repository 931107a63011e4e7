//! The `gft` binary: parse, validate, call, print.

mod columns;
mod commands;
mod device;
mod failure;
mod interrupt;
mod model_path;
mod new_folder;
mod output;
mod prompts;
mod rows;
mod sampling;
mod terminal;
mod unknown;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;

/// Group fine-tuning for language models.
#[derive(Parser)]
#[command(name = "gft", version, about, max_term_width = 110, args_override_self = true)]
struct Cli {
    /// Threads to compute with [default: all cores].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure this machine and the engine on it: products, a training step, decoding.
    Bench(commands::bench::Args),
    /// Talk to a model.
    Chat(commands::chat::Args),
    /// Look at data as training reads it, or rewrite it in another layout.
    Data(commands::data::Args),
    /// See in a minute or two what SFT and GFT do to a small model: accuracy, forgetting, entropy, distance.
    Demo(commands::demo::Args),
    /// Look at this machine: processor, memory, disk, terminal, optional parts.
    Doctor(commands::doctor::Args),
    /// Measure what SFT on your data does to your model: weights, gradients, rewards, diversity.
    Diagnose(commands::diagnose::Args),
    /// Evaluate a model on benchmarks and data files, alone or against another.
    Eval(commands::eval::Args),
    /// Complete prompts: one from the command line, or rows of JSON.
    Generate(commands::generate::Args),
    /// Build groups of expert, teacher and own responses, and look at them.
    #[command(subcommand)]
    Group(commands::group::Command),
    /// Write a folder to begin with: the demo's data, base model and recipes.
    Init(commands::init::Args),
    /// Make a new model folder: random weights, and a tokenizer trained on your text.
    InitModel(commands::init_model::Args),
    /// Log-probability of every token of given rows.
    Logprobs(commands::logprobs::Args),
    /// Add a LoRA adapter into its base model: a whole model folder, compared before success is said.
    Merge(commands::merge::Args),
    /// Write a run as one HTML page: curves, groups, tokens, evaluations.
    Report(commands::report::Args),
    /// Write several runs as one HTML page, laid over each other.
    Compare(commands::report::CompareArgs),
    /// Run a table of experiments on the demo's world, and write their tables.
    Study(commands::study::Args),
    /// Train a model: SFT, DFT, GFT, GRPO and their relatives.
    Train(commands::train::Args),
    /// Print what a training run would do: every setting and where it comes from, the batch, steps, memory, disk.
    Plan(commands::plan::Args),
    /// Evaluate a method on groups of log-probabilities: JSON lines in, loss and gradients out.
    Objective(commands::objective::Args),
    /// Compare answers with reference answers: rows of JSON, or one pair with an explanation.
    Verify(commands::verify::Args),
}

fn main() -> ExitCode {
    let line: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let parsed =
        Cli::try_parse_from(&line).or_else(|error| match unknown::flags(&error, &Cli::command(), &line) {
            Some(message) => Err(Failure::usage(message)),
            None => error.exit(),
        });
    match parsed.and_then(run) {
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
            .num_threads(usize::from(threads))
            .build_global()
            .map_err(|error| Failure::usage(format!("--threads {threads}: {error}")))?;
    }
    match cli.command {
        Command::Bench(args) => commands::bench::run(args),
        Command::Chat(args) => commands::chat::run(args),
        Command::Data(args) => commands::data::run(args),
        Command::Demo(args) => commands::demo::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Diagnose(args) => commands::diagnose::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Generate(args) => commands::generate::run(args),
        Command::Group(command) => commands::group::run(command),
        Command::Init(args) => commands::init::run(args),
        Command::InitModel(args) => commands::init_model::run(args),
        Command::Logprobs(args) => commands::logprobs::run(args),
        Command::Merge(args) => commands::merge::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Compare(args) => commands::report::run_compare(args),
        Command::Study(args) => commands::study::run(args),
        Command::Train(args) => commands::train::run(args),
        Command::Plan(args) => commands::plan::run(args),
        Command::Objective(args) => commands::objective::run(args),
        Command::Verify(args) => commands::verify::run(args),
    }
}
