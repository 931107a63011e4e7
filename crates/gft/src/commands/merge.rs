//! `gft merge`: an adapter added into its base model, compared with it before success is said.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use gft_model::folder::SaveOptions;
use gft_model::policy::Want;
use gft_model::random::Stream;
use gft_model::{Batch, Cpu, Dtype, ModelFolder, Policy};
use serde::Serialize;

use crate::failure::Failure;
use crate::model_path;
use crate::new_folder::{self, NewFolder};
use crate::output;
use crate::terminal::Verbosity;

/// Sequences on which adapter and merged model are compared, and their tokens.
const SEQUENCES: u64 = 8;
const TOKENS: usize = 48;
/// Largest difference of a log-probability between adapter and merged weights in f32: some hundred times what rounding
/// gives on models of a few layers.
const EQUAL: f64 = 1e-3;
/// Share of what the adapter does that may be lost to the rounding of the written weights.
const LOST: f64 = 0.5;

/// Arguments of `gft merge`.
#[derive(ClapArgs)]
#[command(
    after_help = "The weights are merged in f32 and rounded once. Before success is said, log-probabilities of the adapter, \
                        of the merged weights and of the folder as it was written are compared on random tokens. A dtype \
                        that would round most of the adapter away is refused."
)]
pub struct Args {
    /// Adapter folder: a run's, a checkpoint's or PEFT's.
    #[arg(value_name = "ADAPTER")]
    adapter: PathBuf,
    /// Folder of the merged model.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Dtype of the merged weights [default: the base model's].
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<Dtype>,
    /// Replace what is in the folder.
    #[arg(long)]
    force: bool,
    /// The comparison as JSON on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// What was compared: differences of log-probabilities in nats.
#[derive(Debug, Serialize)]
struct Compared {
    /// Mean change that the adapter makes to its base.
    adapter_mean: f64,
    /// Largest difference between adapter and merged weights in f32.
    merged_max: f64,
    /// Mean and largest difference between the adapter and the folder as written.
    written_mean: f64,
    written_max: f64,
    /// Tokens compared.
    tokens: usize,
    /// Dtype of the folder.
    dtype: &'static str,
}

/// Runs `gft merge`.
pub fn run(args: Args) -> Result<(), Failure> {
    let folder = model_path::open(&args.adapter)?;
    if folder.lora().is_none() {
        return Err(Failure::data(format!(
            "{}: a whole model, not an adapter: there is nothing to merge",
            args.adapter.display()
        )));
    }
    for source in [folder.dir(), folder.base_dir()] {
        if is_same(source, &args.out) {
            return Err(Failure::usage(format!(
                "{}: what is merged from there would be lost; give another folder",
                args.out.display()
            )));
        }
    }
    new_folder::check(&args.out, args.force)?;
    let batch = sequences(&folder)?;
    let adapted = folder.load_wide(Cpu::new())?;
    let before = logprobs(&adapted.without_adapter(), &batch)?;
    let wanted = logprobs(&adapted, &batch)?;
    let merged = adapted.merge_adapter()?;
    let found = logprobs(&merged, &batch)?;
    let (_, merged_max) = difference(&wanted, &found);
    if merged_max > EQUAL || merged_max.is_nan() {
        return Err(Failure::Run(format!(
            "the merged weights do not compute what the adapter computes: log-probabilities differ by up to {merged_max:.2e}; \
             nothing was written"
        )));
    }
    let options = SaveOptions { dtype: args.dtype, ..SaveOptions::default() };
    let dtype = folder.saved_dtype(&merged, &options)?;
    let target = NewFolder::beside(&args.out)?;
    let written = write(&folder, &merged, target.path(), &options, &batch)?;
    let (written_mean, written_max) = difference(&wanted, &written);
    let (adapter_mean, _) = difference(&before, &wanted);
    let compared = Compared {
        adapter_mean,
        merged_max,
        written_mean,
        written_max,
        tokens: wanted.len(),
        dtype: dtype.config_name(),
    };
    if compared.written_mean > LOST * compared.adapter_mean
        && compared.adapter_mean > 0.0
        && dtype != Dtype::F32
    {
        return Err(Failure::Run(format!(
            "rounding to {} would undo the adapter: it moves log-probabilities by {:.1e} on average, and the rounded weights \
             are {:.1e} away from it; --dtype float32 keeps it, or give the base model and the adapter together",
            compared.dtype, compared.adapter_mean, compared.written_mean
        )));
    }
    target.replace(&args.out)?;
    say(&args, &compared)
}

/// Random tokens, the same for each model of a vocabulary.
fn sequences(folder: &ModelFolder) -> Result<Batch, Failure> {
    let arch = folder.architecture();
    let mut batch = Batch::new();
    for sequence in 0..SEQUENCES {
        let stream = Stream::new(sequence);
        let tokens: Vec<u32> = (0..TOKENS.min(arch.max_positions))
            .map(|i| (stream.uniform(i as u64) * arch.vocab as f64) as u32)
            .collect();
        batch.push_sequence(&tokens)?;
    }
    Ok(batch)
}

fn logprobs(policy: &Policy<Cpu>, batch: &Batch) -> Result<Vec<f32>, Failure> {
    Ok(policy.token_stats(batch, &Want::default())?.logprobs)
}

/// Mean and largest absolute difference; NaN where there is one.
fn difference(a: &[f32], b: &[f32]) -> (f64, f64) {
    let differences = || a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    let mean = differences().sum::<f64>() / a.len().max(1) as f64;
    if mean.is_nan() { (mean, mean) } else { (mean, differences().fold(0.0, f64::max)) }
}

/// Writes the folder aside, reads it back, and returns its log-probabilities.
fn write(
    folder: &ModelFolder,
    merged: &Policy<Cpu>,
    partial: &Path,
    options: &SaveOptions,
    batch: &Batch,
) -> Result<Vec<f32>, Failure> {
    folder.save(merged, partial, options)?;
    logprobs(&ModelFolder::open(partial)?.load_frozen(Cpu::new())?, batch)
}

/// Whether two paths are one folder; one that is not there is no other's.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn say(args: &Args, compared: &Compared) -> Result<(), Failure> {
    let Compared { adapter_mean, merged_max, written_mean, written_max, tokens, dtype } = compared;
    args.verbosity.note(&format!(
        "merged in f32: log-probabilities of {tokens} random tokens are those of the adapter to {merged_max:.1e}"
    ));
    args.verbosity.note(&format!(
        "written in {dtype}: {written_mean:.1e} away from it on average, {written_max:.1e} at most; the adapter itself moves \
         them by {adapter_mean:.1e}"
    ));
    if *adapter_mean == 0.0 {
        args.verbosity
            .note("the adapter changes nothing: its B matrices are zero, as in one that was never trained");
    }
    args.verbosity.note(&format!("{}: a whole model, without the adapter", args.out.display()));
    if args.json {
        output::json(compared)?;
    }
    Ok(())
}
