//! The loop around the step: stages, evaluation, metrics, and when to save.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gft_checkpoint::Checkpoints;
use gft_model::device::{Device, DeviceMemory};
use gft_model::folder::ModelFolder;
use gft_model::optimizer::AdamW;
use gft_model::policy::Policy;
use gft_model::random::Stream;
use gft_objective::{Decision, GuardHistory};

use crate::adapters;
use crate::config::{Resolved, Settings};
use crate::device_memory::peak_that_fits;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluated, evaluate};
use crate::files::write_refused;
use crate::health::cut_distribution;
use crate::log::Log;
use crate::metrics::{EvalMetrics, Metrics, Place, Times};
use crate::optimizer_file;
use crate::report::{Phase, StepReport};
use crate::rows::Rows;
use crate::setup::{self, StagePlan};
use crate::state::{RunState, Totals};
use crate::trainer::Trainer;
use crate::trainer_state::end_of_run;
use crate::watch::{Finished, StageInfo, StepEnd, Watch};

/// A run under way: its folder, and what does not change from stage to stage.
pub(crate) struct Run<'a, D: Device> {
    pub resolved: &'a Resolved,
    pub output_dir: PathBuf,
    pub folder: ModelFolder,
    pub checkpoints: Checkpoints,
    pub log: Log,
    pub watch: &'a mut dyn Watch<D>,
    stop: &'a dyn Fn() -> bool,
    /// Steps of each stage.
    pub lengths: Vec<u64>,
}

/// How far a run is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Steps completed over all stages.
    pub step: u64,
    /// The stage under way, from 0.
    pub stage: usize,
    /// Steps completed in it.
    pub stage_step: u64,
    /// Tokens computed.
    pub tokens: u64,
    /// Sums over the whole run.
    pub totals: Totals,
    /// The step of the last checkpoint.
    pub saved: Option<u64>,
}

impl<'a, D: Device + Clone> Run<'a, D> {
    pub fn new(
        resolved: &'a Resolved,
        output_dir: PathBuf,
        folder: ModelFolder,
        checkpoints: Checkpoints,
        log: Log,
        watch: &'a mut dyn Watch<D>,
        stop: &'a dyn Fn() -> bool,
    ) -> Self {
        Run { resolved, output_dir, folder, checkpoints, log, watch, stop, lengths: Vec::new() }
    }

    /// Runs the stages from where the run is to its end.
    pub fn stages(mut self, device: &D, from: Option<&Path>, state: Option<RunState>) -> Result<Finished> {
        let mut progress = state.as_ref().map_or_else(Progress::default, |state| Progress {
            step: state.step,
            stage: state.stage,
            stage_step: state.stage_step,
            tokens: state.tokens,
            totals: state.totals,
            saved: Some(state.step),
        });
        let mut policy: Option<Policy<D>> = None;
        let mut resume = from.zip(state);
        let resolved = self.resolved;
        let memory = device.memory(); // before anything is put there
        self.look_ahead(progress.stage, memory.as_ref())?;
        loop {
            let settings = &resolved.stages[progress.stage].settings;
            let plan = self.plan(progress.stage)?;
            self.lengths[progress.stage] = plan.steps;
            self.require_disk(settings, &progress)?;
            let peak = peak_that_fits(&plan, &self.folder, memory.as_ref())?;
            let (mut trainer, eval) = self.prepare(device, plan, &progress, policy.take(), resume.take())?;
            if let Some(total) = trainer.total_rows {
                // A run that ended within a batch and is made longer goes on behind that batch's last row.
                let rows = total.saturating_sub(trainer.position);
                self.lengths[progress.stage] =
                    progress.stage_step + rows.div_ceil(trainer.prompts_per_step as u64);
            }
            // Stages count their steps from 0, but draw from streams of their own.
            trainer.seed = Stream::new(settings.seed).child(progress.stage as u64).bits(0);
            self.watch.stage(&StageInfo {
                settings,
                stage: (progress.stage + 1, resolved.stages.len()),
                trainer: &trainer,
                steps: (self.lengths[progress.stage], progress.stage_step),
                output_dir: &self.output_dir,
                model_dir: self.folder.dir(),
                memory: peak,
            });
            let (trainer, early) = self.stage(settings, trainer, eval.as_ref(), &mut progress)?;
            if early || progress.stage + 1 == resolved.stages.len() {
                return self.finish(settings, &trainer, &mut progress, early);
            }
            self.save_stage(&trainer, progress.stage)?;
            progress.stage += 1;
            progress.stage_step = 0;
            policy = Some(trainer.policy);
        }
    }

