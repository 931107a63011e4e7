//! The loop around the step: stages, evaluation, metrics, checkpoints, and the way back from one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gft_checkpoint::{CheckpointError, Checkpoints, RetentionPolicy, require_free};
use gft_model::device::Device;
use gft_model::folder::{ModelFolder, SaveOptions};
use gft_model::optimizer::AdamW;
use gft_model::policy::Policy;
use gft_model::random::Stream;
use gft_objective::{Decision, GuardHistory};
use serde_json::json;

use crate::config::{Resolved, Settings};
use crate::error::{ConfigError, Error, Result};
use crate::evaluate::{Evaluated, evaluate};
use crate::files::{MetricsFile, write_completions, write_refused};
use crate::metrics::{EvalMetrics, Metrics, Place, Times};
use crate::optimizer_file;
use crate::plan::disk_bytes;
use crate::report::{Phase, StepReport};
use crate::rows::Rows;
use crate::setup::{self, StagePlan};
use crate::state::{OrderState, RunState, VERSION, write_json};
use crate::trainer::Trainer;

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

/// What a run tells those who watch it.
pub trait Watch<D: Device> {
    /// A stage is ready to step.
    fn stage(&mut self, _run: &StageInfo<'_, D>) {}
    /// A step has ended.
    fn step(&mut self, _metrics: &Metrics, _report: &StepReport, _total_steps: u64) {}
    /// An evaluation has ended.
    fn evaluated(&mut self, _metrics: &EvalMetrics) {}
    /// Something worth knowing, in words.
    fn note(&mut self, _text: &str) {}
    /// A checkpoint was saved.
    fn saved(&mut self, _path: &Path) {}
}

/// A stage that is ready to step, for the banner.
pub struct StageInfo<'a, D: Device> {
    /// Its settings.
    pub settings: &'a Settings,
    /// The stage, from 1, and how many there are.
    pub stage: (usize, usize),
    /// What steps.
    pub trainer: &'a Trainer<D>,
    /// Steps of the stage, and those already made.
    pub steps: (u64, u64),
    /// The output folder.
    pub output_dir: &'a Path,
    /// The model's folder.
    pub model_dir: &'a Path,
}

/// What a finished run leaves.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The folder with the final model.
    pub model: PathBuf,
    /// Steps in all.
    pub steps: u64,
    /// Tokens computed.
    pub tokens: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// First and last evaluation.
    pub evaluations: Option<(EvalMetrics, EvalMetrics)>,
    /// True when the run stopped at `stop_after_steps`, before its end.
    pub stopped_early: bool,
}

/// A run under way: its folder, and what does not change from stage to stage.
struct Run<'a, D: Device> {
    resolved: &'a Resolved,
    output_dir: PathBuf,
    folder: ModelFolder,
    checkpoints: Checkpoints,
    metrics: MetricsFile,
    watch: &'a mut dyn Watch<D>,
    stop: &'a dyn Fn() -> bool,
    evaluations: Vec<EvalMetrics>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    step: u64,
    stage: usize,
    stage_step: u64,
    tokens: u64,
    saved: Option<u64>,
}

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
    let state = from.as_deref().map(|path| resume_state(path, resolved)).transpose()?;
    // From here on the folder is this run's own: one process at a time writes into it.
    checkpoints.lock()?;
    checkpoints.clean()?;
    if let (Begin::At(_), Some(state)) = (begin, &state) {
        for path in checkpoints.set_aside_after(state.step)? {
            watch.note(&format!("a later checkpoint was set aside as {}", path.display()));
        }
    }
    require_free(&output_dir, disk_bytes(settings, &folder)?.1)?;
    let metrics = MetricsFile::open(&output_dir, state.as_ref().map_or(0, |state| state.step))?;
    let config = output_dir.join("config.toml");
    fs::write(&config, resolved.to_toml()).map_err(Error::io(&config, "write"))?;
    if let (Begin::Resume, None) = (begin, &from) {
        watch.note("no checkpoint to resume from: the run begins at its start");
    }
    let mut run =
        Run { resolved, output_dir, folder, checkpoints, metrics, watch, stop, evaluations: Vec::new() };
    run.stages(device, from.as_deref(), state)
}

/// The folder of the run.
fn output_dir(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let help = "give the folder of the run, as in --output-dir runs/first";
    let dir = settings.output_dir.as_ref();
    dir.map(PathBuf::from).ok_or(ConfigError::Required { key: "output_dir", help })
}

