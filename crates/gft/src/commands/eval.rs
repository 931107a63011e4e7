//! `gft eval`: a model on benchmarks and data files, alone or against another one.

mod model;
mod progress;
mod results;
mod table;

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use gft_data::{Dataset, ReadOptions};
use gft_eval::stats::Bootstrap;
use gft_eval::{Drift, DriftOptions, Grader, Record, RunOptions, Shot, Style, Styled, Task, compare, drift};
use gft_model::device::Device;
use gft_model::generate::Sampling;
use serde_json::json;

use crate::columns::ColumnArgs;
use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::interrupt;
use crate::prompts::TemplateArgs;
use crate::sampling::number;
use crate::terminal::Verbosity;
use model::Model;
use results::{Compared, by_task, print, write_harness};

/// How problems are put to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StyleName {
    /// As `gft train` shows the same rows.
    Auto,
    /// Through the model's chat template.
    Chat,
    /// The question as it stands.
    Verbatim,
    /// The question and "Please reason step by step, and put your final answer within \boxed{}.".
    Boxed,
    /// ChatML with that instruction as system message (Qwen2.5-Math's evaluation).
    QwenBoxed,
    /// Worked examples before the question.
    FewShot,
}

/// Arguments of `gft eval`.
#[derive(ClapArgs)]
#[command(
    after_help = "Benchmarks are told by the file's name (gsm8k-test.jsonl, aime24.jsonl), its folder's \
                        (gsm8k/test.jsonl) or its columns; any other data file needs reference answers.\n\
                        Answers are compared by the verifier, choices by their letter. Intervals are 95 %, by \
                        bootstrap over problems.\n\
                        A completion depends on the weights, the seed, the problem's place and the sample's number \
                        alone. Records are written as problems end: the same command continues a killed evaluation."
)]
pub struct Args {
    /// Benchmarks and data files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Model folder, or a run's.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Evaluate this model too and compare: paired differences, KL divergence, entropy.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Read the files as this benchmark.
    #[arg(long, value_name = "NAME")]
    benchmark: Option<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// The first N problems of each file only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// How problems are put to the model.
    #[arg(long, value_enum, default_value = "auto", value_name = "STYLE")]
    prompt_style: StyleName,
    /// Text appended to every question (styles auto, chat, verbatim).
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Worked examples of the style few-shot.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    shots: u32,
    /// Take them from the first rows of this file [default: four built-in word problems].
    #[arg(long, value_name = "FILE")]
    shots_from: Option<PathBuf>,
    #[command(flatten)]
    sampling: Sampled,
    /// Let the last number of a completion count as its answer where it marks none.
    #[arg(long)]
    last_number: bool,
    /// Prompts, with --against, on which KL divergence and entropy are measured; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 64)]
    drift_prompts: u32,
    /// Folder of the records [default: eval/ of a run's folder, else eval-NAME here].
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Write the results in lm-evaluation-harness's layout too, into this folder.
    #[arg(long, value_name = "DIR")]
    harness_dir: Option<PathBuf>,
    /// The results as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// How completions are drawn. The model's `generation_config.json` has no say: two models are compared by the same rule.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
struct Sampled {
    /// Completions of each problem.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Longest completion in tokens.
    #[arg(long, alias = "max-tokens", value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: u32,
    /// Logits are divided by this; 0 takes the likeliest token [default: 0 for one sample, 1 for several].
    #[arg(long, value_name = "T", value_parser = |text: &str| number("temperature", text))]
    temperature: Option<f32>,
    /// Only the likeliest tokens that together reach this probability.
    #[arg(long, value_name = "P", default_value = "1", value_parser = |text: &str| number("top_p", text))]
    top_p: f32,
    /// Only the K likeliest tokens; 0 for all.
    #[arg(long, value_name = "K", default_value = "0", allow_negative_numbers = true, value_parser = |text: &str| number("top_k", text))]
    top_k: f32,
    /// Ends a completion at this text, which is left out of it; may be given several times.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Seed of every random number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Sequences that are computed together; changes the time, never the result.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
}

impl Sampled {
    fn options(&self, styled: &Styled) -> RunOptions {
        let default = if self.samples == 1 { 0.0 } else { 1.0 };
        let stops = styled.stops().iter().map(|stop| (*stop).to_owned());
        RunOptions {
            samples: self.samples as usize,
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(default),
                top_p: self.top_p,
                top_k: self.top_k.max(0.0) as usize,
                ..Sampling::default()
            },
            max_new_tokens: self.max_new_tokens as usize,
            stop: self.stop.iter().cloned().chain(stops).collect(),
            stop_tokens: Vec::new(),
            max_batch: self.batch as usize,
            seed: self.seed,
        }
    }
}

/// What of an evaluation is the same for both models.
struct Plan {
    tasks: Vec<Task>,
    styled: Styled,
    grader: Grader,
    options: RunOptions,
    bootstrap: Bootstrap,
    verbosity: Verbosity,
}

/// Runs `gft eval`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    let plan = plan(&args)?;
    args.device.run(args.verbosity, Evaluating { args: &args, plan: &plan })
}

/// Evaluating by a plan.
struct Evaluating<'a> {
    args: &'a Args,
    plan: &'a Plan,
}

