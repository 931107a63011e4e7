//! Where a run begins: at its start, or at a checkpoint that is one of this very run, or of this run made longer.

use std::path::{Path, PathBuf};

use gft_checkpoint::{Checkpoints, RetentionPolicy};
use gft_objective::Decay;
use serde_json::Value;

use crate::config::{Resolved, Settings, decides};
use crate::error::{ConfigError, Error, Result};
use crate::state::RunState;

/// Where a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// At its start; the output folder must not hold a run.
    Fresh,
    /// At the last checkpoint that verifies; there must be one.
    Resume,
    /// At the last checkpoint that verifies, or at its start where there is none.
    Auto,
    /// At this checkpoint.
    At(PathBuf),
}

/// A run that goes on.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// Where it is.
    pub state: RunState,
    /// What to say of it where it has become longer or shorter.
    pub extended: Option<String>,
}

/// The checkpoint that a run begins at; `None` is its start.
///
/// # Errors
/// A folder that holds a run already, none to resume from, a checkpoint that does not verify.
pub(crate) fn find_checkpoint(
    checkpoints: &Checkpoints,
    begin: &Begin,
    note: &mut dyn FnMut(&str),
) -> Result<Option<PathBuf>> {
    let dir = checkpoints.run_dir();
    let wrong = |message: String| Err(Error::Config(ConfigError::Contradiction(message)));
    match begin {
        Begin::Resume | Begin::Auto => {
            let Some(found) = checkpoints.latest()? else {
                return if *begin == Begin::Auto { Ok(None) } else { wrong(nothing_to_resume(dir)) };
            };
            for refused in &found.refused {
                note(&format!("checkpoint of step {} is not used: {}", refused.step, refused.error));
            }
            Ok(Some(found.path))
        }
        Begin::At(path) => {
            if let Some(message) = no_checkpoint(path) {
                return wrong(message);
            }
            checkpoints.verify(path)?;
            Ok(Some(path.clone()))
        }
        Begin::Fresh => {
            let step = checkpoints.list()?.last().copied();
            if step.is_none() && !dir.join("config.json").exists() {
                return Ok(None);
            }
            wrong(format!(
                "{} already holds {}: continue it with --resume, or choose another output_dir",
                dir.display(),
                step.map_or("a model".into(), |step| format!("checkpoint-{step}"))
            ))
        }
    }
}

/// Why `--resume` finds nothing in the run's folder, and what to do.
fn nothing_to_resume(dir: &Path) -> String {
    let found = if dir.is_dir() { "no checkpoint in this folder" } else { "no such folder" };
    let near = nearest_run(dir).map_or(".".to_owned(), |near| format!("; did you mean {}?", near.display()));
    format!(
        "{}: {found}, so there is nothing to resume{near} To begin a new run leave --resume out; --resume auto resumes \
         where there is a checkpoint and begins anew where there is none",
        dir.display()
    )
}

/// The folder with checkpoints beside `dir` whose name is nearest, if it is near.
fn nearest_run(dir: &Path) -> Option<PathBuf> {
    let name = dir.file_name()?.to_string_lossy().into_owned();
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let near = std::fs::read_dir(parent).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let score = strsim::jaro_winkler(&name, &path.file_name()?.to_string_lossy());
        let steps = Checkpoints::new(&path, RetentionPolicy::default()).list();
        (path != dir && score > 0.8 && steps.is_ok_and(|steps| !steps.is_empty())).then_some((score, path))
    });
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, path)| path)
}

/// Why a path that was given is no checkpoint, where that is plain; whether one can be trusted is another question.
fn no_checkpoint(path: &Path) -> Option<String> {
    let shown = path.display();
    if path.is_file() {
        return Some(format!(
            "--resume {shown}: a file; --resume takes a checkpoint's folder, and a configuration stands before it"
        ));
    }
    if !path.is_dir() {
        return Some(format!(
            "--resume {shown}: no such folder; without a folder --resume takes the last checkpoint of output_dir"
        ));
    }
    let steps = Checkpoints::new(path, RetentionPolicy::default()).list().ok()?;
    let last = steps.last().filter(|_| !path.join(gft_checkpoint::MANIFEST_FILE).exists())?;
    Some(format!(
        "--resume {shown}: the folder of a run, not a checkpoint: --resume {} goes on from its last one, and so does \
         --output-dir {shown} --resume",
        path.join(format!("checkpoint-{last}")).display()
    ))
}

