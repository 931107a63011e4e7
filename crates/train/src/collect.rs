//! Stages 1 to 5 of a step: rows, prompts, groups, rewards, advantages.

use std::collections::BTreeMap;

use gft_model::device::Device;
use gft_objective::{Group as Rewarded, GroupAdvantages, GroupStatistics, Reward, Source, TokenSummary};
use gft_reward::{Candidate, Combination, Mean, Summary};
use gft_rollout::{Ended, Group, sample};

use crate::error::{Error, Result};
use crate::tokens::TargetToken;
use crate::trainer::{RejectedExpert, Trainer};

/// One rollout with all that the update needs to know of it.
#[derive(Debug, Clone, Default)]
pub struct RowState {
    /// Its reward; `None` is unscorable.
    pub reward: Reward,
    /// Its advantage.
    pub advantage: f64,
    /// Whether its tokens are left out of the loss.
    pub filtered: bool,
    /// Log-probabilities of its targets under the policy at the start of the step; absent while they are those of now.
    pub old_logprobs: Option<Vec<f32>>,
    /// Log-probabilities of its targets under the reference policy.
    pub ref_logprobs: Option<Vec<f32>>,
    /// What the objective made of its tokens, summed over the step's updates.
    pub summary: TokenSummary,
    /// Its targets in the step's first update; none where it was not run.
    pub targets: Vec<TargetToken>,
}

/// The groups of a step, graded and with advantages.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// The groups that are used.
    pub groups: Vec<Group>,
    /// State of each group's rollouts.
    pub rows: Vec<Vec<RowState>>,
    /// Statistics of each group's rewards.
    pub statistics: Vec<GroupStatistics>,
    /// What each reward said of all rollouts that were graded.
    pub by_reward: BTreeMap<String, Summary>,
    /// The rewards' own metrics, by `{reward}/{metric}`.
    pub reward_metrics: BTreeMap<String, Mean>,
    /// The first message of a reward that failed.
    pub failure: Option<String>,
    /// Rows visited.
    pub visited: u64,
    /// Groups seen, used or not.
    pub seen: u64,
    /// Groups seen whose rewards do not vary, all right and all wrong among them.
    pub silent: u64,
    /// Silent groups whose common reward is above 0.5.
    pub all_right: u64,
    /// Expert rows graded, and those that the verifier rejected.
    pub experts: (u64, u64),
    /// Rounds of sampling.
    pub rounds: u64,
}

impl<D: Device> Trainer<D> {
    /// Takes the next rows of the run, completes and grades them. With dynamic sampling, groups without contrast are
    /// replaced by those of further rows.
    pub(crate) fn collect(&self, step: u64, wanted: usize, stop: &dyn Fn() -> bool) -> Result<Collected> {
        let mut found = Collected::default();
        let rounds = if self.dynamic_sampling { self.max_sampling_rounds.max(1) } else { 1 };
        while found.groups.len() < wanted && (found.rounds as usize) < rounds {
            found.rounds += 1;
            let start = self.position + found.visited;
            let missing = (wanted - found.groups.len()) as u64;
            let mut groups =
                (start..start + missing).map(|at| self.rows.group(at)).collect::<Result<Vec<Group>>>()?;
            found.visited += missing;
            sample(&self.policy, self.rows.encoder(), &self.own_options(step), &mut groups, stop)?;
            let graded = self.grade(&groups, &mut found);
            let mut rewards = graded.map_err(|error| Error::RewardFailed { step, error })?;
            self.reject_experts(&mut groups, &mut rewards);
            self.keep(step, groups, rewards, &mut found)?;
        }
        Ok(found)
    }

