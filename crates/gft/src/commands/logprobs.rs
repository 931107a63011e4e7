//! `gft logprobs`: the log-probability of every token of given rows, as training computes it.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use gft_model::device::Device;
use gft_model::policy::Want;
use gft_model::{Batch, ModelFolder, Policy};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::columns::RowColumnArgs;
use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::prompts::{self, PromptArgs};
use crate::rows::{self, InputRow};
use crate::terminal::Verbosity;
use crate::{interrupt, model_path, output};
use gft_report::Progress;

const EXAMPLE: &str = r#"{"input_ids": [1, 2, 3]} or {"prompt": "1+1=", "completion": "2"}"#;

/// Arguments of `gft logprobs`.
#[derive(ClapArgs)]
#[command(
    after_help = "Rows: {\"input_ids\": [...]}, for which no tokenizer is needed; or {\"prompt\", \"completion\"} \
                        as text (which goes on as it stands) or messages (through the chat template); or {\"messages\"}.\n\
                        Out: the row with `input_ids`, `logprobs` (null for the first token) and, for a completion, \
                        `completion_start`."
)]
pub struct Args {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    columns: RowColumnArgs,
    /// Rows, one JSON object a line [default: standard input].
    rows: Option<PathBuf>,
    /// Logits are divided by this.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// End text completions with the end-of-text token, as training does.
    #[arg(long)]
    eos: bool,
    /// Tokens that are computed together; a longer row is computed alone.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    batch_tokens: u32,
    /// Accepted for symmetry: rows are always JSON.
    #[arg(long, hide = true)]
    json: bool,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// A row as tokens.
struct Scored {
    object: Map<String, Value>,
    place: String,
    ids: Vec<u32>,
    completion_start: Option<usize>,
}

/// A row with its log-probabilities.
#[derive(Serialize)]
struct Out<'a> {
    #[serde(flatten)]
    row: &'a Map<String, Value>,
    input_ids: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_start: Option<usize>,
    logprobs: Vec<Option<f32>>,
}

/// Runs `gft logprobs`.
pub fn run(args: Args) -> Result<(), Failure> {
    if !(args.temperature.is_finite() && args.temperature > 0.0) {
        return Err(Failure::usage(format!("--temperature {} must be above 0", args.temperature)));
    }
    interrupt::install()?;
    let folder = model_path::open(&args.model)?;
    let positions = folder.architecture().max_positions;
    let rows = read_rows(&args, &folder)?;
    if let Some(row) = rows.iter().find(|row| row.ids.len() > positions) {
        return Err(Failure::data(format!(
            "{}: {} tokens; the model was made for {positions} (max_position_embeddings)",
            row.place,
            row.ids.len()
        )));
    }
    args.device.run(args.verbosity, Scoring { args: &args, folder: &folder, rows: &rows })
}

/// Scoring rows that have been read.
struct Scoring<'a> {
    args: &'a Args,
    folder: &'a ModelFolder,
    rows: &'a [Scored],
}

impl Work for Scoring<'_> {
    type Output = ();

    fn on<D: Device + Clone>(self, device: D) -> Result<(), Failure> {
        let Scoring { args, folder, rows } = self;
        let policy: Policy<D> = folder.load_frozen(device)?;
        let total: usize = rows.iter().map(|row| row.ids.len()).sum();
        let mut progress = Progress::new("logprobs", args.verbosity.quiet);
        let (mut done, mut tokens) = (0, 0);
        while done < rows.len() {
            let count = fitting(&rows[done..], args.batch_tokens as usize);
            score(&policy, &rows[done..done + count], args.temperature, &mut progress)?;
            tokens += rows[done..done + count].iter().map(|row| row.ids.len()).sum::<usize>();
            done += count;
            progress.update(tokens as f64 / total as f64, tokens, || format!("{done}/{} rows", rows.len()));
        }
        Ok(())
    }
}

/// How many of the next rows fit a budget of tokens, at least one.
fn fitting(rows: &[Scored], budget: usize) -> usize {
    let mut sum = 0;
    let fits = rows.iter().take_while(|row| {
        sum += row.ids.len();
        sum <= budget
    });
    fits.count().max(1)
}

/// Computes a batch and writes its rows.
fn score<D: Device>(
    policy: &Policy<D>,
    rows: &[Scored],
    temperature: f32,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut batch = Batch::new();
    let targets = rows.iter().map(|row| batch.push_sequence(&row.ids)).collect::<Result<Vec<_>, _>>()?;
    let stats = policy.token_stats(&batch, &Want { temperature, ..Want::default() })?;
    progress.clear();
    for (row, targets) in rows.iter().zip(targets) {
        let logprobs = &stats.logprobs[targets];
        if let Some(index) = logprobs.iter().position(|x| !x.is_finite()) {
            return Err(Failure::Run(format!(
                "{}: the log-probability of token {} is {}: the weights are damaged, or have values beyond f32",
                row.place,
                index + 1,
                logprobs[index]
            )));
        }
        output::json(&Out {
            row: &row.object,
            input_ids: &row.ids,
            completion_start: row.completion_start,
            logprobs: std::iter::once(None).chain(logprobs.iter().map(|x| Some(*x))).collect(),
        })?;
    }
    Ok(())
}

/// Reads and tokenizes every row before anything is computed, so that a bad one is found at once.
fn read_rows(args: &Args, folder: &ModelFolder) -> Result<Vec<Scored>, Failure> {
    let inputs = rows::read(args.rows.as_deref(), EXAMPLE)?;
    let mut encoder = None;
    let mut texts = Vec::new();
    let mut scored = Vec::with_capacity(inputs.len());
    for input in inputs {
        let (ids, completion_start) = match input.ids("input_ids", folder.architecture().vocab)? {
            Some(ids) => (ids, None),
            None => {
                let row = prompts::read_row(&args.columns.apply(&input)?, true)?;
                let encoder = match &mut encoder {
                    Some(encoder) => encoder,
                    none => none.insert(args.prompts.encoder(prompts::tokenizer(folder.tokenizer_dir())?)?),
                };
                let (mut ids, completion) = prompts::completed_ids(encoder, &row)?;
                let start = ids.len();
                ids.extend(completion);
                if args.prompts.is_verbatim(&row.prompt) && !args.eos {
                    // The encoder ends a text as training does; here the text is scored as it was given.
                    ids.pop();
                }
                texts.push(row);
                check_vocabulary(&input, &ids, folder.architecture().vocab)?;
                (ids, Some(start))
            }
        };
        scored.push(Scored {
            object: without_results(input.object),
            place: input.place,
            ids,
            completion_start,
        });
    }
    if let Some(encoder) = &encoder {
        args.verbosity.detail(&encoder.description());
        for note in args.prompts.notes(encoder, &texts, &args.model) {
            args.verbosity.note(&note);
        }
    }
    Ok(scored)
}

fn check_vocabulary(input: &InputRow, ids: &[u32], vocab: usize) -> Result<(), Failure> {
    match ids.iter().find(|&&id| id as usize >= vocab) {
        None => Ok(()),
        Some(id) => Err(input.failure(&format!(
            "the tokenizer gives id {id}, the model has {vocab} tokens: tokenizer.json is not this model's"
        ))),
    }
}

/// The row without the columns that are written anew.
fn without_results(mut object: Map<String, Value>) -> Map<String, Value> {
    for key in ["input_ids", "logprobs", "completion_start"] {
        object.shift_remove(key);
    }
    object
}
