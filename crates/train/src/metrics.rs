//! One step as one line of metrics.jsonl, under the names that TRL's users know and the `gft/` names for what it lacks.

use std::collections::BTreeMap;

use gft_objective::{Decision, Source};
use serde::Serialize;

use crate::evaluate::Evaluated;
use crate::memory::peak_bytes;
use crate::report::{Phase, StepReport};

/// Seconds of each phase of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times {
    /// Sampling and grading.
    pub rollout: f64,
    /// Log-probabilities under old and reference policy.
    pub statistics: f64,
    /// Forward, backward, update.
    pub update: f64,
}

impl Times {
    /// Adds seconds to a phase.
    pub fn add(&mut self, phase: Phase, seconds: f64) {
        match phase {
            Phase::Rollout => self.rollout += seconds,
            Phase::Statistics => self.statistics += seconds,
            Phase::Update => self.update += seconds,
            // Timed where it is made.
            Phase::Evaluation => {}
        }
    }

    /// All of them.
    pub fn total(&self) -> f64 {
        self.rollout + self.statistics + self.update
    }
}

/// Where a run is, for its metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Steps completed over all stages, this one included.
    pub step: u64,
    /// The stage, from 1.
    pub stage: usize,
    /// Epochs of this stage's rows, with their fraction.
    pub epoch: f64,
    /// Tokens computed since the run began.
    pub num_tokens: u64,
}

/// A line of metrics.jsonl. A number that is not finite is written as null.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Metrics {
    /// Steps completed.
    pub step: u64,
    /// The stage, from 1.
    pub stage: usize,
    /// Epochs of this stage.
    pub epoch: f64,
    /// Mean loss of the step's updates.
    pub loss: f64,
    /// Mean gradient norm of the step's updates, before clipping.
    pub grad_norm: f64,
    /// Learning rate of the last update.
    pub learning_rate: f64,
    /// Tokens computed since the run began.
    pub num_tokens: u64,
    /// Mean reward over all scorable rollouts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
    /// Standard deviation of the rewards over the whole batch, ddof 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_std: Option<f64>,
    /// Mean of the groups' standard deviations, which advantages are divided by.
    #[serde(rename = "gft/group_reward_std", skip_serializing_if = "Option::is_none")]
    pub group_reward_std: Option<f64>,
    /// Share of groups whose rewards do not vary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frac_reward_zero_std: Option<f64>,
    /// Mean entropy of the targets, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// Sampled KL of own rows to the reference, divided as the loss is (`beta` not included).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// Mean log-probability of the targets.
    #[serde(rename = "gft/logprob_mean", skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f64>,
    /// Target tokens that were learned from.
    #[serde(rename = "gft/target_tokens")]
    pub target_tokens: u64,
    /// Prompts of the step.
    #[serde(rename = "gft/groups")]
    pub groups: u64,
    /// Updates that changed the weights.
    #[serde(rename = "update/accepted")]
    pub accepted: u64,
    /// Updates that the guard refused.
    #[serde(rename = "update/refused")]
    pub refused: u64,
    /// Updates without any row that has a signal.
    #[serde(rename = "update/no_signal")]
    pub no_signal: u64,
    /// Targets by probability, in ten parts of 0 to 1.
    #[serde(rename = "gft/prob_hist", skip_serializing_if = "Vec::is_empty")]
    pub prob_hist: Vec<u64>,
    /// Targets by coefficient, in ten parts of 0 to 1 and those of 1 and above.
    #[serde(rename = "gft/coef_hist", skip_serializing_if = "Vec::is_empty")]
    pub coef_hist: Vec<u64>,
    /// Everything that exists for some sources, rewards or methods only.
    #[serde(flatten)]
    pub more: BTreeMap<String, f64>,
    /// Seconds of the step.
    pub step_time: f64,
    /// Seconds of sampling and grading.
    #[serde(rename = "timing/rollout")]
    pub rollout_time: f64,
    /// Seconds of statistics under old and reference policy.
    #[serde(rename = "timing/statistics")]
    pub statistics_time: f64,
    /// Seconds of forward, backward and update.
    #[serde(rename = "timing/update")]
    pub update_time: f64,
    /// Tokens computed in a second.
    #[serde(rename = "perf/tokens_per_second")]
    pub tokens_per_second: f64,
    /// Largest resident memory of the process so far in GB, where the system tells.
    #[serde(rename = "memory/peak_gb", skip_serializing_if = "Option::is_none")]
    pub peak_gb: Option<f64>,
}

