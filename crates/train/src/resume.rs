//! Where a run begins: at its start, or at a checkpoint that is one of this very run.

use std::path::{Path, PathBuf};

use gft_checkpoint::Checkpoints;

use crate::config::Resolved;
use crate::error::{ConfigError, Error, Result};
use crate::state::RunState;

/// Where a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// At its start; the output folder must not hold a run.
    Fresh,
    /// At the last checkpoint that verifies, or at its start where there is none.
    Resume,
    /// At this checkpoint.
    At(PathBuf),
}

/// The checkpoint that a run begins at; `None` is its start.
///
/// # Errors
/// A folder that holds a run already, a checkpoint that does not verify.
pub(crate) fn find_checkpoint(
    checkpoints: &Checkpoints,
    begin: &Begin,
    note: &mut dyn FnMut(&str),
) -> Result<Option<PathBuf>> {
    let dir = checkpoints.run_dir();
    match begin {
        Begin::Resume => Ok(checkpoints.latest()?.map(|found| {
            for refused in &found.refused {
                note(&format!("checkpoint of step {} is not used: {}", refused.step, refused.error));
            }
            found.path
        })),
        Begin::At(path) => {
            checkpoints.verify(path)?;
            Ok(Some(path.clone()))
        }
        Begin::Fresh => {
            let step = checkpoints.list()?.last().copied();
            if step.is_none() && !dir.join("config.json").exists() {
                return Ok(None);
            }
            Err(Error::Config(ConfigError::Contradiction(format!(
                "{} already holds {}: continue it with --resume, or choose another output_dir",
                dir.display(),
                step.map_or("a model".into(), |step| format!("checkpoint-{step}"))
            ))))
        }
    }
}

/// The state of a checkpoint, if it is one of this run.
///
/// # Errors
/// [`Error::Resume`] with what has changed.
pub(crate) fn resume_state(path: &Path, resolved: &Resolved) -> Result<RunState> {
    let state = RunState::read(path)?;
    if state.config_hash == resolved.hash() {
        return Ok(state);
    }
    let now = resolved.to_json();
    let mut changed = Vec::new();
    let stages = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    for (before, after) in stages(&state.config).iter().zip(stages(&now)) {
        for (key, value) in before.as_object().into_iter().flatten() {
            if crate::config::decides(key) && after.get(key) != Some(value) {
                let new = after.get(key).cloned().unwrap_or_default();
                changed.push(format!("{key} was {value}, is {new}"));
            }
        }
    }
    if changed.is_empty() {
        changed.push("the number of stages".into());
    }
    let reason = format!(
        "the configuration has changed since it was saved ({}); restore it, or begin a new run with \
         --model-name-or-path {}",
        changed.join("; "),
        path.display()
    );
    Err(Error::Resume { path: path.to_path_buf(), reason })
}
