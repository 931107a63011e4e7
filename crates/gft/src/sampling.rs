//! How tokens are drawn and when an answer ends: flags first, then the model's `generation_config.json`, then defaults.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use gft_model::generate::{Options, Sampling};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Arguments about sampling. What is not given comes from the model's `generation_config.json`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Longest answer in tokens [default: generation_config.json, else 256; chat 1024].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: Option<u32>,
    /// Logits are divided by this; 0 takes the likeliest token [default: generation_config.json, else 1].
    #[arg(long, value_name = "T", value_parser = |text: &str| number("temperature", text))]
    temperature: Option<f32>,
    /// Only the K likeliest tokens; 0 for all [default: generation_config.json, else 0].
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = |text: &str| number("top_k", text))]
    top_k: Option<f32>,
    /// Only the likeliest tokens that together reach this probability [default: generation_config.json, else 1].
    #[arg(long, value_name = "P", value_parser = |text: &str| number("top_p", text))]
    top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the likeliest [default: generation_config.json, else 0].
    #[arg(long, value_name = "P", value_parser = |text: &str| number("min_p", text))]
    min_p: Option<f32>,
    /// Makes tokens that were there before less likely [default: generation_config.json, else 1].
    #[arg(long, value_name = "X", value_parser = |text: &str| number("repetition_penalty", text))]
    repetition_penalty: Option<f32>,
    /// Ends an answer at this text, which is left out of it; may be given several times.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Go on after the tokens that end an answer.
    #[arg(long)]
    ignore_eos: bool,
    /// Seed of every random number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// A number in the range that its setting has.
pub fn number(name: &str, text: &str) -> Result<f32, String> {
    let x: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    in_range(name, x)
}

fn in_range(name: &str, x: f32) -> Result<f32, String> {
    let (fits, range) = match name {
        "temperature" => (x.is_finite() && x >= 0.0, "at least 0"),
        "top_k" => {
            (x.fract() == 0.0 && (-1.0..=16_777_216.0).contains(&x), "a whole number, 0 for all tokens")
        }
        "top_p" => (x > 0.0 && x <= 1.0, "above 0 and at most 1"),
        "min_p" => ((0.0..=1.0).contains(&x), "between 0 and 1"),
        _ => (x.is_finite() && x > 0.0, "above 0"),
    };
    if fits { Ok(x) } else { Err(format!("must be {range}")) }
}

/// Settings of transformers' `generate` that change what comes out and are not computed here, with the value at which
/// they do nothing.
const OTHERS: [(&str, f64); 8] = [
    ("num_beams", 1.0),
    ("no_repeat_ngram_size", 0.0),
    ("typical_p", 1.0),
    ("epsilon_cutoff", 0.0),
    ("eta_cutoff", 0.0),
    ("encoder_repetition_penalty", 1.0),
    ("penalty_alpha", 0.0),
    ("min_new_tokens", 0.0),
];

/// `generation_config.json` of a model folder.
#[derive(Debug, Default)]
pub struct GenerationConfig {
    path: PathBuf,
    values: Map<String, Value>,
}