    /// A stage with its data.
    fn plan(&mut self, stage: usize) -> Result<StagePlan> {
        let settings = &self.resolved.stages[stage].settings;
        let located = |error| self.resolved.locate(stage, error);
        let encoder = setup::encoder(self.folder.tokenizer_dir(), settings, self.folder.architecture());
        let encoder = encoder.map_err(located)?;
        let watch = &mut self.watch;
        StagePlan::new(settings, encoder, &mut |done, total| watch.reading(done, total)).map_err(located)
    }

    /// Reads the data of the other stages and lets go of it: what is wrong with them is said before hours are spent.
    fn look_ahead(&mut self, stage: usize, memory: Option<&DeviceMemory>) -> Result<()> {
        self.lengths = vec![0; self.resolved.stages.len()];
        for other in (0..self.lengths.len()).filter(|other| *other != stage) {
            let plan = self.plan(other)?;
            plan.rewards()?;
            // What is done needs no memory.
            peak_that_fits(&plan, &self.folder, memory.filter(|_| other > stage))?;
            self.lengths[other] = plan.steps;
        }
        Ok(())
    }

    /// Weights, optimizer and reference of a stage: from the stage before, a checkpoint, or the model folder.
    fn prepare(
        &self,
        device: &D,
        plan: StagePlan,
        progress: &Progress,
        before: Option<Policy<D>>,
        resume: Option<(&Path, RunState)>,
    ) -> Result<(Trainer<D>, Option<Rows>)> {
        let Some((path, state)) = resume else {
            let policy = match before {
                Some(policy) => policy,
                None => adapters::start(device.clone(), &plan.settings, &self.folder)?,
            };
            let reference = self.reference(device, &plan, progress.stage, &policy)?;
            let optimizer = AdamW::new(&policy, plan.adamw());
            return plan.trainer(policy, optimizer, reference, GuardHistory::default(), 0);
        };
        if plan.rows.survey().fingerprint != state.data_fingerprint {
            let reason = "the data, the tokenizer or the chat template have changed since it was saved: rows give \
                          other tokens now";
            return Err(Error::Resume { path: path.to_path_buf(), reason: reason.into() });
        }
        let mut policy = ModelFolder::open(path)?.load(device.clone())?;
        let (optimizer, masters) = optimizer_file::read(path, &policy, plan.adamw())?;
        if let Some(masters) = masters {
            policy = policy.with_params(masters)?;
        }
        let reference = self.reference(device, &plan, progress.stage, &policy)?;
        let position = state.order.epoch * plan.rows.len() + state.order.index;
        plan.trainer(policy, optimizer, reference, state.guard.into(), position)
    }

    /// What KL terms refer to: the weights at the stage's start, or, where adapters are trained, the same weights without
    /// them.
    fn reference(
        &self,
        device: &D,
        plan: &StagePlan,
        stage: usize,
        policy: &Policy<D>,
    ) -> Result<Option<Policy<D>>> {
        if !plan.needs_reference() {
            return Ok(None);
        }
        if policy.adapter().is_some() {
            return Ok(Some(policy.without_adapter()));
        }
        Ok(Some(match stage {
            0 => self.folder.load(device.clone())?,
            n => ModelFolder::open(self.stage_dir(n - 1))?.load(device.clone())?,
        }))
    }

    /// The steps of one stage. Returns whether the run is to stop here.
    fn stage(
        &mut self,
        settings: &Settings,
        mut trainer: Trainer<D>,
        eval: Option<&Rows>,
        progress: &mut Progress,
    ) -> Result<(Trainer<D>, bool)> {
        let steps = self.lengths[progress.stage];
        if trainer.own_samples > 0
            && let Some(note) = cut_distribution(&trainer.sampling)
        {
            self.watch.note(&note);
        }
        let due_now = |progress: &Progress| match progress.stage_step {
            0 => settings.eval_on_start,
            at => due(settings.eval_steps, progress.step) && at < steps,
        };
        // Also what an interrupted process of this run left out.
        if due_now(progress) {
            self.evaluate(settings, &trainer, eval, progress)?;
        }
        while progress.stage_step < steps {
            if (self.stop)() {
                return Err(self.interrupted(settings, &trainer, progress));
            }
            self.step(settings, &mut trainer, steps, progress)?;
            if due_now(progress) {
                self.evaluate(settings, &trainer, eval, progress)?;
            }
            if settings.stop_after_steps > 0 && progress.step >= settings.stop_after_steps {
                return Ok((trainer, true));
            }
            if due(settings.save_steps, progress.step) && progress.stage_step < steps {
                self.save(settings, &trainer, progress)?;
            }
        }
        self.evaluate(settings, &trainer, eval, progress)?;
        Ok((trainer, false))
    }

