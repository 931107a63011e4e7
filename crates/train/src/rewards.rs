//! From the settings' names of rewards to the rewards: built in, functions of Python files, programs, servers.

use std::path::Path;
use std::time::Duration;

use gft_objective::SoftOverlong;
use gft_reward::{
    AnswerFormat, Combination, CommandReward, CommandSettings, Cosine, CosineSettings, HttpReward,
    HttpSettings, OnFailure, Overlong, Repetition, Reward, ThinkFormat, Verifier,
};

use crate::config::Settings;
use crate::error::{ConfigError, Result};

/// The function of a Python file that is given without one, as verl has it.
const DEFAULT_FUNCTION: &str = "compute_score";
/// What can be named, for messages.
const KNOWN: &str = "verifier, reasoning_accuracy, format, think_format, soft_overlong, cosine, repetition (and TRL's names of \
                     them), file.py:function, cmd:program arguments, http://host:port/path";

/// The rewards of a stage.
///
/// # Errors
/// An unknown name, a file that is not there, a setting out of range, or weights that do not match.
pub(crate) fn combination(settings: &Settings, method: &str) -> Result<Combination> {
    if settings.reward_funcs.is_empty() {
        let message = format!("the method {method} needs a reward, but reward_funcs is empty");
        return Err(ConfigError::Contradiction(message).into());
    }
    let share = settings.max_reward_error_frac;
    if !(0.0..=1.0).contains(&share) {
        let message = format!("max_reward_error_frac = {share} is out of range: expected 0 to 1");
        return Err(ConfigError::Contradiction(message).into());
    }
    let mut rewards: Vec<Box<dyn Reward>> = Vec::new();
    for spec in &settings.reward_funcs {
        let taken = |name: &str| rewards.iter().any(|reward| reward.name() == name);
        let reward = reward(spec.trim(), settings, &taken)?;
        if taken(reward.name()) {
            let message = format!("reward_funcs names `{}` twice", reward.name());
            return Err(ConfigError::Contradiction(message).into());
        }
        rewards.push(reward);
    }
    Ok(Combination::new(rewards, &settings.reward_weights)?.on_failure(OnFailure::StopAbove(share)))
}

fn reward(spec: &str, settings: &Settings, taken: &dyn Fn(&str) -> bool) -> Result<Box<dyn Reward>> {
    if let Some(reward) = external(spec, settings, taken)? {
        return Ok(reward);
    }
    let mut verifier = Verifier::default();
    verifier.extract.last_number = settings.last_number;
    let plain = spec.replace('-', "_");
    // TRL names its rewards `..._reward`, and `get_...` where a call with parameters makes them.
    let plain = plain.strip_prefix("get_").unwrap_or(&plain);
    Ok(match plain.strip_suffix("_reward").unwrap_or(plain) {
        "verifier" | "accuracy" => Box::new(verifier),
        "reasoning_accuracy" => Box::new(Verifier { after_reasoning: true, ..verifier }),
        "format" => Box::new(AnswerFormat { extract: verifier.extract }),
        "think_format" => Box::new(ThinkFormat),
        "soft_overlong" | "soft_overlong_punishment" => Box::new(overlong(settings)?),
        "cosine" | "cosine_scaled" => Box::new(cosine(verifier, settings)?),
        "repetition" | "repetition_penalty" => {
            Box::new(Repetition::new(settings.repetition_n_grams, settings.repetition_max_penalty)?)
        }
        _ => return Err(gft_reward::Error::Unknown { name: spec.to_owned(), known: KNOWN }.into()),
    })
}

fn overlong(settings: &Settings) -> Result<Overlong> {
    let max_length = settings.max_completion_length.unwrap_or(512);
    let penalty = SoftOverlong { max_length, buffer: settings.overlong_buffer, factor: 1.0 };
    penalty.penalty(0).map_err(|e| ConfigError::Contradiction(e.to_string()))?;
    Ok(Overlong(penalty))
}

fn cosine(verifier: Verifier, settings: &Settings) -> Result<Cosine> {
    let values = CosineSettings {
        min_value_wrong: settings.cosine_min_value_wrong,
        max_value_wrong: settings.cosine_max_value_wrong,
        min_value_correct: settings.cosine_min_value_correct,
        max_value_correct: settings.cosine_max_value_correct,
        max_tokens: settings.cosine_max_len.or(settings.max_completion_length).unwrap_or(512),
    };
    Ok(Cosine::new(verifier, values)?)
}