fn find_checkpoint(
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
fn resume_state(path: &Path, resolved: &Resolved) -> Result<RunState> {
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

impl<D: Device + Clone> Run<'_, D> {
    fn stages(&mut self, device: &D, from: Option<&Path>, state: Option<RunState>) -> Result<Finished> {
        let mut progress = Progress::default();
        if let Some(state) = &state {
            progress = Progress {
                step: state.step,
                stage: state.stage,
                stage_step: state.stage_step,
                tokens: state.tokens,
                saved: Some(state.step),
            };
        }
        let mut policy: Option<Policy<D>> = None;
        let mut resume = from.zip(state);
        let resolved = self.resolved;
        loop {
            let settings = &resolved.stages[progress.stage].settings;
            let encoder = setup::encoder(self.folder.dir(), settings, self.folder.architecture())?;
            let plan = StagePlan::new(settings, Arc::clone(&encoder))?;
            let steps = plan.steps;
            let (mut trainer, eval) = self.prepare(device, plan, progress, policy.take(), resume.take())?;
            // Stages count their steps from 0, but draw from streams of their own.
            trainer.seed = Stream::new(settings.seed).child(progress.stage as u64).bits(0);
            let info = StageInfo {
                settings,
                stage: (progress.stage + 1, resolved.stages.len()),
                trainer: &trainer,
                steps: (steps, progress.stage_step),
                output_dir: &self.output_dir,
                model_dir: self.folder.dir(),
            };
            self.watch.stage(&info);
            let (trainer, early) = self.stage(settings, trainer, eval.as_ref(), steps, &mut progress)?;
            let last = progress.stage + 1 == resolved.stages.len();
            if early || last {
                let checkpoint = self.save(settings, &trainer, &mut progress)?;
                if !early {
                    self.save_model(&trainer)?;
                }
                let first = self.evaluations.first().cloned();
                return Ok(Finished {
                    model: if early { checkpoint.clone() } else { self.output_dir.clone() },
                    steps: progress.step,
                    tokens: progress.tokens,
                    checkpoint,
                    evaluations: first.zip(self.evaluations.last().cloned()),
                    stopped_early: early,
                });
            }
            self.save_stage(&trainer, progress.stage)?;
            progress.stage += 1;
            progress.stage_step = 0;
            policy = Some(trainer.policy);
        }
    }

    /// Weights, optimizer and reference of a stage: from the stage before, a checkpoint, or the model folder.
    fn prepare(
        &self,
        device: &D,
        plan: StagePlan,
        progress: Progress,
        before: Option<Policy<D>>,
        resume: Option<(&Path, RunState)>,
    ) -> Result<(Trainer<D>, Option<Rows>)> {
        let reference = if plan.needs_reference() {
            Some(match progress.stage {
                0 => self.folder.load(device.clone())?,
                n => ModelFolder::open(self.stage_dir(n - 1))?.load(device.clone())?,
            })
        } else {
            None
        };
        let Some((path, state)) = resume else {
            let policy = match before {
                Some(policy) => policy,
                None => self.folder.load(device.clone())?,
            };
            let optimizer = AdamW::new(&policy, plan.adamw());
            return plan.trainer(policy, optimizer, reference, GuardHistory::default(), 0);
        };
        let fingerprint = &plan.rows.survey().fingerprint;
        if *fingerprint != state.data_fingerprint {
            let reason =
                "the data, the tokenizer or the chat template have changed since it was saved: rows give \
                          other tokens now"
                    .into();
            return Err(Error::Resume { path: path.to_path_buf(), reason });
        }
        let mut policy = ModelFolder::open(path)?.load(device.clone())?;
        let (optimizer, masters) = optimizer_file::read(path, &policy, plan.adamw())?;
        if let Some(masters) = masters {
            policy = Policy::new(device.clone(), policy.architecture().clone(), masters)?;
        }
        let position = state.order.epoch * plan.rows.len() + state.order.index;
        plan.trainer(policy, optimizer, reference, state.guard.into(), position)
    }

    /// The steps of one stage. Returns whether the run is to stop here.
    fn stage(
        &mut self,
        settings: &Settings,
        mut trainer: Trainer<D>,
        eval: Option<&Rows>,
        steps: u64,
        progress: &mut Progress,
    ) -> Result<(Trainer<D>, bool)> {
        if settings.eval_on_start && progress.stage_step == 0 {
            self.evaluate(settings, &trainer, eval, *progress)?;
        }
        while progress.stage_step < steps {
            let (mut times, mut since) = (Times::default(), None::<(Phase, Instant)>);
            let mut phase = |next: Phase| {
                let now = Instant::now();
                if let Some((phase, began)) = since.replace((next, now)) {
                    times.add(phase, now.duration_since(began).as_secs_f64());
                }
            };
            let result = trainer.step(progress.stage_step, &mut phase, self.stop);
            if let Some((phase, began)) = since {
                times.add(phase, began.elapsed().as_secs_f64());
            }
            let mut report = match result {
                Err(Error::Interrupted) => return Err(self.interrupted(settings, &trainer, progress)),
                other => other?,
            };
            report.step = progress.step;
            progress.step += 1;
            progress.stage_step += 1;
            progress.tokens += report.computed_tokens();
            let epoch = trainer.position as f64 / trainer.rows.len() as f64;
            let stage = progress.stage + 1;
            let place = Place { step: progress.step, stage, epoch, num_tokens: progress.tokens };
            let metrics = Metrics::new(&report, place, times);
            self.metrics.write(&metrics)?;
            if due(settings.completions_steps, progress.step) {
                write_completions(&self.output_dir, &report, settings.completions_tokens)?;
            }
            self.watch.step(&metrics, &report, steps - progress.stage_step + progress.step);
            self.refusals(&report)?;
            if due(settings.eval_steps, progress.step) && progress.stage_step < steps {
                self.evaluate(settings, &trainer, eval, *progress)?;
            }
            if settings.stop_after_steps > 0 && progress.step >= settings.stop_after_steps {
                return Ok((trainer, true));
            }
            if (self.stop)() {
                return Err(self.interrupted(settings, &trainer, progress));
            }
            if due(settings.save_steps, progress.step) && progress.stage_step < steps {
                self.save(settings, &trainer, progress)?;
            }
        }
        self.evaluate(settings, &trainer, eval, *progress)?;
        Ok((trainer, false))
    }

    /// Says refused updates, and stops the run after too many.
    fn refusals(&mut self, report: &StepReport) -> Result<()> {
        for update in &report.updates {
            match update.decision {
                Decision::Accept => {}
                Decision::Skip(reason) => {
                    self.watch.note(&format!("step {}: update refused, {reason}", report.step + 1));
                }
                Decision::Abort { reason, skipped } => {
                    let dump = write_refused(&self.output_dir, report)?;
                    return Err(Error::Aborted { skipped, reason: reason.to_string(), dump });
                }
            }
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        settings: &Settings,
        trainer: &Trainer<D>,
        eval: Option<&Rows>,
        progress: Progress,
    ) -> Result<()> {
        let Some(rows) = eval else { return Ok(()) };
        let began = Instant::now();
        let found: Evaluated = match evaluate(&trainer.policy, rows, settings, self.stop) {
            // The run stops at the next look at `stop`, and saves there.
            Err(Error::Interrupted) => return Ok(()),
            other => other?,
        };
        let metrics = EvalMetrics {
            step: progress.step,
            stage: progress.stage + 1,
            eval_loss: found.loss,
            eval_reward: found.accuracy,
            eval_accuracy: found.accuracy,
            eval_accuracy_stderr: found.accuracy_stderr,
            eval_unparsed: found.unparsed,
            eval_rows: found.rows,
            eval_samples: found.samples,
            mean_length: found.mean_length,
            clipped: found.clipped,
            eval_runtime: began.elapsed().as_secs_f64(),
        };
        self.metrics.write(&metrics)?;
        self.watch.evaluated(&metrics);
        self.evaluations.push(metrics);
        Ok(())
    }

    /// Saves what is not saved yet and says so by [`Error::Interrupted`], or by why it could not be saved.
    fn interrupted(&mut self, settings: &Settings, trainer: &Trainer<D>, progress: &mut Progress) -> Error {
        match self.save(settings, trainer, progress) {
            Ok(_) => Error::Interrupted,
            Err(error) => error,
        }
    }

    /// Saves a checkpoint of this step, unless there is one.
    fn save(
        &mut self,
        settings: &Settings,
        trainer: &Trainer<D>,
        progress: &mut Progress,
    ) -> Result<PathBuf> {
        if progress.saved == Some(progress.step) {
            return Ok(self.output_dir.join(format!("checkpoint-{}", progress.step)));
        }
        let state = self.state(trainer, *progress);
        let history = self.metrics.history(settings.logging_steps)?;
        let trainer_state = json!({
            "global_step": progress.step,
            "epoch": trainer.position as f64 / trainer.rows.len() as f64,
            "logging_steps": settings.logging_steps,
            "save_steps": settings.save_steps,
            "log_history": history,
        });
        let options = self.save_options()?;
        let masters = match options.dtype {
            Some(dtype) => dtype,
            None => self.folder.weights_dtype()?,
        } != gft_model::Dtype::F32;
        require_free(&self.output_dir, disk_bytes(settings, &self.folder)?.0)?;
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

    fn state(&self, trainer: &Trainer<D>, progress: Progress) -> RunState {
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
    fn save_model(&self, trainer: &Trainer<D>) -> Result<()> {
        let partial = self.output_dir.join(format!("model.partial-{}", std::process::id()));
        self.write_model(trainer, &partial, &self.save_options()?)?;
        for entry in fs::read_dir(&partial).map_err(Error::io(&partial, "read"))? {
            let from = entry.map_err(Error::io(&partial, "read"))?.path();
            let to = self.output_dir.join(from.file_name().unwrap_or_default());
            fs::rename(&from, &to).map_err(Error::io(&to, "write"))?;
        }
        fs::remove_dir(&partial).map_err(Error::io(&partial, "remove"))
    }

    fn stage_dir(&self, stage: usize) -> PathBuf {
        self.output_dir.join(format!("stage-{}", stage + 1))
    }

    /// Saves the model that a stage ends with, for later stages to refer to.
    fn save_stage(&self, trainer: &Trainer<D>, stage: usize) -> Result<()> {
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
    names.contains(&name) || name.starts_with("refused-step-") || name.starts_with("events.out.tfevents.")
}

/// Whether something that happens every `every` steps is due; never for 0.
fn due(every: u64, step: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
