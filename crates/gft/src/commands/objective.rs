//! `gft objective`: a method on groups of log-probabilities, JSON lines in and out.
//!
//! A line `{"groups": [{"responses": [{"source": "policy", "reward": 1.0, "logprobs": [...]}, ...]}]}` is one optimizer
//! step. It comes back with its loss and, for each response, advantage, coefficients and the gradient with respect to
//! each log-probability.

use std::io::{BufRead, stdin};

use clap::{ArgMatches, Args as ClapArgs, Command, FromArgMatches};
use gft_objective::{Completion, Evaluation, Source, Step, TokenInputs, evaluate};
use gft_train::config::{KEYS, Key, build_objective};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::train::SettingFlags;
use crate::failure::Failure;
use crate::output;

/// Arguments of `gft objective`.
#[derive(ClapArgs)]
#[command(
    after_help = "Standard input, a line for each optimizer step; null is the log-probability of the impossible:\n  \
                  {\"groups\": [{\"responses\": [{\"source\": \"expert\", \"reward\": 1, \"logprobs\": [-0.1, -2.3]},\n    \
                  {\"source\": \"policy\", \"reward\": 0, \"logprobs\": [-0.5], \"old_logprobs\": [-0.6]}]}]}\n\
                  A source is expert, teacher or policy; a response may also have ref_logprobs, entropy and reference_kl \
                  (a number a token), mask (true or false a token) and truncated. Each line comes back with its loss, and \
                  each response with advantage, coefficients and the gradient by each log-probability.\n\
                  Flags of gft train that do not change an objective are taken and have no effect here."
)]
pub struct Args {
    #[command(flatten)]
    settings: ObjectiveFlags,
}

/// The settings as flags; the help shows those that an objective reads.
struct ObjectiveFlags(SettingFlags);

impl ObjectiveFlags {
    /// Settings of other headings that are read here.
    const MORE: [&str; 4] =
        ["method", "mask_truncated_completions", "max_completion_length", "dynamic_sampling"];

    fn is_read(name: &str) -> bool {
        let objective = |key: &&Key| key.group.starts_with("Objective");
        Self::MORE.contains(&name) || KEYS.iter().filter(objective).any(|key| key.name == name)
    }
}

impl ClapArgs for ObjectiveFlags {
    fn augment_args(command: Command) -> Command {
        SettingFlags::augment_args(command).mut_args(|arg| {
            let hidden = !Self::is_read(arg.get_id().as_str());
            arg.hide(hidden)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ObjectiveFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        SettingFlags::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// What a response must and may have; other keys are handed back as they are.
#[derive(Deserialize)]
struct Response {
    source: String,
    #[serde(default)]
    reward: Option<f64>,
    logprobs: Vec<Option<f32>>,
    #[serde(default)]
    old_logprobs: Option<Vec<f32>>,
    #[serde(default)]
    ref_logprobs: Option<Vec<f32>>,
    #[serde(default)]
    entropy: Option<Vec<f32>>,
    #[serde(default)]
    reference_kl: Option<Vec<f32>>,
    #[serde(default)]
    mask: Option<Vec<bool>>,
    #[serde(default)]
    truncated: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let resolved = args.settings.0.resolve(None)?;
    let settings = &resolved.stages[0].settings;
    let method = build_objective(settings)?;
    for (index, line) in stdin().lock().lines().enumerate() {
        let line = line.map_err(|error| Failure::Data(format!("standard input: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let at = |message: String| Failure::Data(format!("line {}: {message}", index + 1));
        let value: Value = serde_json::from_str(&line).map_err(|error| at(format!("not JSON: {error}")))?;
        let groups = groups(&value).map_err(at)?;
        let sources = sources(&groups).map_err(at)?;
        let logprobs: Vec<Vec<Vec<f32>>> = groups
            .iter()
            .map(|group| {
                // JSON has no infinity: null is the log-probability of the impossible.
                let row =
                    |row: &Response| row.logprobs.iter().map(|p| p.unwrap_or(f32::NEG_INFINITY)).collect();
                group.iter().map(row).collect()
            })
            .collect();
        let masked = settings.mask_truncated_completions;
        let mut completions: Vec<Vec<Completion<'_>>> = Vec::with_capacity(groups.len());
        for ((group, sources), logprobs) in groups.iter().zip(&sources).zip(&logprobs) {
            let rows = group.iter().zip(sources).zip(logprobs);
            completions.push(rows.map(|((row, source), p)| complete(row, *source, p, masked)).collect());
        }
        let slices: Vec<&[Completion<'_>]> = completions.iter().map(Vec::as_slice).collect();
        let step = Step { groups: &slices, max_length: settings.max_completion_length };
        let found = evaluate(&method, &step).map_err(|error| at(error.to_string()))?;
        let text = answer(value, &found).to_string();
        output::write(&format!("{text}\n"));
    }
    Ok(())
}

fn groups(value: &Value) -> Result<Vec<Vec<Response>>, String> {
    let groups = value.get("groups").and_then(Value::as_array);
    let groups = groups.ok_or("it must be an object with a list `groups`")?;
    let mut all = Vec::with_capacity(groups.len());
    for (g, group) in groups.iter().enumerate() {
        let responses = group.get("responses").and_then(Value::as_array);
        let responses = responses.ok_or(format!("group {g} must be an object with a list `responses`"))?;
        let read = |(k, response): (usize, &Value)| {
            serde_json::from_value(response.clone())
                .map_err(|error| format!("group {g}, response {k}: {error}"))
        };
        all.push(responses.iter().enumerate().map(read).collect::<Result<Vec<Response>, String>>()?);
    }
    Ok(all)
}

fn sources(groups: &[Vec<Response>]) -> Result<Vec<Vec<Source>>, String> {
    let source = |response: &Response| response.source.parse::<Source>().map_err(|error| error.to_string());
    groups.iter().map(|group| group.iter().map(source).collect()).collect()
}

fn complete<'a>(response: &'a Response, source: Source, logprobs: &'a [f32], mask: bool) -> Completion<'a> {
    let inputs = TokenInputs {
        logprobs,
        // Without old log-probabilities this is the first update: every ratio is 1.
        old_logprobs: Some(response.old_logprobs.as_deref().unwrap_or(logprobs)),
        ref_logprobs: response.ref_logprobs.as_deref(),
        entropy: response.entropy.as_deref(),
        reference_kl: response.reference_kl.as_deref(),
        mask: response.mask.as_deref(),
    };
    Completion { source, reward: response.reward, inputs, filtered: mask && response.truncated }
}

/// The line as it was, with what was found.
fn answer(mut value: Value, found: &Evaluation) -> Value {
    let groups = value.get_mut("groups").and_then(Value::as_array_mut);
    for (group, found) in groups.into_iter().flatten().zip(&found.groups) {
        if let Some(object) = group.as_object_mut() {
            object.insert("reward_mean".into(), json!(found.statistics.mean));
            object.insert("reward_std".into(), json!(found.statistics.std));
            object.insert("kept".into(), json!(found.kept));
        }
        let responses = group.get_mut("responses").and_then(Value::as_array_mut);
        for (response, row) in responses.into_iter().flatten().zip(&found.rows) {
            let Some(object) = response.as_object_mut() else { continue };
            let more = json!({
                "advantage": row.advantage,
                "coefficients": row.coefficients,
                "gradient": row.gradient,
                "loss": row.loss.map(|loss| loss.loss),
            });
            object.extend(more.as_object().cloned().unwrap_or_else(Map::new));
        }
    }
    if let Some(object) = value.as_object_mut() {
        object.insert("loss".into(), json!(found.loss));
    }
    value
}