/// A reward from outside, if the name is of that form.
fn external(
    spec: &str,
    settings: &Settings,
    taken: &dyn Fn(&str) -> bool,
) -> Result<Option<Box<dyn Reward>>> {
    let limit = settings.reward_time_limit;
    if limit.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 86_400.0)) {
        let message = "reward_time_limit is out of range: expected seconds above 0, at most 86400";
        return Err(ConfigError::Contradiction(message.into()).into());
    }
    let limit = limit.map(Duration::from_secs_f64);
    if spec.starts_with("http://") || spec.starts_with("https://") {
        let mut server = HttpSettings::new(spec);
        server.timeout = limit.unwrap_or(server.timeout);
        server.tries = settings.reward_tries.unwrap_or(server.tries);
        return Ok(Some(Box::new(HttpReward::new(free_name("http", taken), server)?)));
    }
    let (name, mut program) = if let Some(line) = spec.strip_prefix("cmd:") {
        let mut words = line.split_whitespace();
        let Some(program) = words.next() else {
            return Err(ConfigError::Contradiction("reward_funcs: `cmd:` without a program".into()).into());
        };
        let stem = Path::new(program).file_stem().map(|s| s.to_string_lossy().into_owned());
        (stem.unwrap_or_else(|| program.to_owned()), CommandSettings::new(program, words))
    } else if let Some((file, function)) = python(spec) {
        (function.to_owned(), CommandSettings::python(Path::new(file), function)?)
    } else {
        return Ok(None);
    };
    program.time_limit = limit.unwrap_or(program.time_limit);
    program.tries = settings.reward_tries.unwrap_or(program.tries);
    program.workers = settings.reward_workers;
    Ok(Some(Box::new(CommandReward::new(free_name(&name, taken), program)?)))
}

/// File and function of `file.py:function` or `file.py`.
fn python(spec: &str) -> Option<(&str, &str)> {
    match spec.rsplit_once(':') {
        Some((file, function)) if file.ends_with(".py") && !function.is_empty() => Some((file, function)),
        _ if spec.ends_with(".py") => Some((spec, DEFAULT_FUNCTION)),
        _ => None,
    }
}

/// A name under which no reward reports yet.
fn free_name(name: &str, taken: &dyn Fn(&str) -> bool) -> String {
    let name = name.replace(['/', ' '], "_");
    if !taken(&name) {
        return name;
    }
    (2..).map(|n| format!("{name}_{n}")).find(|name| !taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(specs: &[&str]) -> Result<Vec<String>> {
        let settings =
            Settings { reward_funcs: specs.iter().map(|s| (*s).to_owned()).collect(), ..Settings::default() };
        let combination = combination(&settings, "grpo")?;
        Ok(combination.names().into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn trl_names_and_ours() {
        let trl = [
            "accuracy_reward",
            "reasoning_accuracy_reward",
            "think_format_reward",
            "get_soft_overlong_punishment",
            "get_cosine_scaled_reward",
            "get_repetition_penalty_reward",
        ];
        let ours =
            ["verifier", "reasoning-accuracy", "think_format", "soft_overlong", "cosine", "repetition"];
        assert_eq!(names(&trl).unwrap(), names(&ours).unwrap());
    }

    #[test]
    fn rewards_from_outside_have_names_of_their_own() {
        let specs =
            ["cmd:./judge --fast", "cmd:other/judge.sh", "http://127.0.0.1:9/a", "http://127.0.0.1:9/b"];
        assert_eq!(names(&specs).unwrap(), ["judge", "judge_2", "http", "http_2"]);
        assert_eq!(python("a/b.py:score"), Some(("a/b.py", "score")));
        assert_eq!(python("a/b.py"), Some(("a/b.py", "compute_score")));
        assert_eq!((python("b.py:"), python("verifier")), (None, None));
    }

    #[test]
    fn mistakes_are_named() {
        for (specs, part) in [
            (&["verifer"][..], "`verifer`"),
            (&["verifier", "accuracy_reward"], "twice"),
            (&["cmd:"], "without a program"),
            (&["nowhere.py:score"], "nowhere.py"),
            (&[], "empty"),
        ] {
            let message = names(specs).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
