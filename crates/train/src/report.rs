//! What happened in a step, and the line of metrics that it becomes.

use std::collections::BTreeMap;

use gft_model::policy::TokenStats;
use gft_objective::{BySource, Counts, Decision, Method, RowLoss, Source, TokenSummary};
use gft_rollout::Ended;
use serde::Serialize;

use crate::collect::Collected;
use crate::passes::{Pass, RowTargets};
use crate::tokens::{Histograms, TargetToken, targets};

/// Where a step is, for those who measure time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Sampling and grading.
    Rollout,
    /// Log-probabilities under the old and the reference policy.
    Statistics,
    /// Forward, backward, update.
    Update,
    /// Held-out rows.
    Evaluation,
}

/// One update of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateReport {
    /// The loss, all terms.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// What the guard decided.
    pub decision: Decision,
    /// Whether any row had a signal; without one the weights are not touched.
    pub signal: bool,
    /// Rows and tokens that the denominator counts.
    pub counts: Counts,
}

/// Sums over the targets of a step, over all updates.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TargetSums {
    /// Targets.
    pub targets: u64,
    /// Sum of log-probabilities.
    pub logprobs: f64,
    /// Sum of entropies, where measured.
    pub entropy: f64,
    /// Targets whose entropy was measured.
    pub with_entropy: u64,
    /// Targets that the sampler's log-probability is known of.
    pub sampled: u64,
    /// Sum of |trainer's - sampler's log-probability| over those.
    pub sampled_difference: f64,
    /// Largest of them.
    pub sampled_difference_max: f64,
    /// Tokens of forward and backward passes, prompts included; all under the policy.
    pub trained: u64,
    /// Tokens sampled.
    pub drawn: u64,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The step, from 0.
    pub step: u64,
    /// Its updates.
    pub updates: Vec<UpdateReport>,
    /// Sums over targets, by source.
    pub sums: BySource<TargetSums>,
    /// What the objective made of the tokens, by source, over all updates.
    pub summary: BySource<TokenSummary>,
    /// Its targets by probability and by coefficient, over all updates.
    pub histograms: Histograms,
    /// The KL penalty without beta, mean over updates; `None` without a penalty.
    pub kl: Option<f64>,
    /// Share of the losses due to the KL penalty, over all updates.
    kl_loss: f64,
    /// What was collected, in numbers.
    pub found: FoundSummary,
    /// The groups themselves.
    pub groups: Vec<GroupReport>,
}

/// What was collected, in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundSummary {
    /// What each reward said.
    pub by_reward: BTreeMap<String, gft_reward::Summary>,
    /// The rewards' own metrics, by `{reward}/{metric}`.
    pub reward_metrics: BTreeMap<String, gft_reward::Mean>,
    /// The first failure of a reward.
    pub failure: Option<String>,
    /// Groups seen.
    pub seen: u64,
    /// Groups whose rewards do not vary.
    pub silent: u64,
    /// Those of them that are all right.
    pub all_right: u64,
    /// Experts graded and rejected.
    pub experts: (u64, u64),
    /// Rows visited.
    pub visited: u64,
    /// Rounds of sampling.
    pub rounds: u64,
}

/// A group as the files of completions show it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupReport {
    /// Id of the row.
    pub id: String,
    /// The prompt as text.
    pub prompt: String,
    /// The reference answer.
    pub gold: Option<String>,
    /// Standard deviation of its rewards.
    pub std: f64,
    /// Its rollouts.
    pub rollouts: Vec<RolloutReport>,
}

/// A rollout as the files of completions show it.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutReport {
    /// Its source.
    pub source: Source,
    /// Who wrote it.
    pub author: Option<String>,
    /// Its text.
    pub text: String,
    /// Its length in tokens.
    pub tokens: usize,
    /// Whether it was cut.
    pub truncated: bool,
    /// Its reward.
    pub reward: Option<f64>,
    /// Its advantage.
    pub advantage: f64,
    /// Mean coefficient of its tokens, where it was run.
    pub coefficient: Option<f64>,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Which of them are targets.
    pub supervised: Vec<bool>,
    /// The targets, as the step's first update found them; none where it was not run.
    pub targets: Vec<TargetToken>,
}

impl StepReport {
    pub(crate) fn new(step: u64, found: &Collected) -> Self {
        StepReport {
            step,
            updates: Vec::new(),
            sums: BySource::default(),
            summary: BySource::default(),
            histograms: Histograms::default(),
            kl: None,
            kl_loss: 0.0,
            found: FoundSummary {
                by_reward: found.by_reward.clone(),
                reward_metrics: found.reward_metrics.clone(),
                failure: found.failure.clone(),
                seen: found.seen,
                silent: found.silent,
                all_right: found.all_right,
                experts: found.experts,
                visited: found.visited,
                rounds: found.rounds,
            },
            groups: Vec::new(),
        }
    }

