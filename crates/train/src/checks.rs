//! What is wrong with settings, or with data for a method, that no type excludes.

use gft_data::Dataset;
use gft_objective::{Method, Signal};
use gft_rollout::Composition;

use crate::config::Settings;
use crate::error::{ConfigError, Error, Result};

fn within(key: &str, value: f64, low: f64, high: f64) -> Result<(), ConfigError> {
    if value >= low && value <= high {
        return Ok(());
    }
    let low = if low == f64::MIN_POSITIVE { "above 0".to_owned() } else { low.to_string() };
    Err(ConfigError::Contradiction(format!("{key} = {value} is out of range: expected {low} to {high}")))
}

/// Ranges and contradictions that no type excludes.
pub(crate) fn check(settings: &Settings, group: Composition) -> Result<(), ConfigError> {
    within("learning_rate", settings.learning_rate.unwrap_or(0.0), 0.0, 10.0)?;
    within("weight_decay", settings.weight_decay.unwrap_or(0.0), 0.0, 10.0)?;
    within("adam_beta1", settings.adam_beta1, 0.0, 0.999_999)?;
    within("adam_beta2", settings.adam_beta2, 0.0, 0.999_999_9)?;
    within("adam_epsilon", settings.adam_epsilon, 0.0, 1.0)?;
    within("max_grad_norm", settings.max_grad_norm, 0.0, f64::MAX)?;
    within("temperature", settings.temperature, 0.0, 100.0)?;
    within("top_p", settings.top_p, f64::MIN_POSITIVE, 1.0)?;
    within("min_p", settings.min_p, 0.0, 1.0)?;
    within("num_train_epochs", settings.num_train_epochs, 0.0, 1e6)?;
    for (key, value) in [
        ("train_batch_size", settings.train_batch_size.unwrap_or(1)),
        ("num_iterations", settings.num_iterations),
        ("tokens_per_pass", settings.tokens_per_pass),
        ("max_completion_length", settings.max_completion_length.unwrap_or(1)),
        ("updates_per_batch", settings.updates_per_batch.unwrap_or(1)),
    ] {
        if value == 0 {
            return Err(ConfigError::Contradiction(format!("{key} = 0 must be at least 1")));
        }
    }
    crate::config::report_to(settings)?;
    if settings.log_completions && settings.completions_steps == 0 {
        return Err(ConfigError::Contradiction(
            "log_completions shows what completions_steps writes, but completions_steps is 0".into(),
        ));
    }
    if group.own > 0 && settings.temperature == 0.0 {
        return Err(ConfigError::Contradiction(
            "temperature = 0 makes all own completions of a prompt the same: raise it, or set num_generations = 0"
                .into(),
        ));
    }
    if settings.max_steps == 0 || (settings.max_steps < 0 && settings.num_train_epochs == 0.0) {
        return Err(ConfigError::Contradiction(
            "the run has no steps: raise max_steps or num_train_epochs".into(),
        ));
    }
    if settings.dynamic_sampling == Some(true) && group.own == 0 {
        return Err(ConfigError::Contradiction(
            "dynamic_sampling replaces groups by further samples, but num_generations is 0".into(),
        ));
    }
    Ok(())
}

/// What a method gives up with the groups that the settings ask for.
pub(crate) fn note_on_groups(method: &Method, own: usize) -> Option<String> {
    let compares = method.sources.policy.is_some_and(|used| used.signal == Signal::Group);
    (compares && own == 0).then(|| {
        format!(
            "num_generations = 0: {} compares a prompt's completions, and here with the data's alone; the model's own, which \
             say what it gets wrong, are left out -> num_generations = 4 is the preset's",
            method.name
        )
    })
}

/// Answers that were rejected are teachers' to methods that weigh them; one that learns all teachers alike would learn
/// what people did not want.
pub(crate) fn check_preferences(dataset: &Dataset, method: &Method, group: Composition) -> Result<()> {
    let alike = method.sources.teacher.is_some_and(|t| matches!(t.signal, Signal::Constant(c) if c > 0.0));
    match dataset.rejected_as_teachers() {
        Some((file, column)) if alike && group.teachers > 0 => Err(Error::Rows(format!(
            "{}: the column {column:?} has answers that were rejected, and the method {} learns every teacher's answer as \
             much as the expert's -> num_teachers = 0 learns the chosen ones alone; columns = \"teachers={column}\" learns \
             both, if that is meant",
            file.display(),
            method.name
        ))),
        _ => Ok(()),
    }
}
