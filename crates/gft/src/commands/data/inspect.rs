//! `gft data inspect`: a data set as training reads it, in numbers and token by token.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args as ClapArgs, ValueEnum};
use gft_data::{
    BadRows, Dataset, DatasetReport, EncodeOptions, Encoder, Presentation, ReadOptions, Rendering, Tokenizer,
};
use gft_model::folder::ADAPTER_CONFIG;
use gft_report::Progress;
use serde::Serialize;
use serde_json::Value;

use super::examples::{Example, examples};
use super::{page, paint};
use crate::columns::{BadRowsArg, ColumnArgs};
use crate::failure::Failure;
use crate::prompts::{Present, TemplateArgs};
use crate::terminal::Verbosity;
use crate::{model_path, output, terminal};

/// How completions become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Render {
    /// As the template writes an assistant's message.
    Template,
    /// As they stand.
    Verbatim,
}

/// Arguments of `gft data inspect`.
#[derive(ClapArgs)]
#[command(
    after_help = "Give the settings that `gft train` will be given: what is shown is then what it will learn.\n\
                        Without a model lengths are in characters, and examples show rows instead of tokens.\n\
                        Exit code 3: the data cannot be used as it is; the message says why and what to do."
)]
pub struct Args {
    /// Data files or folders.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder with the tokenizer and chat template; weights are not needed.
    #[arg(long, alias = "model-name-or-path", value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    bad_rows: BadRowsArg,
    /// Remove GSM8K's calculator annotations from solutions.
    #[arg(long)]
    strip_calculator: bool,
    /// Encode the first N rows only; all are read.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Rows that are shown token by token.
    #[arg(long, value_name = "N", default_value_t = 2)]
    examples: u64,
    /// The report and the tokens of the examples as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Settings of `gft train` that decide what is learned of a row.
#[derive(ClapArgs)]
#[command(next_help_heading = "Tokens")]
struct TokenArgs {
    /// A prompt with more tokens is dropped.
    #[arg(long, value_name = "N")]
    max_prompt_length: Option<usize>,
    /// Tokens of a completion at most.
    #[arg(long, value_name = "N")]
    max_completion_length: Option<usize>,
    /// Tokens of prompt and completion together at most [default: what the model takes].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// How prompts are presented.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        value_name = "auto|chat|verbatim"
    )]
    presentation: Present,
    /// How completions become text.
    #[arg(
        long,
        value_enum,
        default_value = "template",
        hide_possible_values = true,
        value_name = "template|verbatim"
    )]
    rendering: Render,
    /// Text appended to each question.
    #[arg(long, alias = "instruction-suffix", value_name = "TEXT")]
    instruction: Option<String>,
    /// Learn all assistant turns of a conversation, not only the last.
    #[arg(long)]
    all_turns: bool,
}

impl TokenArgs {
    fn options(&self, template: &TemplateArgs, positions: Option<usize>) -> EncodeOptions {
        EncodeOptions {
            presentation: match self.presentation {
                Present::Auto => Presentation::Auto,
                Present::Chat => Presentation::Chat,
                Present::Verbatim => Presentation::Verbatim,
            },
            rendering: match self.rendering {
                Render::Template => Rendering::Template,
                Render::Verbatim => Rendering::Verbatim,
            },
            all_turns: self.all_turns,
            instruction_suffix: self.instruction.clone(),
            max_prompt_tokens: self.max_prompt_length,
            max_completion_tokens: self.max_completion_length,
            max_length: self.max_length.or(positions),
            ..template.encode_options()
        }
    }
}

/// What `--json` writes.
#[derive(Serialize)]
struct Out<'a> {
    #[serde(flatten)]
    report: &'a DatasetReport,
    examples: &'a [Example],
}

/// Runs `gft data inspect`.
pub fn run(args: Args) -> Result<(), Failure> {
    let encoder = args.model.as_deref().map(|folder| encoder(folder, &args)).transpose()?;
    let options = ReadOptions {
        // All bad rows are counted, whatever training would do at the first.
        bad_rows: BadRows::Drop,
        strip_calculator: args.strip_calculator,
        ..args.columns.read_options()
    };
    let mut progress = Progress::new("reading", args.verbosity.quiet);
    let data = Dataset::open_with(&args.files, &options, &mut |done, total| progress.count(done, total))?;
    let mut progress = Progress::new("looking at rows", args.verbosity.quiet);
    let report = DatasetReport::new(&data, encoder.as_ref(), args.limit, &mut |done, total| {
        progress.count(done, total);
    })?;
    drop(progress);
    let examples = examples(&data, encoder.as_ref(), args.examples)?;
    if args.json {
        output::json(&Out { report: &report, examples: &examples })?;
    } else {
        let colour = stdout().is_terminal() && terminal::colour_wanted();
        output::write(&page::report(&report));
        output::write(&paint::examples(&examples, encoder.is_some(), colour));
    }
    match unusable(&report, args.bad_rows.what()) {
        Some(why) => Err(Failure::data(why)),
        None => Ok(()),
    }
}

/// The encoder of a folder, with the length that its model takes as bound where no other is given.
fn encoder(folder: &Path, args: &Args) -> Result<Encoder, Failure> {
    model_path::exists(folder)?;
    // A tokenizer is enough; where there is an adapter, it may be its base model's.
    let adapter = if folder.join(ADAPTER_CONFIG).is_file() { Some(model_path::open(folder)?) } else { None };
    let folder = adapter.as_ref().map_or(folder, |adapter| adapter.tokenizer_dir());
    let tokenizer = Arc::new(Tokenizer::load(folder)?);
    let config = std::fs::read(folder.join("config.json")).ok();
    let config: Option<Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let positions = config.as_ref().and_then(|config| config.get("max_position_embeddings")?.as_u64());
    let positions = positions.and_then(|positions| usize::try_from(positions).ok());
    Ok(Encoder::new(tokenizer, args.tokens.options(&args.template, positions))?)
}

/// Why training could not use the data, and what to do; `None` if it can.
fn unusable(report: &DatasetReport, bad_rows: BadRows) -> Option<String> {
    if let (BadRows::Error, Some(first)) = (bad_rows, report.drop_reasons.first()) {
        let at = first.places.first().map(|at| format!("{}:{}: ", at.path.display(), at.line));
        return Some(format!(
            "{} of {} rows cannot be used, the first of the most frequent kind, {}{}. Mend them, or leave them out with \
             --bad-rows drop (gft train: the same)",
            report.dropped,
            report.rows + report.dropped,
            at.unwrap_or_default(),
            first.reason
        ));
    }
    if let Some(first) = report.failures.first() {
        return Some(format!(
            "{} of {} rows cannot be encoded, the first: {first}",
            report.failed, report.sampled
        ));
    }
    if report.prompts_too_long == report.sampled {
        return Some(format!(
            "every prompt is too long (the shortest has {} tokens): raise --max-prompt-length or --max-length",
            report.prompts.min
        ));
    }
    let completions = report.experts.count + report.teachers.count;
    if report.unit == "tokens" && completions > 0 && report.supervised_tokens == 0 {
        return Some("no token would be learned: raise --max-completion-length or --max-length".into());
    }
    if completions == 0 && report.without_gold == report.rows {
        return Some(
            "the rows have prompts alone: no completion to learn and no reference answer to verify samples against. \
             Name the columns that hold them, as in --columns solution=NAME,answer=NAME (only a method whose reward_funcs \
             are functions of your own, or of format and length, trains on prompts alone)"
                .into(),
        );
    }
    None
}
