//! Trouble in words, once each, with what to do about it.

use std::collections::VecDeque;

use gft_model::generate::Sampling;

use crate::metrics::Metrics;
use crate::report::StepReport;

/// Steps that are looked at together.
const WINDOW: usize = 20;

/// What is remembered of the last steps.
#[derive(Debug, Default)]
pub struct Health {
    silent: VecDeque<(f64, f64)>,
    cut: VecDeque<f64>,
    entropy: VecDeque<f64>,
    said: Vec<&'static str>,
}

fn push<T>(window: &mut VecDeque<T>, value: T) {
    if window.len() == WINDOW {
        window.pop_front();
    }
    window.push_back(value);
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

impl Health {
    /// What is new to say after a step.
    pub fn look(&mut self, metrics: &Metrics, report: &StepReport) -> Vec<String> {
        let mut notes = Vec::new();
        self.rewards(metrics, report, &mut notes);
        if metrics.target_tokens == 0 && metrics.no_signal > 0 {
            self.say("no signal", &mut notes, || {
                format!("step {}: no row has a signal, so nothing was learned from this step", metrics.step)
            });
        }
        if let Some(cut) = metrics.more.get("completions/clipped_ratio") {
            push(&mut self.cut, *cut);
            let share = mean(self.cut.iter().copied());
            if self.cut.len() == WINDOW && share > 0.2 {
                self.say("cut", &mut notes, || {
                    format!(
                        "{:.0} % of completions hit max_completion_length in the last {WINDOW} steps -> raise it, or set \
                         mask_truncated_completions",
                        100.0 * share
                    )
                });
            }
        }
        if let Some(entropy) = metrics.entropy {
            push(&mut self.entropy, entropy);
            let first = self.entropy.front().copied().unwrap_or(entropy);
            if self.entropy.len() == WINDOW && first > 0.05 && entropy < 0.4 * first {
                self.say("entropy", &mut notes, || {
                    format!(
                        "entropy fell from {first:.2} to {entropy:.2} in {WINDOW} steps -> lower the learning rate, or set \
                         entropy_coef"
                    )
                });
            }
        }
        notes
    }

    fn rewards(&mut self, metrics: &Metrics, report: &StepReport, notes: &mut Vec<String>) {
        let found = &report.found;
        if let Some(message) = &found.failure {
            self.say("failure", notes, || format!("a reward failed, its rows are left out: {message}"));
        }
        if metrics.more.get("gft/expert_rejected_frac").is_some_and(|share| *share > 0.2) {
            self.say("experts", notes, || {
                "the verifier rejects more than a fifth of the expert rows of a step -> look at \
                 completions/, and at expert_reward and rejected_expert"
                    .into()
            });
        }
        if found.by_reward.is_empty() || found.seen == 0 {
            return;
        }
        let seen = found.seen as f64;
        push(&mut self.silent, (found.silent as f64 / seen, found.all_right as f64 / seen));
        let share = mean(self.silent.iter().map(|(silent, _)| *silent));
        let right = mean(self.silent.iter().map(|(_, right)| *right));
        if self.silent.len() == WINDOW && share > 0.7 {
            self.say("silent", notes, || {
                format!(
                    "{:.0} % of groups have identical rewards: no learning signal from them (all right {:.0} %, all wrong \
                     {:.0} %) -> raise temperature or num_generations, choose {} prompts, or set dynamic_sampling",
                    100.0 * share,
                    100.0 * right,
                    100.0 * (share - right),
                    if right > share / 2.0 { "harder" } else { "easier" }
                )
            });
        }
    }

    fn say(&mut self, key: &'static str, notes: &mut Vec<String>, text: impl FnOnce() -> String) {
        if !self.said.contains(&key) {
            self.said.push(key);
            notes.push(text());
        }
    }
}

/// What to know where completions are not drawn from the distribution that is trained.
pub(crate) fn cut_distribution(sampling: &Sampling) -> Option<String> {
    let whole = Sampling { temperature: sampling.temperature, ..Sampling::default() };
    let changed = [
        ("top_p", sampling.top_p != whole.top_p),
        ("top_k", sampling.top_k != whole.top_k),
        ("min_p", sampling.min_p != whole.min_p),
        ("repetition_penalty", sampling.repetition_penalty != whole.repetition_penalty),
    ];
    let names: Vec<&str> = changed.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: own completions are drawn from a changed distribution, but learned by the model's own log-probabilities, \
             so the policy gradient is biased -> leave it at its default unless that is meant",
            names.join(", ")
        )
    })
}
