//! `gft generate`: completions of prompts, one from the command line or many from rows.

mod collect;

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;
use gft_data::{Encoder, Tokenizer};
use gft_model::device::Device;
use gft_model::generate::{Generator, Request};
use gft_model::random::Stream;
use gft_model::{ModelFolder, Policy};
use serde_json::{Map, Value, json};

use crate::columns::RowColumnArgs;
use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::prompts::{self, PromptArgs};
use crate::rows::{self, InputRow};
use crate::sampling::{GenerationConfig, SamplingArgs, Settings};
use crate::terminal::Verbosity;
use crate::{interrupt, model_path};
use collect::{Collector, Form, Input};

const EXAMPLE: &str = r#"{"prompt": "1+1="} or {"input_ids": [1, 2, 3]}"#;

/// Arguments of `gft generate`.
#[derive(ClapArgs)]
#[command(
    after_help = "Rows: {\"prompt\"} as text or messages, {\"messages\"}, or {\"input_ids\"}, for which no tokenizer \
                        is needed.\nOut: the row with `prompt_ids` and `completions`, each with `text`, `tokens`, \
                        `logprobs` (under the model at the temperature), `sampling_logprobs` (under the distribution \
                        drawn from) and `finish` (stop, length, context).\n\
                        The random numbers of a sample depend on the seed, the row's number and the sample's number alone."
)]
pub struct Args {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    columns: RowColumnArgs,
    /// Rows, one JSON object a line [default: standard input].
    #[arg(conflicts_with = "prompt")]
    rows: Option<PathBuf>,
    /// Complete this instead of rows.
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Completions of each prompt.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Sequences that are computed together; changes the time, never the result.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Rows of JSON even for one prompt on a terminal.
    #[arg(long)]
    json: bool,
    /// Text alone, for --prompt; the default on a terminal.
    #[arg(long, conflicts_with = "json", requires = "prompt")]
    text: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs `gft generate`.
pub fn run(args: Args) -> Result<(), Failure> {
    interrupt::install()?;
    let folder = model_path::open(&args.model)?;
    let config = GenerationConfig::read(folder.dir_of("generation_config.json"))?;
    let read = read_inputs(&args, &folder)?;
    let stop_tokens = match (&read.encoder, &read.tokenizer) {
        (Some(encoder), _) => encoder.stop_ids(),
        (None, Some(tokenizer)) => tokenizer.stop_ids().to_vec(),
        (None, None) => config.eos_ids(folder.config())?,
    };
    let settings = args.sampling.resolve(&config, stop_tokens, 256, args.batch as usize)?;
    args.verbosity.detail(&settings.description);
    if let Some(warning) = &settings.warning {
        args.verbosity.note(warning);
    }
    args.device
        .run(args.verbosity, Completing { args: &args, folder: &folder, read: &read, settings: &settings })
}

/// Completing prompts that have been read.
struct Completing<'a> {
    args: &'a Args,
    folder: &'a ModelFolder,
    read: &'a Read,
    settings: &'a Settings,
}

impl Work for Completing<'_> {
    type Output = ();

    fn on<D: Device + Clone>(self, device: D) -> Result<(), Failure> {
        let Completing { args, folder, read, settings } = self;
        let policy: Policy<D> = folder.load_frozen(device)?;
        let seed = Stream::new(settings.seed);
        let requests: Vec<Request> = read
            .inputs
            .iter()
            .enumerate()
            .map(|(index, input)| Request {
                prompt: input.ids.clone(),
                samples: args.samples as usize,
                stream: seed.child(index as u64),
            })
            .collect();
        let form = match &args.prompt {
            Some(_) if args.text || (stdout().is_terminal() && !args.json) => Form::Text,
            _ => Form::Json,
        };
        let mut collector = Collector::new(
            &read.inputs,
            read.tokenizer.as_deref(),
            settings,
            args.samples as usize,
            form,
            args.verbosity,
        );
        Generator::new(&policy).run(&requests, &settings.options, &mut collector)?;
        collector.end()
    }
}

/// Prompts as tokens, and what made them so.
struct Read {
    inputs: Vec<Input>,
    tokenizer: Option<Arc<Tokenizer>>,
    encoder: Option<Encoder>,
}

/// Reads and tokenizes every prompt before anything is computed, so that a bad one is found at once.
fn read_inputs(args: &Args, folder: &ModelFolder) -> Result<Read, Failure> {
    let mut read = Read { inputs: Vec::new(), tokenizer: None, encoder: None };
    let tokenizer = folder.tokenizer_dir();
    if tokenizer.join("tokenizer.json").is_file() || !args.sampling.stop().is_empty() {
        read.tokenizer = Some(prompts::tokenizer(tokenizer)?);
    }
    let mut texts = Vec::new();
    if let Some(text) = &args.prompt {
        let row = prompts::question(text);
        let ids = read.prompt_ids(args, folder, &row)?;
        let object = Map::from_iter([("prompt".to_owned(), json!(text))]);
        read.add(folder, "--prompt", object, ids)?;
        texts.push(row);
    } else {
        for input in rows::read(args.rows.as_deref(), EXAMPLE)? {
            let InputRow { place, object } = &input;
            let ids = match input.ids("input_ids", folder.architecture().vocab)? {
                Some(ids) => ids,
                None => {
                    let row = prompts::read_row(&args.columns.apply(&input)?, false)?;
                    let ids = read.prompt_ids(args, folder, &row)?;
                    texts.push(row);
                    ids
                }
            };
            read.add(folder, place, object.clone(), ids)?;
        }
    }
    if let Some(encoder) = &read.encoder {
        args.verbosity.detail(&encoder.description());
        for note in args.prompts.notes(encoder, &texts, &args.model) {
            args.verbosity.note(&note);
        }
    }
    Ok(read)
}

impl Read {
    fn prompt_ids(
        &mut self,
        args: &Args,
        folder: &ModelFolder,
        row: &gft_data::Row,
    ) -> Result<Vec<u32>, Failure> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => {
                let tokenizer = match &self.tokenizer {
                    Some(tokenizer) => Arc::clone(tokenizer),
                    None => prompts::tokenizer(folder.tokenizer_dir())?,
                };
                none.insert(args.prompts.encoder(tokenizer)?)
            }
        };
        prompts::prompt_ids(encoder, row)
    }

    fn add(
        &mut self,
        folder: &ModelFolder,
        place: &str,
        row: Map<String, Value>,
        ids: Vec<u32>,
    ) -> Result<(), Failure> {
        let (vocab, positions) = (folder.architecture().vocab, folder.architecture().max_positions);
        if ids.is_empty() {
            return Err(Failure::data(format!(
                "{place}: the prompt has no tokens, and this tokenizer puts none before a text: give at least one word"
            )));
        }
        if ids.len() >= positions {
            return Err(Failure::data(format!(
                "{place}: the prompt has {} tokens; the model takes {positions} with the answer \
                 (max_position_embeddings)",
                ids.len()
            )));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(Failure::data(format!(
                "{place}: the tokenizer gives id {id}, the model has {vocab} tokens: tokenizer.json is not this model's"
            )));
        }
        self.inputs.push(Input { row, ids });
        Ok(())
    }
}
