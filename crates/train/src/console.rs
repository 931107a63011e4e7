//! What a run says on the terminal and when: a banner, a line per logging step, health notes once each, a summary. The
//! lines themselves are made by `gft-report`.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use gft_model::device::Device;
use gft_report::{
    COLUMNS, Position, Progress, bytes, clock, counted, evaluation_line, grouped, sample_table, training_line,
};
use serde_json::{Map, Value};

use crate::checks::note_on_groups;
use crate::health::Health;
use crate::memory::peak_bytes;
use crate::report::{Phase, StepReport};
use crate::watch::{Finished, StageInfo, StepEnd, Watch};

/// Writes plain lines, and below them on a terminal one that tells what is going on.
pub struct Console<W: Write> {
    out: W,
    quiet: bool,
    began: Instant,
    logging_steps: u64,
    /// Completions shown at a time; `None`: a group.
    samples: Option<usize>,
    health: Health,
    /// Rows being read, while they are.
    reading: Option<Progress>,
    live: Progress,
    stage: StageClock,
    /// Seconds of rollouts, statistics and updates of this process.
    phases: [f64; 3],
}

/// Time and place of the stage under way.
#[derive(Default)]
struct StageClock {
    /// As in `[2/3] `; empty where there is one stage.
    label: String,
    began: Option<Instant>,
    /// The run's step before the stage's first one of this process.
    started_at: Option<u64>,
    /// The run's step at which the stage ends, and the last one made.
    last: u64,
    step: u64,
    phase: Option<Phase>,
    phases: [f64; 3],
}

impl<W: Write> Console<W> {
    /// Writes to `out`; when quiet, only banner, notes and summary.
    pub fn new(out: W, quiet: bool) -> Self {
        Self {
            out,
            quiet,
            began: Instant::now(),
            logging_steps: 1,
            samples: None,
            health: Health::default(),
            reading: None,
            live: Progress::on_terminal("", quiet),
            stage: StageClock::default(),
            phases: [0.0; 3],
        }
    }

    /// A terminal that is gone is no reason to stop a run.
    fn line(&mut self, text: &str) {
        self.live.clear();
        self.reading = None;
        let _ = writeln!(self.out, "{text}");
    }

    /// What the run leaves, and what to do with it.
    pub fn summary(&mut self, finished: &Finished, config: Option<&Path>) {
        let [rollout, statistics, update] =
            self.phases.map(|seconds| clock(Duration::from_secs_f64(seconds)));
        let peak = peak_bytes().map_or(String::new(), |peak| format!("; peak memory {}", bytes(peak)));
        self.line(&format!(
            "done: {}, {} in {} (rollouts {rollout}, statistics {statistics}, updates {update}){peak}",
            counted(finished.steps, "step"),
            counted(finished.tokens, "token"),
            clock(self.began.elapsed()),
        ));
        if let Some((first, last)) = &finished.evaluations {
            let step = |line: &Map<String, Value>| line.get("step").and_then(Value::as_u64).unwrap_or(0);
            let (from, to) = (step(first), step(last));
            let pair = |name: &str| {
                let value = |line: &Map<String, Value>| line.get(name).and_then(Value::as_f64);
                let short = name.trim_start_matches("eval_");
                match (value(first), value(last)) {
                    (Some(a), Some(b)) if from != to => format!(", {short} {a:.4} -> {b:.4}"),
                    (_, Some(b)) => format!(", {short} {b:.4}"),
                    _ => String::new(),
                }
            };
            let steps = if from == to { format!("step {to}") } else { format!("step {from} -> {to}") };
            let line = format!("evaluation: {steps}{}{}", pair("eval_loss"), pair("eval_accuracy"));
            self.line(&line);
        }
        if finished.stopped_early {
            let config = config.map_or(String::new(), |path| format!(" {}", path.display()));
            self.line(&format!("stopped early; continue with: gft train{config} ... --resume"));
            return;
        }
        let model = finished.model.display();
        self.line(&format!("model:      {model}"));
        self.line(&format!("checkpoint: {}", finished.checkpoint.display()));
        self.line(&format!("metrics:    {}", finished.model.join("metrics.jsonl").display()));
        if finished.continued_prompts {
            let generate = format!("gft generate --model {model} --presentation verbatim");
            self.line(&format!("next:       {generate} --prompt \"...\" -n 4"));
            self.line("            (prompts were continued as they stand; gft chat would not do so)");
        } else {
            self.line(&format!("next:       gft chat --model {model}"));
            self.line(&format!("            gft generate --model {model} --prompt \"...\" -n 4"));
        }
        if finished.tensorboard {
            self.line(&format!("            tensorboard --logdir {model}"));
        }
    }