    /// One step with its metrics and files.
    fn step(
        &mut self,
        settings: &Settings,
        trainer: &mut Trainer<D>,
        steps: u64,
        progress: &mut Progress,
    ) -> Result<()> {
        let (mut times, mut since) = (Times::default(), None::<(Phase, Instant)>);
        let watch = RefCell::new(&mut *self.watch);
        let mut phase = |next: Phase| {
            let now = Instant::now();
            if let Some((phase, began)) = since.replace((next, now)) {
                times.add(phase, now.duration_since(began).as_secs_f64());
            }
            watch.borrow_mut().phase(next);
        };
        let stop = self.stop;
        let asked = || {
            watch.borrow_mut().tick();
            stop()
        };
        let result = trainer.step(progress.stage_step, &mut phase, &asked);
        if let Some((phase, began)) = since {
            times.add(phase, began.elapsed().as_secs_f64());
        }
        let mut report = match result {
            Err(Error::Interrupted) => return Err(self.interrupted(settings, trainer, progress)),
            other => other?,
        };
        report.step = progress.step;
        progress.step += 1;
        progress.stage_step += 1;
        progress.tokens += report.computed_tokens();
        let epoch = trainer.position as f64 / trainer.rows.len() as f64;
        let place =
            Place { step: progress.step, stage: progress.stage + 1, epoch, num_tokens: progress.tokens };
        let metrics = Metrics::new(&report, place, times);
        progress.totals.add(&metrics, &report);
        let line = self.log.line(progress.step, &metrics)?;
        let with_completions = due(settings.completions_steps, progress.step);
        if with_completions {
            self.log.completions(&self.output_dir, progress.step, &report, settings.completions_tokens)?;
        }
        self.watch.step(&StepEnd {
            metrics: &metrics,
            line: &line,
            report: &report,
            last_step: steps - progress.stage_step + progress.step,
            show_completions: with_completions && settings.log_completions,
        });
        self.refusals(&report)
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

    /// Evaluates, unless the run has done so at this step already.
    fn evaluate(
        &mut self,
        settings: &Settings,
        trainer: &Trainer<D>,
        eval: Option<&Rows>,
        progress: &mut Progress,
    ) -> Result<()> {
        let Some(rows) = eval else { return Ok(()) };
        let stage = progress.stage + 1;
        let here = |line: &serde_json::Map<String, serde_json::Value>| {
            line["step"] == progress.step && line["stage"] == stage
        };
        if self.log.evaluations()?.iter().any(here) {
            return Ok(());
        }
        let began = Instant::now();
        self.watch.phase(Phase::Evaluation);
        let watch = RefCell::new(&mut *self.watch);
        let stop = self.stop;
        let asked = || {
            watch.borrow_mut().tick();
            stop()
        };
        let found: Evaluated = match evaluate(&trainer.policy, rows, settings, &asked) {
            // What is left out is made up for when the run goes on.
            Err(Error::Interrupted) => return Err(self.interrupted(settings, trainer, progress)),
            other => other?,
        };
        let seconds = began.elapsed().as_secs_f64();
        let metrics = EvalMetrics::new(&found, progress.step, stage, seconds);
        progress.totals.seconds += seconds;
        let line = self.log.line(progress.step, &metrics)?;
        self.watch.evaluated(progress.step, &line);
        Ok(())
    }

    /// Saves what is not saved yet and says so by [`Error::Interrupted`], or by why it could not be saved.
    fn interrupted(&mut self, settings: &Settings, trainer: &Trainer<D>, progress: &mut Progress) -> Error {
        match self.save(settings, trainer, progress) {
            Ok(_) => Error::Interrupted,
            Err(error) => error,
        }
    }

    /// The last checkpoint, and at the end of the run its final line of metrics and its model.
    fn finish(
        &mut self,
        settings: &Settings,
        trainer: &Trainer<D>,
        progress: &mut Progress,
        early: bool,
    ) -> Result<Finished> {
        if !early {
            let ended = self.log.history(u64::MAX)?.iter().any(|line| line.get("train_runtime").is_some());
            if !ended {
                self.log.line(progress.step, &end_of_run(trainer, progress))?;
            }
        }
        let checkpoint = self.save(settings, trainer, progress)?;
        if !early {
            self.save_model(settings, trainer, progress)?;
        }
        let mut evaluations = self.log.evaluations()?;
        let last = evaluations.pop();
        let first = if evaluations.is_empty() { last.clone() } else { Some(evaluations.swap_remove(0)) };
        Ok(Finished {
            model: if early { checkpoint.clone() } else { self.output_dir.clone() },
            steps: progress.step,
            tokens: progress.tokens,
            checkpoint,
            evaluations: first.zip(last),
            tensorboard: self.log.has_events(),
            continued_prompts: trainer.rows.continues_prompts(),
            stopped_early: early,
        })
    }

    pub(crate) fn stage_dir(&self, stage: usize) -> PathBuf {
        self.output_dir.join(format!("stage-{}", stage + 1))
    }
}

/// Whether something that happens every `every` steps is due; never for 0.
fn due(every: u64, step: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
