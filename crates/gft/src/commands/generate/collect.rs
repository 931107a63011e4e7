//! Completions as they end: put in order, turned into text, written row by row.

use std::collections::HashMap;

use gft_data::{CompletionText, Tokenizer};
use gft_model::generate::{Completion, Finish, Observer};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::output;
use crate::sampling::Settings;

use crate::terminal::Verbosity;
use gft_report::Progress;

/// A prompt.
pub struct Input {
    /// The row that it came in.
    pub row: Map<String, Value>,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// How completions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A row of JSON for each prompt.
    Json,
    /// The text, as it comes if there is one completion.
    Text,
}

/// A row with its completions.
#[derive(Serialize)]
struct Out<'a> {
    #[serde(flatten)]
    row: Map<String, Value>,
    prompt_ids: &'a [u32],
    completions: &'a [Done],
}

/// A completion as it is written.
#[derive(Serialize)]
struct Done {
    #[serde(skip)]
    sample: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    sampling_logprobs: Vec<f32>,
    finish: &'static str,
    /// The stop string that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
}

/// Hears of every token, and writes each row when its completions and those of all rows before it have ended.
pub struct Collector<'a> {
    inputs: &'a [Input],
    tokenizer: Option<&'a Tokenizer>,
    settings: &'a Settings,
    samples: usize,
    form: Form,
    verbosity: Verbosity,
    writing: HashMap<(usize, usize), CompletionText<'a>>,
    done: Vec<Vec<Done>>,
    next: usize,
    ended: usize,
    tokens: usize,
    tokens_of_ended: usize,
    unknown: usize,
    progress: Progress,
    failure: Option<Failure>,
}

impl<'a> Collector<'a> {
    /// Begins with nothing.
    pub fn new(
        inputs: &'a [Input],
        tokenizer: Option<&'a Tokenizer>,
        settings: &'a Settings,
        samples: usize,
        form: Form,
        verbosity: Verbosity,
    ) -> Self {
        // A text that is written as it comes shows by itself how far it is.
        let progress = Progress::new("generate", verbosity.quiet || (form == Form::Text && samples == 1));
        Self {
            inputs,
            tokenizer,
            settings,
            samples,
            form,
            verbosity,
            writing: HashMap::new(),
            done: inputs.iter().map(|_| Vec::new()).collect(),
            next: 0,
            ended: 0,
            tokens: 0,
            tokens_of_ended: 0,
            unknown: 0,
            progress,
            failure: None,
        }
    }

    /// What went wrong meanwhile, and what the user should know.
    ///
    /// # Errors
    /// A completion that could not be turned into text or written.
    pub fn end(mut self) -> Result<(), Failure> {
        self.progress.clear();
        if self.unknown > 0 {
            self.verbosity.note(&format!(
                "{} drawn ids are not in the tokenizer; they stand in `tokens`, not in `text`",
                self.unknown
            ));
        }
        self.failure.map_or(Ok(()), Err)
    }

    fn shows_at_once(&self) -> bool {
        self.form == Form::Text && self.samples == 1
    }

    /// Takes a token into the text; returns whether a stop string ends it.
    fn write(&mut self, key: (usize, usize), id: u32) -> Result<bool, Failure> {
        let Some(tokenizer) = self.tokenizer else { return Ok(false) };
        let (at_once, stops) = (self.shows_at_once(), &self.settings.stop);
        let written = self.writing.entry(key).or_insert_with(|| CompletionText::new(tokenizer, stops));
        match written.push(id)? {
            None => self.unknown += 1,
            Some(text) if at_once => output::text(&text),
            Some(_) => {}
        }
        Ok(written.stopped())
    }

    fn finish(&mut self, completion: &Completion) -> Result<(), Failure> {
        let Completion { request, sample, tokens, logprobs, sampling_logprobs, finish } = completion;
        let broken = logprobs.iter().chain(sampling_logprobs).any(|x| !x.is_finite());
        if broken {
            return Err(Failure::Run(format!(
                "prompt {request}: a log-probability is not finite: the weights are damaged, or have values beyond f32"
            )));
        }
        let (mut text, mut stop) = (self.tokenizer.map(|_| String::new()), None);
        if let Some(written) = self.writing.remove(&(*request, *sample)) {
            let written = written.finish()?;
            if self.shows_at_once() {
                output::text(&written.text[written.shown..]);
            }
            (text, stop) = (Some(written.text), written.stop);
        }
        self.done[*request].push(Done {
            sample: *sample,
            text,
            tokens: tokens.clone(),
            logprobs: logprobs.clone(),
            sampling_logprobs: sampling_logprobs.clone(),
            finish: match finish {
                Finish::Stop | Finish::Observer => "stop",
                Finish::Length => "length",
                Finish::Context => "context",
            },
            stop,
        });
        self.ended += 1;
        self.tokens_of_ended += tokens.len();
        self.write_complete_rows()
    }

    fn write_complete_rows(&mut self) -> Result<(), Failure> {
        while self.next < self.done.len() && self.done[self.next].len() == self.samples {
            let mut completions = std::mem::take(&mut self.done[self.next]);
            completions.sort_by_key(|done| done.sample);
            let input = &self.inputs[self.next];
            self.next += 1;
            self.progress.clear();
            match self.form {
                Form::Json => {
                    let mut row = input.row.clone();
                    for key in ["prompt_ids", "completions"] {
                        row.shift_remove(key);
                    }
                    output::json(&Out { row, prompt_ids: &input.ids, completions: &completions })?;
                }
                Form::Text => self.write_text(&completions),
            }
        }
        Ok(())
    }

    fn write_text(&self, completions: &[Done]) {
        if self.shows_at_once() {
            return output::text("\n");
        }
        for (index, done) in completions.iter().enumerate() {
            let text = done.text.as_deref().unwrap_or_default();
            output::text(&format!("--- {} of {} ({})\n{text}\n", index + 1, self.samples, done.finish));
        }
    }

    fn show_progress(&mut self) {
        let total = self.inputs.len() * self.samples;
        let expected = match self.ended {
            0 => self.settings.options.max_new_tokens as f64,
            ended => self.tokens_of_ended as f64 / ended as f64,
        };
        let fraction = (self.tokens as f64 / (expected * total as f64)).min(0.99);
        let ended = self.ended;
        self.progress.update(fraction, self.tokens, || format!("{ended}/{total} completions"));
    }
}

impl Observer for Collector<'_> {
    fn token(&mut self, request: usize, sample: usize, tokens: &[u32]) -> bool {
        self.tokens += 1;
        self.show_progress();
        let Some(&id) = tokens.last() else { return false };
        match self.write((request, sample), id) {
            Ok(stopped) => stopped || self.failure.is_some(),
            Err(failure) => {
                self.failure = Some(failure);
                true
            }
        }
    }

    fn finished(&mut self, completion: &Completion) {
        if self.failure.is_none() {
            self.failure = self.finish(completion).err();
        }
    }
}