    /// At most ten lines: what is trained, on what, how, how much it takes, where it goes.
    fn banner<D: Device>(&mut self, info: &StageInfo<'_, D>) {
        let StageInfo { trainer, settings, .. } = *info;
        let survey = trainer.rows.survey();
        let arch = trainer.policy.architecture();
        let all = trainer.policy.layout().len as u64;
        let trained: u64 = trainer.policy.parameters().iter().map(|p| p.range.len() as u64).sum();
        let adapters = if trainer.policy.adapter().is_some() { all + trained } else { all };
        let (stage, stages) = info.stage;
        if stages > 1 {
            self.line(&format!("stage {stage} of {stages}"));
        }
        self.line(&format!(
            "model    {} ({:?}, {} of {} parameters trained; {} f32)",
            info.model_dir.display(),
            arch.family,
            grouped(trained),
            grouped(adapters),
            if adapters > all { "adapters and moments" } else { "weights and moments" },
        ));
        let drops = match survey.drops() {
            drops if drops.is_empty() => String::new(),
            drops => format!("; dropped {drops}"),
        };
        self.line(&format!(
            "data     {}, {} with {}{drops}",
            counted(survey.usable, "row"),
            counted(survey.demonstrations, "demonstration"),
            counted(survey.supervised_tokens, "supervised token")
        ));
        let lost = survey.lost();
        if !lost.is_empty() {
            self.line(&format!("         {lost}"));
        }
        let batch = survey.batch(
            trainer.prompts_per_step,
            trainer.own_samples,
            trainer.updates_per_batch,
            trainer.num_iterations,
        );
        self.line(&format!("batch    {batch}"));
        let (steps, made) = info.steps;
        let from = if made > 0 { format!(", resumed at step {made}") } else { String::new() };
        self.line(&format!(
            "method   {}, lr {:e} {}, {}{from}, seed {}",
            trainer.method.name,
            trainer.peak_learning_rate,
            trainer.schedule.decay,
            counted(steps, "step"),
            settings.seed
        ));
        self.line(&format!("memory   {} at the peak, predicted", bytes(info.memory)));
        self.line(&format!("output   {} (gft {})", info.output_dir.display(), env!("CARGO_PKG_VERSION")));
        let groups = trainer.total_rows.unwrap_or(steps * trainer.prompts_per_step as u64);
        let notes = trainer.rows.notes(groups).into_iter();
        for note in notes.chain(note_on_groups(&trainer.method, trainer.own_samples)) {
            self.line(&format!("note: {note}"));
        }
    }

    /// The completions of a step as a table.
    fn completions(&mut self, report: &StepReport) {
        let size = report.groups.first().map_or(0, |group| group.rollouts.len());
        let mut left = self.samples.unwrap_or(size);
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        for group in &report.groups {
            let shown = left.min(group.rollouts.len());
            if shown == 0 {
                break;
            }
            left -= shown;
            let header = ["source", "reward", "advantage", "coefficient", "tokens", "completion"];
            let rows: Vec<Vec<String>> = group.rollouts[..shown]
                .iter()
                .map(|rollout| {
                    vec![
                        rollout.source.as_str().to_owned(),
                        number(rollout.reward),
                        format!("{:+.2}", rollout.advantage),
                        number(rollout.coefficient),
                        rollout.tokens.to_string(),
                        rollout.text.clone(),
                    ]
                })
                .collect();
            let prompt = sample_table(&["prompt"], &[vec![group.prompt.clone()]], COLUMNS, 3);
            let table = sample_table(&header, &rows, COLUMNS, 3);
            let text = format!("step {}, row {}\n{prompt}{table}", report.step + 1, group.id);
            self.line(text.trim_end());
        }
    }
}

