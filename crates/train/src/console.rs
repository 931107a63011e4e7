//! What a run says on the terminal: a banner, one plain line per logging step, health notes once each, a summary.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use gft_model::device::Device;

use crate::health::Health;
use crate::metrics::{EvalMetrics, Metrics};
use crate::plan::thousands;
use crate::report::StepReport;
use crate::run::{Finished, StageInfo, Watch};

/// Writes plain lines.
pub struct Console<W: Write> {
    out: W,
    quiet: bool,
    stages: usize,
    logging_steps: u64,
    began: Instant,
    /// When the first step of this process began.
    stepping: Option<Instant>,
    /// Steps when this process began, for the rate.
    first_step: Option<u64>,
    health: Health,
    phases: [f64; 3],
}

impl<W: Write> Console<W> {
    /// Writes to `out`; when quiet, only banner, notes and summary.
    pub fn new(out: W, quiet: bool, stages: usize) -> Self {
        Self {
            out,
            quiet,
            stages,
            logging_steps: 1,
            began: Instant::now(),
            stepping: None,
            first_step: None,
            health: Health::default(),
            phases: [0.0; 3],
        }
    }

    /// A terminal that is gone is no reason to stop a run.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// What the run leaves, and what to do with it.
    pub fn summary(&mut self, finished: &Finished, config: Option<&Path>) {
        let [rollout, statistics, update] = self.phases;
        let elapsed = self.began.elapsed().as_secs_f64();
        self.line(&format!(
            "done: {} steps, {} tokens in {} (rollout {}, statistics {}, update {})",
            finished.steps,
            thousands(finished.tokens),
            clock(elapsed),
            clock(rollout),
            clock(statistics),
            clock(update)
        ));
        if let Some((first, last)) = &finished.evaluations {
            let pair = |name: &str, a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) if first.step != last.step => {
                    format!(" {name} {a:.4} -> {b:.4} (steps {} -> {})", first.step, last.step)
                }
                (_, Some(b)) => format!(" {name} {b:.4}"),
                _ => String::new(),
            };
            let loss = pair("loss", first.eval_loss, last.eval_loss);
            let accuracy = pair("accuracy", first.eval_accuracy, last.eval_accuracy);
            self.line(&format!("evaluation:{loss}{accuracy}"));
        }
        if finished.stopped_early {
            let config = config.map_or(String::new(), |path| format!(" {}", path.display()));
            self.line(&format!("stopped early; continue with: gft train{config} --resume"));
            return;
        }
        let model = finished.model.display();
        self.line(&format!("model:      {model}"));
        self.line(&format!("checkpoint: {}", finished.checkpoint.display()));
        self.line(&format!("metrics:    {}", finished.model.join("metrics.jsonl").display()));
    }

    fn banner<D: Device>(&mut self, info: &StageInfo<'_, D>) {
        let trainer = info.trainer;
        let survey = trainer.rows.survey();
        let arch = trainer.policy.architecture();
        let parameters = trainer.policy.layout().len as u64;
        let (stage, stages) = info.stage;
        let settings = info.settings;
        if stages > 1 {
            self.line(&format!("stage {stage} of {stages}"));
        }
        self.line(&format!(
            "model    {} ({:?}, {} parameters, all trained; weights and moments f32)",
            info.model_dir.display(),
            arch.family,
            thousands(parameters)
        ));
        let drops = match survey.drops() {
            drops if drops.is_empty() => String::new(),
            drops => format!("; dropped {drops}"),
        };
        self.line(&format!(
            "data     {} rows, {} demonstrations with {} supervised tokens{drops}",
            thousands(survey.usable),
            thousands(survey.demonstrations),
            thousands(survey.supervised_tokens)
        ));
        let lost = survey.empty_demonstrations + survey.long_demonstrations;
        if lost > 0 {
            self.line(&format!(
                "         {lost} demonstrations left out: {} too long, {} empty",
                survey.long_demonstrations, survey.empty_demonstrations
            ));
        }
        let group = crate::config::composition(settings);
        self.line(&format!(
            "batch    {} prompts x ({group}) = {} rows a step in {} update(s)",
            trainer.prompts_per_step,
            trainer.prompts_per_step * group.size(),
            trainer.updates_per_step()
        ));
        let (steps, made) = info.steps;
        let from = if made > 0 { format!(", resumed at step {made}") } else { String::new() };
        self.line(&format!(
            "method   {}, lr {:e} {}, {} steps{from}, seed {}",
            trainer.method.name, trainer.peak_learning_rate, trainer.schedule.decay, steps, settings.seed
        ));
        self.line(&format!("output   {} (gft {})", info.output_dir.display(), env!("CARGO_PKG_VERSION")));
    }
}

impl<W: Write, D: Device> Watch<D> for Console<W> {
    fn stage(&mut self, info: &StageInfo<'_, D>) {
        self.logging_steps = info.settings.logging_steps.max(1);
        self.banner(info);
        self.stepping.get_or_insert_with(Instant::now);
    }

