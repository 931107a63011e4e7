//! What a run saves: checkpoints under the contract of `gft-checkpoint`, the model that a stage ends with, and the final one.

use std::fs;
use std::path::{Path, PathBuf};

use gft_checkpoint::{CheckpointError, require_free};
use gft_model::device::Device;
use gft_model::folder::SaveOptions;

use crate::config::Settings;
use crate::disk::{Disk, Way};
use crate::error::{ConfigError, Error, Result};
use crate::optimizer_file;
use crate::stages::{Progress, Run};
use crate::state::{OrderState, RunState, VERSION, write_json};
use crate::trainer::Trainer;
use crate::trainer_state::trainer_state;

impl<D: Device + Clone> Run<'_, D> {
    /// Whether there is room for what the run still writes.
    pub fn require_disk(&self, settings: &Settings, progress: &Progress) -> Result<()> {
        let way = Way {
            done: progress.step,
            steps: self.lengths.iter().sum(),
            stages: (self.lengths.len() - progress.stage - 1) as u64,
            checkpoints: self.checkpoints.list()?.len() as u64,
        };
        let needed = Disk::of(settings, &self.folder)?.needed(settings, way);
        Ok(require_free(&self.output_dir, needed)?)
    }

    /// Saves a checkpoint of this step, unless there is one.
    pub fn save(
        &mut self,
        settings: &Settings,
        trainer: &Trainer<D>,
        progress: &mut Progress,
    ) -> Result<PathBuf> {
        if progress.saved == Some(progress.step) {
            return Ok(self.output_dir.join(format!("checkpoint-{}", progress.step)));
        }
        let state = self.state(trainer, progress);
        let trainer_state = self.trainer_state(settings, trainer, progress)?;
        let options = self.save_options()?;
        let masters = self.folder.saved_dtype(&trainer.policy, &options)? != gft_model::Dtype::F32;
        require_free(&self.output_dir, Disk::of(settings, &self.folder)?.checkpoint)?;
        let saved = self.checkpoints.save(progress.step, |dir| -> Result<()> {
            self.write_model(trainer, dir, &options)?;
            optimizer_file::write(dir, &trainer.policy, &trainer.optimizer, masters)?;
            write_json(&dir.join("trainer_state.json"), &trainer_state)?;
            state.write(dir)
        });
        let path = match saved {
            Ok(path) => path,
            // The checkpoint itself is there, whole.
            Err(CheckpointError::Rotation { saved, source }) => {
                self.watch.note(&format!("an old checkpoint could not be deleted: {source}"));
                saved
            }
            Err(error) => return Err(error.into()),
        };
        progress.saved = Some(progress.step);
        self.watch.saved(&path);
        Ok(path)
    }

    fn trainer_state(
        &self,
        settings: &Settings,
        trainer: &Trainer<D>,
        progress: &Progress,
    ) -> Result<serde_json::Value> {
        let history = self.log.history(settings.logging_steps)?;
        Ok(trainer_state(settings, trainer, progress, self.lengths.iter().sum(), &history))
    }

    fn state(&self, trainer: &Trainer<D>, progress: &Progress) -> RunState {
        let settings = &self.resolved.stages[progress.stage].settings;
        let rows = trainer.rows.len();
        RunState {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            step: progress.step,
            stage: progress.stage,
            stage_step: progress.stage_step,
            updates: trainer.optimizer.state().2,
            tokens: progress.tokens,
            totals: progress.totals,
            order: OrderState {
                seed: settings.shuffle_dataset.then(|| settings.data_seed.unwrap_or(settings.seed)),
                epoch: trainer.position / rows,
                index: trainer.position % rows,
            },
            guard: (&trainer.guard).into(),
            config: self.resolved.to_json(),
            config_hash: self.resolved.hash(),
            data_fingerprint: trainer.rows.survey().fingerprint.clone(),
            model: self.folder.dir().display().to_string(),
            continued_prompts: trainer.rows.continues_prompts(),
        }
    }

    fn save_options(&self) -> Result<SaveOptions> {
        let name = self.resolved.stages.first().and_then(|stage| stage.settings.save_dtype.as_deref());
        let dtype = name.map(str::parse).transpose().map_err(|error: String| {
            Error::Config(ConfigError::Contradiction(format!("save_dtype: {error}")))
        })?;
        Ok(SaveOptions { dtype, ..SaveOptions::default() })
    }

    /// Writes a model folder that other tools load, with the end of turns that was learned. Where the model that a run
    /// starts from is itself a run's folder, that run's files are left behind.
    fn write_model(&self, trainer: &Trainer<D>, dir: &Path, options: &SaveOptions) -> Result<()> {
        self.folder.save(&trainer.policy, dir, options)?;
        for entry in fs::read_dir(dir).map_err(Error::io(dir, "read"))? {
            let path = entry.map_err(Error::io(dir, "read"))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if belongs_to_a_run(&name) {
                fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
            }
        }
        Ok(trainer.rows.encoder().write_stop_config(dir)?)
    }

    /// Writes the final model beside the run's own files: aside first, then file by file under its name.
    pub fn save_model(&self, settings: &Settings, trainer: &Trainer<D>, progress: &Progress) -> Result<()> {
        let state = self.trainer_state(settings, trainer, progress)?;
        write_json(&self.output_dir.join("trainer_state.json"), &state)?;
        let partial = self.output_dir.join(format!("model.partial-{}", std::process::id()));
        self.write_model(trainer, &partial, &self.save_options()?)?;
        for entry in fs::read_dir(&partial).map_err(Error::io(&partial, "read"))? {
            let from = entry.map_err(Error::io(&partial, "read"))?.path();
            let to = self.output_dir.join(from.file_name().unwrap_or_default());
            fs::rename(&from, &to).map_err(Error::io(&to, "write"))?;
        }
        fs::remove_dir(&partial).map_err(Error::io(&partial, "remove"))
    }

    /// Saves the model that a stage ends with, for later stages to refer to.
    pub fn save_stage(&self, trainer: &Trainer<D>, stage: usize) -> Result<()> {
        let last = self.stage_dir(stage);
        let partial = last.with_extension(format!("partial-{}", std::process::id()));
        self.write_model(
            trainer,
            &partial,
            &SaveOptions { dtype: Some(gft_model::Dtype::F32), ..self.save_options()? },
        )?;
        if last.exists() {
            fs::remove_dir_all(&last).map_err(Error::io(&last, "replace"))?;
        }
        fs::rename(&partial, &last).map_err(Error::io(&last, "rename"))
    }
}

/// Whether a file is one that a run writes beside its model.
fn belongs_to_a_run(name: &str) -> bool {
    let names = [
        crate::state::FILE,
        gft_checkpoint::MANIFEST_FILE,
        gft_checkpoint::LOCK_FILE,
        "trainer_state.json",
        "metrics.jsonl",
        "config.toml",
    ];
    names.contains(&name)
        || name.starts_with("refused-step-")
        || name.starts_with(gft_report::EVENT_FILE_PREFIX)
}
