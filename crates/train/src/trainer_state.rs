//! `trainer_state.json` and the last line of metrics, with the names that transformers gives them: dashboards read both.

use gft_model::device::Device;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Settings;
use crate::stages::Progress;
use crate::trainer::Trainer;

/// The last line of a run's metrics. Times are those of steps and evaluations, over all processes of the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EndOfRun {
    /// Steps completed.
    pub step: u64,
    /// Epochs of the last stage.
    pub epoch: f64,
    /// Seconds.
    pub train_runtime: f64,
    /// Rollouts trained on, in a second.
    pub train_samples_per_second: f64,
    /// Steps in a second.
    pub train_steps_per_second: f64,
    /// Floating-point operations of the training passes: 6 per token and weight outside of the embedding.
    pub total_flos: f64,
    /// Mean loss over all steps.
    pub train_loss: f64,
}

pub(crate) fn end_of_run<D: Device>(trainer: &Trainer<D>, progress: &Progress) -> EndOfRun {
    let totals = &progress.totals;
    let seconds = totals.seconds.max(f64::MIN_POSITIVE);
    EndOfRun {
        step: progress.step,
        epoch: epoch(trainer),
        train_runtime: totals.seconds,
        train_samples_per_second: totals.samples as f64 / seconds,
        train_steps_per_second: progress.step as f64 / seconds,
        total_flos: total_flos(trainer, progress),
        train_loss: totals.loss / totals.losses.max(1) as f64,
    }
}

fn epoch<D: Device>(trainer: &Trainer<D>) -> f64 {
    trainer.position as f64 / trainer.rows.len() as f64
}

fn total_flos<D: Device>(trainer: &Trainer<D>, progress: &Progress) -> f64 {
    let architecture = trainer.policy.architecture();
    let embedding = architecture.vocab * architecture.hidden;
    6.0 * progress.totals.trained_tokens as f64 * (trainer.policy.layout().len - embedding) as f64
}

/// What transformers' trainer keeps in `trainer_state.json`; `history` are its lines of metrics, `max_steps` the steps of
/// all stages.
pub(crate) fn trainer_state<D: Device>(
    settings: &Settings,
    trainer: &Trainer<D>,
    progress: &Progress,
    max_steps: u64,
    history: &[Value],
) -> Value {
    json!({
        "best_global_step": null,
        "best_metric": null,
        "best_model_checkpoint": null,
        "epoch": epoch(trainer),
        "eval_steps": settings.eval_steps,
        "global_step": progress.step,
        "is_hyper_param_search": false,
        "is_local_process_zero": true,
        "is_world_process_zero": true,
        "log_history": history,
        "logging_steps": settings.logging_steps,
        "max_steps": max_steps,
        "num_input_tokens_seen": progress.totals.trained_tokens,
        "num_train_epochs": settings.num_train_epochs.ceil() as u64,
        "save_steps": settings.save_steps,
        "stateful_callbacks": {},
        "total_flos": total_flos(trainer, progress),
        "train_batch_size": settings.train_batch_size,
        "trial_name": null,
        "trial_params": null,
    })
}