    /// Stage 4: rewards, of the whole text of each rollout. A reward that the data set brings stands.
    fn grade(&self, groups: &[Group], found: &mut Collected) -> Result<Vec<Vec<Reward>>, gft_reward::Error> {
        let mut rewards = Vec::with_capacity(groups.len());
        if self.combination.is_empty() {
            return Ok(groups.iter().map(|group| vec![Some(0.0); group.rollouts.len()]).collect());
        }
        let candidates: Vec<Candidate<'_>> = groups
            .iter()
            .flat_map(|group| {
                group.rollouts.iter().map(|rollout| Candidate {
                    row: &group.row,
                    text: &rollout.text,
                    tokens: rollout.tokens.len(),
                    truncated: rollout.source == Source::Policy && rollout.ended == Ended::Truncated,
                    demonstration: rollout.source.is_demonstration(),
                })
            })
            .collect();
        let grades = Combination::score(&self.combination, &candidates)?;
        for (name, summary) in grades.by_reward {
            add(found.by_reward.entry(name).or_default(), &summary);
        }
        for (name, mean) in grades.metrics {
            let total = found.reward_metrics.entry(name).or_default();
            total.count += mean.count;
            total.sum += mean.sum;
        }
        found.failure = found.failure.take().or(grades.failure);
        let mut scores = grades.rewards.into_iter();
        for group in groups {
            let mut of_group = Vec::with_capacity(group.rollouts.len());
            for rollout in &group.rollouts {
                let scored = scores.next().flatten();
                let mut reward = rollout.given_reward.or(scored);
                if rollout.source == Source::Expert {
                    found.experts.0 += 1;
                    found.experts.1 += u64::from(reward.is_some_and(|reward| reward <= 0.0));
                    if self.expert_reward_is_one {
                        reward = Some(1.0);
                    }
                }
                of_group.push(reward);
            }
            rewards.push(of_group);
        }
        Ok(rewards)
    }

    /// What becomes of experts that the verifier rejects: a false rejection would make the best row the worst.
    fn reject_experts(&self, groups: &mut Vec<Group>, rewards: &mut Vec<Vec<Reward>>) {
        let rejected = |group: &Group, rewards: &[Reward], k: usize| {
            group.rollouts[k].source == Source::Expert && rewards[k].is_some_and(|reward| reward <= 0.0)
        };
        match self.rejected_expert {
            RejectedExpert::Keep => {}
            RejectedExpert::DropRow => {
                for (group, rewards) in groups.iter_mut().zip(rewards.iter_mut()) {
                    let keep: Vec<bool> = (0..rewards.len()).map(|k| !rejected(group, rewards, k)).collect();
                    let mut at = keep.iter();
                    group.rollouts.retain(|_| at.next().copied().unwrap_or(true));
                    let mut at = keep.iter();
                    rewards.retain(|_| at.next().copied().unwrap_or(true));
                }
            }
            RejectedExpert::DropGroup => {
                let keep: Vec<bool> = groups
                    .iter()
                    .zip(rewards.iter())
                    .map(|(group, rewards)| !(0..rewards.len()).any(|k| rejected(group, rewards, k)))
                    .collect();
                let mut at = keep.iter();
                groups.retain(|_| at.next().copied().unwrap_or(true));
                let mut at = keep.iter();
                rewards.retain(|_| at.next().copied().unwrap_or(true));
            }
        }
    }

    /// Stage 5: advantages; groups that the method drops are only counted.
    fn keep(
        &self,
        step: u64,
        groups: Vec<Group>,
        rewards: Vec<Vec<Reward>>,
        found: &mut Collected,
    ) -> Result<()> {
        let sources: Vec<Vec<Source>> = groups
            .iter()
            .map(|group| group.rollouts.iter().map(|rollout| rollout.source).collect())
            .collect();
        let rewarded: Vec<Rewarded<'_>> =
            sources.iter().zip(&rewards).map(|(sources, rewards)| Rewarded { sources, rewards }).collect();
        let advantages =
            self.method.advantages(&rewarded).map_err(|error| Error::Objective { step, error })?;
        for ((group, rewards), advantages) in groups.into_iter().zip(rewards).zip(advantages) {
            let GroupAdvantages { statistics, advantages, kept } = advantages;
            found.seen += 1;
            found.silent += u64::from(!statistics.varied);
            found.all_right += u64::from(!statistics.varied && statistics.mean > 0.5);
            if !kept {
                continue;
            }
            let rows = group.rollouts.iter().zip(rewards).zip(advantages);
            let rows = rows.map(|((rollout, reward), advantage)| RowState {
                reward,
                advantage,
                filtered: self.mask_truncated
                    && rollout.source == Source::Policy
                    && rollout.ended == Ended::Truncated,
                ..RowState::default()
            });
            found.rows.push(rows.collect());
            found.groups.push(group);
            found.statistics.push(statistics);
        }
        Ok(())
    }
}

fn add(total: &mut Summary, other: &Summary) {
    total.scored += other.scored;
    total.sum += other.sum;
    total.squares += other.squares;
    total.unscorable += other.unscorable;
    total.timed_out += other.timed_out;
    total.failed += other.failed;
}