    /// Adds what one pass found and returns its share of the loss. The sampler's log-probabilities are compared in the
    /// `first` update only, which the policy that sampled makes.
    pub(crate) fn add(
        &mut self,
        method: &Method,
        first: bool,
        pass: &Pass,
        stats: &TokenStats,
        losses: Vec<(RowTargets, RowLoss)>,
        found: &mut Collected,
    ) -> f64 {
        let mut loss = 0.0;
        for (row, part) in losses {
            loss += part.loss;
            found.rows[row.group][row.rollout].summary += part.policy;
            let source = found.groups[row.group].rollouts[row.rollout].source;
            self.summary[source] += part.policy;
            self.kl_loss += part.kl;
        }
        self.sums.policy.trained += pass.batch.len() as u64;
        for row in &pass.rows {
            let rollout = &found.groups[row.group].rollouts[row.rollout];
            let state = &mut found.rows[row.group][row.rollout];
            let tokens = targets(method, rollout.source, state, row, stats, &mut self.histograms);
            if first {
                state.targets = tokens;
            }
            let sums = &mut self.sums[rollout.source];
            let values = &stats.logprobs[row.range.clone()];
            sums.targets += values.len() as u64;
            sums.logprobs += values.iter().map(|x| f64::from(*x)).sum::<f64>();
            if let Some(entropy) = stats.entropy.get(row.range.clone()) {
                sums.with_entropy += entropy.len() as u64;
                sums.entropy += entropy.iter().map(|x| f64::from(*x)).sum::<f64>();
            }
            if let (true, Some(sampled)) = (first, &rollout.logprobs) {
                for (now, then) in values.iter().zip(sampled) {
                    let difference = f64::from((now - then).abs());
                    sums.sampled += 1;
                    sums.sampled_difference += difference;
                    sums.sampled_difference_max = sums.sampled_difference_max.max(difference);
                }
            }
        }
        loss
    }

    /// Takes the groups over for the files of completions.
    pub(crate) fn finish(&mut self, beta: Option<f64>, found: Collected) {
        self.kl = beta.map(|beta| self.kl_loss / beta / self.updates.len().max(1) as f64);
        let Collected { groups, rows, statistics, .. } = found;
        let own = groups.iter().flat_map(|group| &group.rollouts);
        let sampled =
            own.filter(|rollout| rollout.source == Source::Policy).map(|rollout| rollout.tokens.len() as u64);
        self.sums.policy.drawn += sampled.sum::<u64>();
        for ((group, rows), statistics) in groups.into_iter().zip(rows).zip(statistics) {
            let rollouts = group.rollouts.into_iter().zip(rows).map(|(rollout, state)| RolloutReport {
                source: rollout.source,
                author: rollout.author,
                text: rollout.text,
                tokens: rollout.tokens.len(),
                truncated: rollout.ended == Ended::Truncated,
                reward: state.reward,
                advantage: state.advantage,
                coefficient: state.summary.mean_coefficient(),
                ids: rollout.tokens,
                supervised: rollout.supervised,
                targets: state.targets,
            });
            self.groups.push(GroupReport {
                id: group.row.id.clone(),
                prompt: group.row.prompt.text(),
                gold: group.row.gold.clone(),
                std: statistics.std,
                rollouts: rollouts.collect(),
            });
        }
    }
}

/// A line of a file of completions (verl's names, and ours for what it lacks).
#[derive(Debug, Serialize)]
pub struct CompletionLine<'a> {
    /// The prompt.
    pub input: &'a str,
    /// The completion.
    pub output: &'a str,
    /// The reference answer.
    pub gts: Option<&'a str>,
    /// The reward.
    pub score: Option<f64>,
    /// The step, from 1.
    pub step: u64,
    /// Id of the row.
    pub id: &'a str,
    /// Expert, teacher or policy.
    pub source: &'static str,
    /// Who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<&'a str>,
    /// The advantage.
    pub advantage: f64,
    /// Mean coefficient of its tokens; null where it was not run.
    pub mean_coefficient: Option<f64>,
    /// Length in tokens.
    pub tokens: usize,
    /// Whether it was cut.
    pub truncated: bool,
    /// Its tokens, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<&'a [u32]>,
    /// Log-probability of each; null where it is not learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_logprobs: Option<Vec<Option<f64>>>,
    /// Coefficient of each; null where it is not learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_coefficients: Option<Vec<Option<f64>>>,
}

impl RolloutReport {
    /// A number of each token, to four decimals, null where a token is no target.
    fn of_tokens(&self, of: fn(&TargetToken) -> f32) -> Option<Vec<Option<f64>>> {
        let mut targets = self.targets.iter().map(|target| (f64::from(of(target)) * 1e4).round() / 1e4);
        let learned = self.supervised.iter();
        (!self.targets.is_empty())
            .then(|| learned.map(|learned| if *learned { targets.next() } else { None }).collect())
    }
}

impl StepReport {
    /// The lines of this step's file of completions, with every token where `tokens` says so.
    pub fn completions(&self, tokens: bool) -> impl Iterator<Item = CompletionLine<'_>> {
        self.groups.iter().flat_map(move |group| {
            group.rollouts.iter().map(move |rollout| CompletionLine {
                input: &group.prompt,
                output: &rollout.text,
                gts: group.gold.as_deref(),
                score: rollout.reward,
                step: self.step + 1,
                id: &group.id,
                source: rollout.source.as_str(),
                author: rollout.author.as_deref(),
                advantage: rollout.advantage,
                mean_coefficient: rollout.coefficient,
                tokens: rollout.tokens,
                truncated: rollout.truncated,
                token_ids: tokens.then_some(rollout.ids.as_slice()),
                token_logprobs: if tokens { rollout.of_tokens(|t| t.logprob) } else { None },
                token_coefficients: if tokens { rollout.of_tokens(|t| t.coefficient) } else { None },
            })
        })
    }

    /// Tokens that were sampled, and those of the forward and backward passes, prompts included.
    pub fn computed_tokens(&self) -> u64 {
        self.sums.iter().map(|(_, sums)| sums.drawn + sums.trained).sum()
    }

    /// Tokens of the forward and backward passes, prompts included.
    pub fn trained_tokens(&self) -> u64 {
        self.sums.iter().map(|(_, sums)| sums.trained).sum()
    }
}