impl GenerationConfig {
    /// Reads it; empty if there is none.
    ///
    /// # Errors
    /// A file that is not a JSON object.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("generation_config.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::Run(format!("{}: {error}", path.display()))),
        };
        let values = serde_json::from_str(&text)
            .map_err(|error| Failure::data(format!("{}: not a JSON object: {error}", path.display())))?;
        Ok(Self { path, values })
    }

    fn number(&self, name: &str) -> Result<Option<f32>, Failure> {
        let value = match self.values.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let found = value.as_f64().ok_or_else(|| "must be a number".to_owned());
        found.and_then(|x| in_range(name, x as f32)).map(Some).map_err(|message| {
            Failure::data(format!("{}: `{name}` is {value}; it {message}", self.path.display()))
        })
    }

    /// The ids at which an answer ends, for a folder without tokenizer: from here, else from `config.json`.
    ///
    /// # Errors
    /// Something else than an id or a list of ids.
    pub fn eos_ids(&self, config: &Value) -> Result<Vec<u32>, Failure> {
        let value = match self.values.get("eos_token_id").or_else(|| config.get("eos_token_id")) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(value) => value,
        };
        let list = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let ids = list.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()));
        ids.collect::<Option<Vec<u32>>>().ok_or_else(|| {
            Failure::data(format!("{}: `eos_token_id` must be an id or a list of ids", self.path.display()))
        })
    }

    /// Settings that are asked for and not applied.
    fn not_applied(&self) -> Vec<String> {
        let mut found: Vec<String> = OTHERS
            .iter()
            .filter_map(|(name, neutral)| {
                let x = self.values.get(*name)?.as_f64()?;
                (x != *neutral).then(|| format!("{name}={x}"))
            })
            .collect();
        for name in ["bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id"] {
            if self.values.get(name).is_some_and(|value| !value.is_null()) {
                found.push(name.into());
            }
        }
        found
    }
}

/// What flags and configuration come to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the generator; stop tokens included.
    pub options: Options,
    /// Texts at which an answer ends.
    pub stop: Vec<String>,
    /// Seed of the run.
    pub seed: u64,
    /// Where each value comes from, in a line.
    pub description: String,
    /// What the user should know.
    pub warning: Option<String>,
}

impl SamplingArgs {
    /// The texts at which an answer ends.
    pub fn stop(&self) -> &[String] {
        &self.stop
    }

    /// Resolves every setting.
    ///
    /// # Errors
    /// A value in `generation_config.json` that is out of range.
    pub fn resolve(
        &self,
        config: &GenerationConfig,
        stop_tokens: Vec<u32>,
        max_new_tokens: usize,
        max_batch: usize,
    ) -> Result<Settings, Failure> {
        let mut said = Vec::new();
        let mut pick = |name: &str, flag: Option<f32>, default: f32| -> Result<f32, Failure> {
            let (value, origin) = match (flag, config.number(name)?) {
                (Some(value), _) => (value, "flag"),
                (None, Some(value)) => (value, "generation_config.json"),
                (None, None) => (default, "default"),
            };
            said.push(format!("{name} {value} ({origin})"));
            Ok(value)
        };
        // A model that says that it does not sample is greedy unless told otherwise.
        let greedy =
            self.temperature.is_none() && config.values.get("do_sample") == Some(&Value::Bool(false));
        let temperature = pick("temperature", self.temperature.or(greedy.then_some(0.0)), 1.0)?;
        let top_k = pick("top_k", self.top_k, 0.0)?;
        let sampling = Sampling {
            temperature,
            top_k: top_k.max(0.0) as usize,
            top_p: pick("top_p", self.top_p, 1.0)?,
            min_p: pick("min_p", self.min_p, 0.0)?,
            repetition_penalty: pick("repetition_penalty", self.repetition_penalty, 1.0)?,
        };
        let from_config = config.values.get("max_new_tokens").and_then(Value::as_u64).filter(|&n| n > 0);
        let max_new_tokens = match (self.max_new_tokens, from_config) {
            (Some(n), _) => n as usize,
            (None, Some(n)) => n as usize,
            (None, None) => max_new_tokens,
        };
        let stop_tokens = if self.ignore_eos { Vec::new() } else { stop_tokens };
        let description = format!(
            "{}, max_new_tokens {max_new_tokens}, seed {}, answers end at ids {stop_tokens:?}",
            said.join(", "),
            self.seed
        );
        let others = config.not_applied();
        let warning = (!others.is_empty()).then(|| {
            format!("{} asks for {}, which is not applied", config.path.display(), others.join(", "))
        });
        let options = Options { sampling, max_new_tokens, stop_tokens, max_batch };
        Ok(Settings { options, stop: self.stop.clone(), seed: self.seed, description, warning })
    }
}