/// A setting that is another than it was.
struct Change {
    stage: usize,
    key: String,
    before: Value,
    after: Value,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was {}, is {}", self.key, self.before, self.after)
    }
}

/// The state of a checkpoint, if it is one of this run, or of this run with another length where that changes nothing of
/// the steps that are made.
///
/// # Errors
/// [`Error::Resume`] with what has changed and how to go on.
pub(crate) fn resume_state(path: &Path, output_dir: &Path, resolved: &Resolved) -> Result<Resumed> {
    let state = RunState::read(path)?;
    if state.config_hash == resolved.hash() {
        return Ok(Resumed { state, extended: None });
    }
    let changes = changes(&state, resolved);
    let listed: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let stages = state.config.as_array().map_or(0, Vec::len);
    let listed = match (listed.is_empty(), resolved.stages.len()) {
        (false, _) => listed.join("; "),
        (true, now) if now != stages => format!("it had {stages} stages, has {now}"),
        (true, _) => format!("gft {} had other settings", state.program),
    };
    // The last folder with a model: of the run, if it is at its end.
    let from = if output_dir.join("config.json").is_file() { output_dir } else { path };
    let anew =
        format!("begin a new run with --model-name-or-path {} and another --output-dir", from.display());
    let refuse = |reason: String| Err(Error::Resume { path: path.to_path_buf(), reason });
    let length = |change: &Change| ["max_steps", "num_train_epochs"].contains(&change.key.as_str());
    if changes.is_empty() || !changes.iter().all(|change| length(change) && change.stage >= state.stage) {
        return refuse(format!(
            "the configuration has changed since it was saved ({listed}); restore it, or {anew}"
        ));
    }
    let settings = &resolved.stages[state.stage].settings;
    if changes.iter().any(|change| change.stage == state.stage) {
        if let Some(schedule) = schedule_over_length(settings) {
            return refuse(format!(
                "{listed}, and the learning rates of the steps that are made hang on that ({schedule}), so it would not be \
                 the run that was begun. To train on, {anew}; a run of lr_scheduler_type = \"constant\" can be extended"
            ));
        }
        if u64::try_from(settings.max_steps).is_ok_and(|steps| steps < state.stage_step) {
            return refuse(format!("{listed}, but {} steps are made already", state.stage_step));
        }
    }
    // An epoch's last step has the prompts that are left; of more epochs at once it would have been filled up.
    let but = match changes.iter().any(|change| change.key == "num_train_epochs") {
        true => ", but for a last step that the end of the epochs cut short",
        false => "",
    };
    let extended = format!(
        "{listed}: the learning rate does not hang on it, so the run goes on as if it had been so from the start{but}"
    );
    Ok(Resumed { state, extended: Some(extended) })
}

/// What decides the result and is not what it was; empty where only the number of stages is another.
fn changes(state: &RunState, resolved: &Resolved) -> Vec<Change> {
    let stages = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (before, now) = (stages(&state.config), stages(&resolved.to_json()));
    if before.len() != now.len() {
        return Vec::new();
    }
    let mut changes = Vec::new();
    for (stage, (before, after)) in before.iter().zip(&now).enumerate() {
        for (key, value) in before.as_object().into_iter().flatten() {
            if decides(key) && after.get(key) != Some(value) {
                let after = after.get(key).cloned().unwrap_or_default();
                changes.push(Change { stage, key: key.clone(), before: value.clone(), after });
            }
        }
    }
    changes
}

/// The setting by which the learning rate of a step depends on how many steps there are; `None` where it does not.
fn schedule_over_length(settings: &Settings) -> Option<String> {
    let name = settings.lr_scheduler_type.as_deref().unwrap_or("linear");
    match name.parse() {
        Ok(Decay::Constant) => None,
        Ok(Decay::ConstantWithWarmup) if settings.warmup_steps > 0 || settings.warmup_ratio == 0.0 => None,
        Ok(Decay::ConstantWithWarmup) => Some(format!("warmup_ratio = {}", settings.warmup_ratio)),
        _ => Some(format!("lr_scheduler_type = {name}")),
    }
}