impl StageClock {
    fn position(&self) -> Position {
        Position {
            step: self.step,
            total: self.last,
            started_at: self.started_at.unwrap_or(0),
            elapsed: self.began.map_or(Duration::ZERO, |began| began.elapsed()),
        }
    }

    /// The time that each phase will take until the stage ends, as in `rollouts 00:10:00, updates 00:20:00`.
    fn left(&self) -> Option<String> {
        let made = self.step - self.started_at?;
        let todo = self.last.saturating_sub(self.step);
        let names = ["rollouts", "statistics", "updates"];
        let parts = names.iter().zip(self.phases).filter(|(_, seconds)| *seconds > 0.0);
        let parts: Vec<String> = parts
            .map(|(name, seconds)| {
                let left = Duration::try_from_secs_f64(seconds / made.max(1) as f64 * todo as f64);
                format!("{name} {}", clock(left.unwrap_or(Duration::MAX)))
            })
            .collect();
        (made > 0 && todo > 0).then(|| parts.join(", "))
    }
}

impl<W: Write, D: Device> Watch<D> for Console<W> {
    fn reading(&mut self, done: u64, total: u64) {
        let quiet = self.quiet;
        self.reading.get_or_insert_with(|| Progress::new("reading rows", quiet)).count(done, total);
    }

    fn stage(&mut self, info: &StageInfo<'_, D>) {
        self.logging_steps = info.settings.logging_steps.max(1);
        self.samples = info.settings.num_completions_to_print;
        self.banner(info);
        let (stage, stages) = info.stage;
        let label = if stages > 1 { format!("[{stage}/{stages}] ") } else { String::new() };
        self.stage = StageClock { label, began: Some(Instant::now()), ..StageClock::default() };
    }

    fn phase(&mut self, phase: Phase) {
        self.stage.phase = Some(phase);
    }

    fn tick(&mut self) {
        let stage = &self.stage;
        self.live.draw(|| {
            let doing = match stage.phase {
                Some(Phase::Rollout) => "sampling and grading",
                Some(Phase::Statistics) => "log-probabilities",
                Some(Phase::Update) => "updating",
                Some(Phase::Evaluation) => "evaluating",
                None => "",
            };
            let left = stage.left().map_or(String::new(), |left| format!("; to go: {left}"));
            format!("{}step {}: {doing}{left}", stage.label, stage.step + 1)
        });
    }

    fn step(&mut self, end: &StepEnd<'_>) {
        let metrics = end.metrics;
        let times = [metrics.rollout_time, metrics.statistics_time, metrics.update_time];
        for sums in [&mut self.phases, &mut self.stage.phases] {
            sums.iter_mut().zip(times).for_each(|(sum, seconds)| *sum += seconds);
        }
        let first = self.stage.started_at.is_none();
        self.stage.started_at.get_or_insert(metrics.step - 1);
        (self.stage.step, self.stage.last) = (metrics.step, end.last_step);
        for note in self.health.look(metrics, end.report) {
            self.line(&format!("note: {note}"));
        }
        if self.quiet {
            return;
        }
        // The first step always: it tells how long the run will take.
        if first || metrics.step.is_multiple_of(self.logging_steps) || metrics.step == end.last_step {
            let room = COLUMNS - self.stage.label.len();
            let line = training_line(&self.stage.position(), end.line, room);
            self.line(&format!("{}{line}", self.stage.label));
        }
        if let (true, Some(left)) = (first, self.stage.left()) {
            self.line(&format!("to go by this step: {left}"));
        }
        if end.show_completions {
            self.completions(end.report);
        }
    }

    fn evaluated(&mut self, step: u64, line: &Map<String, Value>) {
        let text = evaluation_line(step, line, COLUMNS);
        self.line(&text);
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