fn ratio(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

impl Metrics {
    /// The line of a step.
    pub fn new(report: &StepReport, place: Place, times: Times) -> Self {
        let updates = report.updates.len().max(1) as f64;
        let mean =
            |f: fn(&crate::report::UpdateReport) -> f64| report.updates.iter().map(f).sum::<f64>() / updates;
        let sums = |f: fn(&crate::report::TargetSums) -> f64| -> f64 {
            report.sums.iter().map(|(_, sums)| f(sums)).sum()
        };
        let computed = report.computed_tokens();
        let targets = sums(|s| s.targets as f64) as u64;
        let rewards: Vec<f64> =
            report.groups.iter().flat_map(|g| g.rollouts.iter().filter_map(|r| r.reward)).collect();
        let graded = !report.found.by_reward.is_empty();
        let mut metrics = Metrics {
            step: place.step,
            stage: place.stage,
            epoch: place.epoch,
            num_tokens: place.num_tokens,
            loss: mean(|update| update.loss),
            grad_norm: mean(|update| update.grad_norm),
            learning_rate: report.updates.last().map_or(0.0, |update| update.learning_rate),
            reward: if graded { ratio(rewards.iter().sum(), rewards.len() as u64) } else { None },
            reward_std: if graded { deviation(&rewards) } else { None },
            group_reward_std: if graded {
                ratio(report.groups.iter().map(|g| g.std).sum(), report.groups.len() as u64)
            } else {
                None
            },
            frac_reward_zero_std: if graded {
                ratio(report.found.silent as f64, report.found.seen)
            } else {
                None
            },
            entropy: ratio(sums(|s| s.entropy), sums(|s| s.with_entropy as f64) as u64),
            logprob: ratio(sums(|s| s.logprobs), targets),
            target_tokens: targets,
            groups: report.groups.len() as u64,
            step_time: times.total(),
            rollout_time: times.rollout,
            statistics_time: times.statistics,
            update_time: times.update,
            tokens_per_second: if times.total() > 0.0 { computed as f64 / times.total() } else { 0.0 },
            peak_gb: peak_bytes().map(|bytes| bytes as f64 / 1e9),
            ..Metrics::default()
        };
        for update in &report.updates {
            match update.decision {
                Decision::Accept if update.signal => metrics.accepted += 1,
                Decision::Accept => metrics.no_signal += 1,
                Decision::Skip(_) | Decision::Abort { .. } => metrics.refused += 1,
            }
        }
        if !report.histograms.is_empty() {
            metrics.prob_hist = report.histograms.probability.to_vec();
            metrics.coef_hist = report.histograms.coefficient.to_vec();
        }
        metrics.kl = report.kl;
        metrics.add_rewards(report);
        metrics.add_completions(report);
        metrics.add_sources(report);
        metrics.add_ratios(report);
        metrics
    }

    fn put(&mut self, name: impl Into<String>, value: Option<f64>) {
        if let Some(value) = value {
            self.more.insert(name.into(), value);
        }
    }

    fn add_rewards(&mut self, report: &StepReport) {
        let (mut seen, mut failed, mut timed_out, mut unscorable) = (0, 0, 0, 0);
        for (name, summary) in &report.found.by_reward {
            self.put(format!("rewards/{name}/mean"), summary.mean());
            self.put(format!("rewards/{name}/std"), summary.std());
            let lost = summary.failed + summary.timed_out;
            if lost > 0 {
                self.put(format!("rewards/{name}/error_frac"), ratio(lost as f64, summary.seen()));
            }
            seen += summary.seen();
            failed += summary.failed;
            timed_out += summary.timed_out;
            unscorable += summary.unscorable;
        }
        for (name, mean) in &report.found.reward_metrics {
            self.put(format!("rewards/{name}"), mean.value());
        }
        self.put("rewards/error_frac", ratio(failed as f64, seen));
        self.put("rewards/timeout_frac", ratio(timed_out as f64, seen));
        self.put("rewards/unscorable_frac", ratio(unscorable as f64, seen));
        let (experts, rejected) = report.found.experts;
        self.put("gft/expert_rejected_frac", ratio(rejected as f64, experts));
        if report.found.rounds > 1 {
            self.put("sampling/rounds", Some(report.found.rounds as f64));
        }
    }

    fn add_completions(&mut self, report: &StepReport) {
        let own = || {
            let rollouts = report.groups.iter().flat_map(|g| &g.rollouts);
            rollouts.filter(|r| r.source == Source::Policy)
        };
        let count = own().count() as u64;
        if count == 0 {
            return;
        }
        let lengths = |ended: bool| -> Vec<f64> {
            own().filter(|r| !(ended && r.truncated)).map(|r| r.tokens as f64).collect()
        };
        for (kind, ended) in [("length", false), ("terminated_length", true)] {
            let lengths = lengths(ended);
            self.put(format!("completions/mean_{kind}"), ratio(lengths.iter().sum(), lengths.len() as u64));
            self.put(format!("completions/min_{kind}"), lengths.iter().copied().reduce(f64::min));
            self.put(format!("completions/max_{kind}"), lengths.iter().copied().reduce(f64::max));
        }
        self.put("completions/clipped_ratio", ratio(own().filter(|r| r.truncated).count() as f64, count));
    }

    fn add_sources(&mut self, report: &StepReport) {
        let total = report.groups.iter().map(|g| g.rollouts.len() as u64).sum::<u64>();
        let graded = !report.found.by_reward.is_empty();
        for source in Source::ALL {
            let rollouts =
                || report.groups.iter().flat_map(|g| &g.rollouts).filter(move |r| r.source == source);
            let count = rollouts().count() as u64;
            if count == 0 {
                continue;
            }
            // `self` is the name of the policy's own rows in the metrics.
            let name = if source == Source::Policy { "self" } else { source.as_str() };
            self.put(format!("gft/frac_{name}"), ratio(count as f64, total));
            self.put(format!("gft/adv_mean/{name}"), ratio(rollouts().map(|r| r.advantage).sum(), count));
            let rewards: Vec<f64> = rollouts().filter_map(|r| r.reward).collect();
            if graded {
                self.put(
                    format!("gft/reward_mean/{name}"),
                    ratio(rewards.iter().sum(), rewards.len() as u64),
                );
            }
            let summary = report.summary[source];
            self.put(format!("gft/rectified_frac/{name}"), summary.rectified_fraction());
            self.put(format!("gft/coef_mean/{name}"), summary.mean_coefficient());
            let sums = report.sums[source];
            self.put(format!("gft/logprob_mean/{name}"), ratio(sums.logprobs, sums.targets));
            self.put(format!("gft/entropy/{name}"), ratio(sums.entropy, sums.with_entropy));
        }
        let all = report.summary.total();
        self.put("gft/coef_mean", all.mean_coefficient());
        self.put("gft/rectified_frac", all.rectified_fraction());
    }

    fn add_ratios(&mut self, report: &StepReport) {
        let own = report.summary.policy;
        let sums = report.sums.policy;
        self.put("sampling/sampling_logp_difference/mean", ratio(sums.sampled_difference, sums.sampled));
        if sums.sampled > 0 {
            self.put("sampling/sampling_logp_difference/max", Some(sums.sampled_difference_max));
        }
        if own.ratio.tokens == 0 {
            return;
        }
        let clipped = own.clipped_low + own.clipped_high;
        self.put("clip_ratio/low_mean", own.clip_low_fraction());
        self.put("clip_ratio/high_mean", own.clip_high_fraction());
        self.put("clip_ratio/region_mean", ratio(clipped as f64, own.signal_tokens));
        self.put("gft/ratio_mean", own.ratio.mean());
        self.put("gft/ratio_abs_log_mean", own.ratio.mean_abs_log());
    }
}

fn deviation(values: &[f64]) -> Option<f64> {
    let mean = ratio(values.iter().sum(), values.len() as u64)?;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Some(if values.len() > 1 { (squares / (values.len() - 1) as f64).sqrt() } else { 0.0 })
}

/// The line of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct EvalMetrics {
    /// Steps completed.
    pub step: u64,
    /// The stage, from 1.
    pub stage: usize,
    /// Mean loss per token of the expert's completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// Share of own completions that the verifier accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_accuracy: Option<f64>,
    /// Its standard error, over rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_accuracy_stderr: Option<f64>,
    /// Share of own completions without an answer that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_unparsed: Option<f64>,
    /// Mean reward of own completions, which is the verifier's: the same number under TRL's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_reward: Option<f64>,
    /// Rows.
    pub eval_rows: u64,
    /// Own completions graded.
    pub eval_samples: u64,
    /// Mean length of own completions in tokens.
    #[serde(rename = "eval_completions/mean_length", skip_serializing_if = "Option::is_none")]
    pub mean_length: Option<f64>,
    /// Share of own completions that were cut.
    #[serde(rename = "eval_completions/clipped_ratio", skip_serializing_if = "Option::is_none")]
    pub clipped: Option<f64>,
    /// Seconds.
    pub eval_runtime: f64,
    /// Rows in a second.
    pub eval_samples_per_second: f64,
}

impl EvalMetrics {
    /// The line of an evaluation at `step` that took `seconds`.
    pub fn new(found: &Evaluated, step: u64, stage: usize, seconds: f64) -> Self {
        EvalMetrics {
            step,
            stage,
            eval_loss: found.loss,
            eval_accuracy: found.accuracy,
            eval_accuracy_stderr: found.accuracy_stderr,
            eval_unparsed: found.unparsed,
            eval_reward: found.accuracy,
            eval_rows: found.rows,
            eval_samples: found.samples,
            mean_length: found.mean_length,
            clipped: found.clipped,
            eval_runtime: seconds,
            eval_samples_per_second: if seconds > 0.0 { found.rows as f64 / seconds } else { 0.0 },
        }
    }
}
