//! A run from its configuration to its end: the folder is taken, the way back from a checkpoint found, then the stages.

use std::fs;
use std::path::PathBuf;

use gft_checkpoint::{Checkpoints, RetentionPolicy};
use gft_model::device::Device;
use gft_model::folder::ModelFolder;

use crate::config::{Resolved, Settings};
use crate::disk::Disk;
use crate::error::{ConfigError, Error, Result};
use crate::log::Log;
use crate::resume::{Begin, find_checkpoint, resume_state};
use crate::setup;
use crate::stages::Run;
use crate::watch::{Finished, Watch};

/// Trains as the configuration says. `stop` is asked often; once it says so, the state is saved and the run ends with
/// [`Error::Interrupted`].
///
/// # Errors
/// Whatever configuration, data, model and disk refuse. What was saved before stays.
pub fn train<D: Device + Clone>(
    device: &D,
    resolved: &Resolved,
    begin: &Begin,
    watch: &mut dyn Watch<D>,
    stop: &dyn Fn() -> bool,
) -> Result<Finished> {
    let settings =
        &resolved.stages.first().ok_or_else(|| Error::Rows("a run needs a stage".into()))?.settings;
    let output_dir = output_dir(settings)?;
    let model_dir = setup::model_dir(settings)?;
    let keep_last = (settings.save_total_limit > 0).then_some(settings.save_total_limit);
    let policy = RetentionPolicy { keep_last, ..RetentionPolicy::default() };
    let checkpoints = Checkpoints::new(&output_dir, policy);
    let from = find_checkpoint(&checkpoints, begin, &mut |text| watch.note(text))?;
    let folder = ModelFolder::open(&model_dir)?;
    let resumed = from.as_deref().map(|path| resume_state(path, &output_dir, resolved)).transpose()?;
    // Before the folder is taken, for what the configuration contradicts.
    Disk::of(settings, &folder).map_err(|error| resolved.locate(0, error))?;
    // From here on the folder is this run's own: one process at a time writes into it.
    checkpoints.lock()?;
    checkpoints.clean()?;
    if let (Begin::At(_), Some(resumed)) = (begin, &resumed) {
        for path in checkpoints.set_aside_after(resumed.state.step)? {
            watch.note(&format!("a later checkpoint was set aside as {}", path.display()));
        }
    }
    let toml = resolved.to_toml();
    let config = output_dir.join("config.toml");
    fs::write(&config, &toml).map_err(Error::io(&config, "write"))?;
    let log = Log::open(&output_dir, resumed.as_ref(), settings, &toml)?;
    if let Some(extended) = resumed.as_ref().and_then(|resumed| resumed.extended.as_ref()) {
        watch.note(extended);
    }
    if let (Begin::Auto, None) = (begin, &from) {
        watch.note("no checkpoint to resume from: the run begins at its start");
    }
    let state = resumed.map(|resumed| resumed.state);
    Run::new(resolved, output_dir, folder, checkpoints, log, watch, stop).stages(
        device,
        from.as_deref(),
        state,
    )
}

/// The folder of the run.
fn output_dir(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let help = "give the folder of the run, as in --output-dir runs/first";
    let dir = settings.output_dir.as_ref();
    dir.map(PathBuf::from).ok_or(ConfigError::Required { key: "output_dir", help })
}
