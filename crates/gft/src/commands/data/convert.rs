//! `gft data convert`: rows in another layout or format.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use gft_data::{BadRows, ConvertOptions, Converted, DataError, Dataset, ReadOptions, Target, convert};
use gft_report::{Progress, grouped};

use crate::columns::ColumnArgs;
use crate::failure::Failure;
use crate::terminal::Verbosity;
use crate::{interrupt, output};

/// Arguments of `gft data convert`.
#[derive(ClapArgs)]
#[command(
    after_help = "Layouts: group (this project's, holds everything), messages, prompt-completion, verl, alpaca, \
                        sharegpt, question-answer (GSM8K), problem-solution (MATH, NuminaMath).\n\
                        The file is read back and compared row by row before it gets its name. What the layout cannot \
                        hold (teachers' completions, tool calls, several turns ...) is an error that names the first \
                        such row; with --lossy it is left out and counted."
)]
pub struct Args {
    /// Data files or folders.
    #[arg(required = true, value_name = "IN")]
    files: Vec<PathBuf>,
    /// The file to write; its extension says how: .jsonl, .jsonl.gz, .jsonl.zst, .json, .parquet.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The layout to write.
    #[arg(long, value_name = "LAYOUT")]
    to: Target,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Leave out what the layout cannot hold, and count it.
    #[arg(long)]
    lossy: bool,
    /// Make text prompts, which a completion continues as they stand, questions of a user.
    #[arg(long)]
    questions: bool,
    /// Leave rows that cannot be read out, and count them.
    #[arg(long)]
    drop_bad_rows: bool,
    /// Remove GSM8K's calculator annotations from solutions.
    #[arg(long)]
    strip_calculator: bool,
    /// verl's data_source for rows that bring none; verl picks its scorer by it [default: the first file's name].
    #[arg(long, value_name = "NAME")]
    data_source: Option<String>,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
    /// What was written and what was left out, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs `gft data convert`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    let read = ReadOptions {
        bad_rows: if args.drop_bad_rows { BadRows::Drop } else { BadRows::Error },
        strip_calculator: args.strip_calculator,
        ..args.columns.read_options()
    };
    let mut progress = Progress::new("reading", args.verbosity.quiet);
    let data = Dataset::open_with(&args.files, &read, &mut |done, total| progress.count(done, total))?;
    drop(progress);
    args.verbosity.detail(&data.description());
    let stem = args.files.first().and_then(|file| file.file_stem()).unwrap_or_default();
    let stem = stem.to_string_lossy().into_owned();
    let options = ConvertOptions {
        target: args.to,
        lossy: args.lossy,
        questions: args.questions,
        overwrite: args.force,
        split: split(&stem),
        data_source: args.data_source.clone().unwrap_or_else(|| stem.clone()),
    };
    let mut shown: Option<(&'static str, Progress)> = None;
    interrupt::arm();
    let written = convert(&data, &args.output, &options, &mut |stage, done, total| {
        let progress = match &mut shown {
            Some((name, progress)) if *name == stage => progress,
            other => &mut other.insert((stage, Progress::new(stage, args.verbosity.quiet))).1,
        };
        progress.count(done, total);
        !interrupt::asked()
    });
    interrupt::disarm();
    drop(shown);
    let written = written.map_err(|error| match error {
        DataError::Lossy(message) => Failure::data(format!(
            "{message}. Nothing was written; --lossy leaves such things out and counts them"
        )),
        DataError::Argument(message) if args.output.exists() && !args.force => {
            Failure::usage(format!("{message}; --force writes over it"))
        }
        other => other.into(),
    })?;
    let dropped = data.dropped().len() as u64;
    if args.json {
        let mut out = serde_json::to_value(&written).map_err(|error| Failure::Run(error.to_string()))?;
        out["unreadable"] = dropped.into();
        return output::json(&out);
    }
    output::write(&page(&written, dropped));
    Ok(())
}

/// The split that a file is named after, as verl writes it: train or test.
fn split(stem: &str) -> String {
    let test = stem.split(|c: char| !c.is_ascii_alphabetic()).any(|word| matches!(word, "test" | "eval"));
    if test { "test".into() } else { "train".into() }
}

fn page(written: &Converted, dropped: u64) -> String {
    let mut text = format!(
        "{}: {} rows, {}, {}\n",
        written.path.display(),
        grouped(written.rows),
        written.layout,
        written.format
    );
    if dropped > 0 {
        text.push_str(&format!("left out: {} rows that cannot be read\n", grouped(dropped)));
    }
    for loss in &written.left_out {
        text.push_str(&format!("left out: {loss}\n"));
    }
    for loss in &written.lost {
        text.push_str(&format!("not in it: {loss}\n"));
    }
    text
}
