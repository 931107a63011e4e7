//! `gft diagnose`: what SFT on given data does to a model, measured.

mod page;

use std::path::PathBuf;

use clap::Args as ClapArgs;
use gft_data::{Dataset, EncodeOptions, Encoder};
use gft_diagnose::{
    Examples, GradientShares, Paths, Probe, ShortRun, Sparsity, Weights, gradient_shares, short_run,
};
use gft_model::device::Device;
use gft_model::{ModelFolder, Policy};
use serde::Serialize;

use crate::columns::ColumnArgs;
use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::terminal::Verbosity;
use crate::{interrupt, model_path, output, prompts};
use gft_report::Progress;

/// Arguments of `gft diagnose`.
#[derive(ClapArgs)]
#[command(
    after_help = "Three things are measured: the weights 1/p that SFT gives the expert's tokens and the share of \
                        the gradient that the rarest carry; how often the model's own samples meet the reference; and \
                        what a short SFT does to the number of ways in which it answers. Beside each stands what \
                        rectified coefficients (DCR, arXiv 2604.14258) would make of it."
)]
pub struct Args {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Data files with demonstrations.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// DCR's threshold.
    #[arg(long, value_name = "P", default_value_t = 0.7, value_parser = threshold)]
    tau: f64,
    /// Demonstrations whose tokens are weighed.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    rows: u32,
    /// Tokens whose gradient is computed, one backward pass each; 0 leaves that part out.
    #[arg(long, value_name = "N", default_value_t = 140)]
    gradient_tokens: u32,
    /// Prompts that the model is asked.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    prompts: u32,
    /// Completions of each, at temperature 1.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..))]
    samples: u32,
    /// Longest completion in tokens.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// Sequences that are computed together; changes the time, never the result.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Steps of the short SFT; 0 leaves that part out.
    #[arg(long, value_name = "N", default_value_t = 20)]
    sft_steps: u32,
    /// Demonstrations of a step of it.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    sft_batch: u32,
    /// Its learning rate, constant.
    #[arg(long, value_name = "X", default_value_t = 5e-5)]
    learning_rate: f64,
    /// Seed of every random number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The numbers as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

fn threshold(text: &str) -> Result<f64, String> {
    let tau: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&tau) { Ok(tau) } else { Err("must be between 0 and 1".into()) }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    model: String,
    data: Vec<String>,
    tau: f64,
    demonstrations: usize,
    rows_without_demonstration: usize,
    rows_too_long: usize,
    weights: Weights,
    gradients: Option<GradientShares>,
    /// `None` where no row has a reference answer.
    sparsity: Option<Sparsity>,
    paths: Option<Paths>,
}

/// Runs `gft diagnose`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    interrupt::arm();
    let found = diagnose(&args);
    interrupt::disarm();
    let found = found?;
    if args.json {
        return output::json(&found);
    }
    output::write(&page::page(&found));
    Ok(())
}

fn diagnose(args: &Args) -> Result<Diagnosis, Failure> {
    let folder = model_path::open(&args.model)?;
    let encoder = Encoder::new(prompts::tokenizer(folder.tokenizer_dir())?, EncodeOptions::default())?;
    let data = Dataset::open(&args.data, &args.columns.read_options())?;
    args.verbosity.detail(&data.description());
    let positions = folder.architecture().max_positions;
    let examples = Examples::read(&data, &encoder, positions, args.rows as usize)?;
    let (folder, encoder, examples) = (&folder, &encoder, &examples);
    args.device.run(args.verbosity, Diagnosing { args, folder, encoder, examples })
}

/// Diagnosing with demonstrations that have been read.
struct Diagnosing<'a> {
    args: &'a Args,
    folder: &'a ModelFolder,
    encoder: &'a Encoder,
    examples: &'a Examples,
}

impl Work for Diagnosing<'_> {
    type Output = Diagnosis;

    fn on<D: Device + Clone>(self, device: D) -> Result<Diagnosis, Failure> {
        let Diagnosing { args, folder, encoder, examples } = self;
        let positions = folder.architecture().max_positions;
        let policy: Policy<D> = folder.load(device.clone())?;
        let logprobs = examples.logprobs(&policy, &mut interrupt::asked)?;
        let flat: Vec<f64> = logprobs.iter().flatten().flatten().copied().collect();
        let weights = Weights::of(&flat, args.tau)
            .ok_or_else(|| Failure::data("no token of these demonstrations is learned".to_owned()))?;
        let quiet = args.verbosity.quiet;
        let gradients = match args.gradient_tokens as usize {
            0 => None,
            budget => {
                let mut progress = Progress::new("gradients", quiet);
                let mut tick = |done: usize, of: usize| {
                    progress.update(done as f64 / of as f64, done, || {
                        format!("{done}/{of} tokens, a backward pass each")
                    });
                    interrupt::asked()
                };
                let used = &examples.used;
                Some(gradient_shares(&policy, used, &logprobs, args.tau, budget, args.seed, &mut tick)?)
            }
        };
        let asked = examples.used.len().min(args.prompts as usize);
        let probe = Probe {
            examples: &examples.used[..asked],
            encoder,
            samples: args.samples as usize,
            max_new_tokens: (args.max_new_tokens as usize).min(positions),
            max_batch: args.batch as usize,
            seed: args.seed,
        };
        let mut progress = Progress::new("own samples", quiet);
        let sparsity =
            probe.of(&policy, &mut ticking(&mut progress, asked * probe.samples * probe.max_new_tokens))?;
        progress.clear();
        let sparsity = (sparsity.prompts > 0).then_some(sparsity);
        drop(policy);
        let paths = match (&sparsity, args.sft_steps) {
            (Some(before), 1..) => Some(paths(args, &device, &probe, before.clone())?),
            _ => None,
        };
        Ok(Diagnosis {
            model: args.model.display().to_string(),
            data: args.data.iter().map(|path| path.display().to_string()).collect(),
            tau: args.tau,
            demonstrations: examples.used.len(),
            rows_without_demonstration: examples.without,
            rows_too_long: examples.too_long,
            weights,
            gradients,
            sparsity,
            paths,
        })
    }
}

/// Shows tokens against the most that there can be, and asks for an interruption.
fn ticking(progress: &mut Progress, most: usize) -> impl FnMut() -> bool + '_ {
    let mut tokens = 0;
    move || {
        tokens += 1;
        progress.update(tokens as f64 / most.max(1) as f64, tokens, || {
            format!("{tokens} tokens, at most {most}")
        });
        interrupt::asked()
    }
}

fn paths<D: Device + Clone>(
    args: &Args,
    device: &D,
    probe: &Probe<'_>,
    before: Sparsity,
) -> Result<Paths, Failure> {
    let run = ShortRun {
        model: &args.model,
        data: &args.data,
        columns: args.columns.map(),
        steps: u64::from(args.sft_steps),
        batch: args.sft_batch as usize,
        learning_rate: args.learning_rate,
        seed: args.seed,
    };
    let short = |tau: Option<f64>, name: &'static str| {
        let mut progress = Progress::new(name, args.verbosity.quiet);
        let mut step = |step: u64, of: u64| {
            progress.update(step as f64 / of.max(1) as f64, step as usize, || {
                format!("step {step}/{of}, then samples")
            });
        };
        short_run(device, &run, tau, probe, &mut step, &interrupt::asked)
    };
    Ok(Paths {
        steps: run.steps,
        batch: run.batch,
        learning_rate: run.learning_rate,
        before,
        sft: short(None, "short SFT")?,
        rectified: short(Some(args.tau), "short SFT with DCR")?,
    })
}