impl Work for Evaluating<'_> {
    type Output = ();

    fn on<D: Device + Clone>(self, device: D) -> Result<(), Failure> {
        let Evaluating { args, plan } = self;
        let begin = std::time::Instant::now();
        let mut first = Model::open(device.clone(), &args.model, &args.template, plan)?;
        let mut second = match &args.against {
            Some(path) => Some(Model::open(device, path, &args.template, plan)?),
            None => None,
        };
        let out = |path: &Path| args.output_dir.clone().unwrap_or_else(|| default_output(path));
        let found = first.evaluate(plan, &out(&args.model))?;
        if let Some(folder) = &args.harness_dir {
            let seconds = begin.elapsed().as_secs_f64();
            write_harness(folder, args, plan, &found, seconds)?;
        }
        let Some(second) = &mut second else {
            return print(args, &found, None);
        };
        let other = second.evaluate(plan, &out(second.path()))?;
        let differences: Vec<_> = found
            .iter()
            .zip(&other)
            .map(|(a, b)| (a.task.clone(), compare(&a.records, &b.records, &plan.bootstrap)))
            .collect();
        let drift = match args.drift_prompts {
            0 => None,
            count => Some(measure_drift(plan, &first, second, count as usize)?),
        };
        let compared = Compared { path: second.path().to_owned(), found: other, differences, drift };
        let kept = json!({"against": compared.path.display().to_string(), "differences": by_task(&compared.differences),
                      "drift": &compared.drift});
        for evaluated in &found {
            evaluated.write("against.json", &kept)?;
        }
        print(args, &found, Some(compared))
    }
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    let limit = args.limit.map(|limit| limit as usize);
    let tasks: Vec<Task> = args
        .files
        .iter()
        .map(|file| {
            Task::open(file, args.benchmark.as_deref(), args.columns.map(), limit).map_err(Failure::from)
        })
        .collect::<Result<_, _>>()?;
    for task in &tasks {
        args.verbosity.detail(&task.description);
        if task.without_gold > 0 {
            args.verbosity.note(&format!(
                "{}: {} rows without a reference answer are left out",
                task.name, task.without_gold
            ));
        }
    }
    let style = match args.prompt_style {
        StyleName::Auto => Style::Auto,
        StyleName::Chat => Style::Chat,
        StyleName::Verbatim => Style::Verbatim,
        StyleName::Boxed => Style::Boxed,
        StyleName::QwenBoxed => Style::QwenBoxed,
        StyleName::FewShot => Style::FewShot,
    };
    if args.instruction.is_some() && matches!(style, Style::Boxed | Style::QwenBoxed | Style::FewShot) {
        return Err(Failure::usage(
            "--instruction is for the styles auto, chat and verbatim; this style brings its own",
        ));
    }
    let styled = Styled { style, instruction: args.instruction.clone(), shots: shots(args, style)? };
    let mut grader = Grader::default();
    grader.verifier.extract.last_number = args.last_number;
    let options = args.sampling.options(&styled);
    Ok(Plan { tasks, styled, grader, options, bootstrap: Bootstrap::default(), verbosity: args.verbosity })
}

fn shots(args: &Args, style: Style) -> Result<Vec<Shot>, Failure> {
    if style != Style::FewShot {
        return Ok(Vec::new());
    }
    let wanted = args.shots as usize;
    let Some(path) = &args.shots_from else {
        let built_in = Shot::built_in();
        if wanted > built_in.len() {
            return Err(Failure::usage(format!(
                "--shots {wanted}: there are {} built-in examples; --shots-from takes more from a file",
                built_in.len()
            )));
        }
        return Ok(built_in.into_iter().take(wanted).collect());
    };
    let data = Dataset::open(&[path], &ReadOptions { strip_calculator: true, ..ReadOptions::default() })?;
    let mut shots = Vec::new();
    for row in data.iter() {
        shots.extend(Shot::of_row(&row?));
        if shots.len() == wanted {
            return Ok(shots);
        }
    }
    Err(Failure::data(format!(
        "{}: {} rows with solutions, --shots asks for {wanted}",
        path.display(),
        shots.len()
    )))
}

/// A run keeps its evaluations; a model folder of someone else is not written into.
fn default_output(model: &Path) -> PathBuf {
    if model.join("metrics.jsonl").is_file() {
        return model.join("eval");
    }
    let name = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    PathBuf::from(format!("eval-{name}"))
}

/// Prompts of all tasks in turn, so that each has its share.
fn measure_drift<D: Device>(
    plan: &Plan,
    first: &Model<D>,
    second: &Model<D>,
    count: usize,
) -> Result<Drift, Failure> {
    let mut prompts = Vec::new();
    let per_task = count.div_ceil(plan.tasks.len());
    for task in &plan.tasks {
        let items = first.items(task, &plan.styled)?;
        prompts.extend(items.found.into_iter().take(per_task).map(|item| item.ids));
    }
    prompts.truncate(count);
    let options = DriftOptions {
        samples: plan.options.samples,
        max_new_tokens: plan.options.max_new_tokens,
        stop_tokens: first.stop_ids(&plan.styled),
        max_batch: plan.options.max_batch,
        seed: plan.options.seed,
        bootstrap: plan.bootstrap,
    };
    interrupt::arm();
    let found = drift(first.policy(), second.policy(), &prompts, &options, &mut interrupt::asked);
    interrupt::disarm();
    found?.ok_or(Failure::Interrupted)
}

/// Records of the problems that the plan asks for; a folder may have more from a call without `--limit`.
fn of_plan(records: Vec<Record>, docs: usize) -> Vec<Record> {
    records.into_iter().filter(|record| record.doc < docs).collect()
}