    fn step(&mut self, metrics: &Metrics, report: &StepReport, total: u64) {
        let first = *self.first_step.get_or_insert(metrics.step - 1);
        for (sum, seconds) in
            self.phases.iter_mut().zip([metrics.rollout_time, metrics.statistics_time, metrics.update_time])
        {
            *sum += seconds;
        }
        for note in self.health.look(metrics, report) {
            self.line(&format!("note: {note}"));
        }
        if self.quiet || !(metrics.step.is_multiple_of(self.logging_steps) || metrics.step == total) {
            return;
        }
        let elapsed = self.stepping.map_or(0.0, |began| began.elapsed().as_secs_f64());
        let rate = elapsed / (metrics.step - first).max(1) as f64;
        let left = rate * total.saturating_sub(metrics.step) as f64;
        let stage =
            if self.stages > 1 { format!("[{}/{}] ", metrics.stage, self.stages) } else { String::new() };
        let line = step_line(metrics, total, elapsed, left);
        self.line(&format!("{stage}{line}"));
    }

    fn evaluated(&mut self, metrics: &EvalMetrics) {
        let part =
            |name: &str, value: Option<f64>| value.map_or(String::new(), |v| format!(" | {name} {v:.4}"));
        let line = format!(
            "eval  {}{}{} | {} rows, {} completions",
            metrics.step,
            part("loss", metrics.eval_loss),
            part("accuracy", metrics.eval_accuracy),
            metrics.eval_rows,
            metrics.eval_samples
        );
        self.line(&line);
    }

    fn note(&mut self, text: &str) {
        self.line(&format!("note: {text}"));
    }

    fn saved(&mut self, path: &Path) {
        if !self.quiet {
            self.line(&format!("saved {}", path.display()));
        }
    }
}

/// The dozen numbers that matter, in less than 120 columns.
fn step_line(metrics: &Metrics, total: u64, elapsed: f64, left: f64) -> String {
    let width = total.to_string().len();
    let percent = 100 * metrics.step / total.max(1);
    let mut parts = vec![
        format!("step {:>width$}/{total} {percent:>3}%", metrics.step),
        format!("loss {}", short(metrics.loss)),
    ];
    if let Some(reward) = metrics.reward {
        parts.push(format!("reward {reward:.2} ±{}", short_fraction(metrics.reward_std.unwrap_or(0.0))));
    }
    if let Some(kl) = metrics.kl {
        parts.push(format!("kl {}", short_fraction(kl)));
    }
    if let Some(entropy) = metrics.entropy {
        parts.push(format!("ent {entropy:.2}"));
    }
    if let Some(length) = metrics.more.get("completions/mean_length") {
        let cut = 100.0 * metrics.more.get("completions/clipped_ratio").copied().unwrap_or(0.0);
        parts.push(format!("len {length:.0} ({cut:.0}% cut)"));
    }
    if let Some(zero) = metrics.frac_reward_zero_std {
        parts.push(format!("zero-std {:.0}%", 100.0 * zero));
    }
    parts.push(format!("gn {}", short(metrics.grad_norm)));
    parts.push(format!("lr {:.1e}", metrics.learning_rate));
    parts.push(format!("{} tok/s", thousands_short(metrics.tokens_per_second)));
    parts.push(format!("{}<{}", clock(elapsed), clock(left)));
    // What matters least goes first where the line is too long.
    for least in ["ent ", "lr ", "len ", "zero-std "] {
        if parts.join(" | ").chars().count() < 112 {
            break;
        }
        parts.retain(|part| !part.starts_with(least));
    }
    parts.join(" | ")
}

/// Three significant digits, as in `0.412` or `12.3`.
fn short(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => format!("{value}"),
        0.0 => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.1e}"),
        size if size < 10.0 => format!("{value:.3}"),
        size if size < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Without a leading zero, as in `.31`.
fn short_fraction(value: f64) -> String {
    let text = format!("{value:.2}");
    text.strip_prefix('0').map(str::to_owned).unwrap_or(text)
}

fn thousands_short(value: f64) -> String {
    if value < 1000.0 { format!("{value:.0}") } else { format!("{:.1}k", value / 1000.0) }
}

/// Hours, minutes, seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_and_has_what_matters() {
        let mut metrics = Metrics {
            step: 4000,
            loss: -0.41234,
            grad_norm: 123.456,
            learning_rate: 9.8e-7,
            reward: Some(0.53),
            reward_std: Some(0.31),
            entropy: Some(0.81),
            frac_reward_zero_std: Some(0.12),
            tokens_per_second: 13_100.0,
            ..Metrics::default()
        };
        metrics.more.insert("completions/mean_length".into(), 1880.0);
        metrics.more.insert("completions/clipped_ratio".into(), 0.02);
        metrics.kl = Some(0.004);
        let line = step_line(&metrics, 50_000, 250_000.0, 2_875_000.0);
        assert!(line.chars().count() < 120, "{} {line}", line.chars().count());
        for part in ["step  4000/50000   8%", "loss -0.412", "reward 0.53 ±.31", "gn 123.5", "13.1k tok/s"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
