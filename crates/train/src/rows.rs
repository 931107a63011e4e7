//! The rows of a data set that a method can use, in the order in which a run visits them.
//!
//! Every row is encoded once before the first step, so that what cannot be used is known, counted and said at the
//! start, and a step finds row number `i` of the run by arithmetic alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use gft_data::{Dataset, Encode, Encoder, Order};
use gft_objective::{Method, Singleton};
use gft_rollout::{Composition, Demonstrations, Group, LongDemonstrations, demonstrations};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::config::{uses_groups, uses_rewards};
use crate::error::{Error, Result};

/// What a method needs of a row.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// The group that is wanted.
    pub composition: Composition,
    /// What becomes of long demonstrations.
    pub long: LongDemonstrations,
    /// Whether rewards decide advantages: rows must have a reference answer.
    pub rewards: bool,
    /// Rollouts that a group must have at least.
    pub least: usize,
}

impl Needs {
    /// What `method` needs for groups of `composition`.
    pub fn of(method: &Method, composition: Composition, long: LongDemonstrations) -> Self {
        let pairs = uses_groups(method) && method.advantage.singleton == Singleton::Zero;
        Needs { composition, long, rewards: uses_rewards(method), least: if pairs { 2 } else { 1 } }
    }
}

/// What was found in a data set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// Rows that can be used.
    pub usable: u64,
    /// Rows dropped, by reason, with the id of the first.
    pub dropped: BTreeMap<&'static str, (u64, String)>,
    /// Demonstrations without text that were left out.
    pub empty_demonstrations: u64,
    /// Demonstrations beyond the limit that were left out.
    pub long_demonstrations: u64,
    /// Usable rows with fewer demonstrations than the group wants.
    pub short_groups: u64,
    /// Tokens of the prompts of usable rows.
    pub prompt_tokens: u64,
    /// Tokens of demonstrations that are learned.
    pub supervised_tokens: u64,
    /// Demonstrations.
    pub demonstrations: u64,
    /// The longest prompt.
    pub longest_prompt: usize,
    /// The longest demonstration.
    pub longest_demonstration: usize,
    /// SHA-256 over the token ids of all usable rows.
    pub fingerprint: String,
}

/// Rows in the order of a run.
#[derive(Debug)]
pub struct Rows {
    dataset: Dataset,
    encoder: Arc<Encoder>,
    usable: Vec<u64>,
    needs: Needs,
    survey: Survey,
    /// Seed of the order; `None` visits the rows as they stand in the files.
    seed: Option<u64>,
}

/// What the survey sees of one row.
enum Seen {
    Usable { found: Demonstrations, hash: [u8; 32] },
    Dropped { reason: &'static str, id: String },
}

impl Rows {
    /// Surveys a data set.
    ///
    /// # Errors
    /// A row that cannot be encoded; no usable row at all.
    pub fn new(dataset: Dataset, encoder: Arc<Encoder>, needs: Needs, seed: Option<u64>) -> Result<Self> {
        let mut rows = Rows { dataset, encoder, usable: Vec::new(), needs, survey: Survey::default(), seed };
        let mut hasher = Sha256::new();
        let len = rows.dataset.len();
        // In pieces, so that memory does not grow with the file.
        for start in (0..len).step_by(PIECE) {
            let piece = start..(start + PIECE as u64).min(len);
            let seen: Result<Vec<Seen>> =
                piece.clone().into_par_iter().map(|index| rows.look(index)).collect();
            for (index, seen) in piece.zip(seen?) {
                match seen {
                    Seen::Usable { found, hash } => {
                        hasher.update(hash);
                        rows.usable.push(index);
                        rows.survey.add(&found, needs.composition);
                    }
                    Seen::Dropped { reason, id } => {
                        rows.survey.dropped.entry(reason).or_insert((0, id)).0 += 1;
                    }
                }
            }
        }
        rows.survey.fingerprint = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if rows.usable.is_empty() {
            return Err(Error::Rows(format!("none of the {len} rows can be used: {}", rows.survey.drops())));
        }
        Ok(rows)
    }

    fn look(&self, index: u64) -> Result<Seen> {
        let row = self.dataset.row(index)?;
        let dropped = |reason| Ok(Seen::Dropped { reason, id: row.id.clone() });
        let Needs { composition, long, rewards, least } = self.needs;
        let found = match demonstrations(&self.encoder, &row, composition, 0, long)? {
            Encode::Kept(found) => found,
            Encode::PromptTooLong { .. } => return dropped("prompt too long"),
        };
        let given = !found.rollouts.is_empty()
            && composition.own == 0
            && found.rollouts.iter().all(|rollout| rollout.given_reward.is_some());
        if rewards && !given && row.gold.as_deref().is_none_or(|gold| gold.trim().is_empty()) {
            return dropped("no reference answer");
        }
        if composition.own > 0 && found.prompt.is_empty() {
            return dropped("no prompt to complete");
        }
        let size = found.rollouts.len() + composition.own;
        if size < least {
            return dropped(match (size, found.lost.too_long, found.lost.empty) {
                (_, 1.., _) => "demonstration too long",
                (_, _, 1..) => "empty completion",
                (0, _, _) => "no demonstration",
                _ => "a group of one",
            });
        }
        let mut hasher = Sha256::new();
        let all = std::iter::once(&found.prompt).chain(found.rollouts.iter().map(|rollout| &rollout.tokens));
        for ids in all {
            hasher.update((ids.len() as u64).to_le_bytes());
            ids.iter().for_each(|id| hasher.update(id.to_le_bytes()));
        }
        hasher.update(row.gold.as_deref().unwrap_or_default());
        Ok(Seen::Usable { found, hash: hasher.finalize().into() })
    }

    /// Usable rows.
    pub fn len(&self) -> u64 {
        self.usable.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }

    /// What was found.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The group at place `position` of the run, over all epochs, with its demonstrations; own rollouts are still to be
    /// sampled.
    ///
    /// # Errors
    /// A file that changed since it was surveyed.
    pub fn group(&self, position: u64) -> Result<Group> {
        let len = self.len();
        let place = match self.seed {
            Some(seed) => Order::sample(seed, len, position),
            None => position.checked_rem(len),
        };
        let index = place.and_then(|place| self.usable.get(place as usize)).copied();
        let index = index.ok_or_else(|| Error::Rows("no usable row".into()))?;
        let row = self.dataset.row(index)?;
        let epoch = position / len;
        let Needs { composition, long, .. } = self.needs;
        match demonstrations(&self.encoder, &row, composition, epoch, long)? {
            Encode::Kept(found) => {
                Ok(Group { position, index, row, prompt: found.prompt, rollouts: found.rollouts })
            }
            Encode::PromptTooLong { .. } => {
                Err(Error::Rows(format!("row {} has changed since the run began", row.id)))
            }
        }
    }
}

/// Rows that are looked at together.
const PIECE: usize = 4096;

impl Survey {
    fn add(&mut self, found: &Demonstrations, wanted: Composition) {
        self.usable += 1;
        self.empty_demonstrations += found.lost.empty as u64;
        self.long_demonstrations += found.lost.too_long as u64;
        self.short_groups += u64::from(found.rollouts.len() < wanted.experts + wanted.teachers);
        self.prompt_tokens += found.prompt.len() as u64;
        self.longest_prompt = self.longest_prompt.max(found.prompt.len());
        self.demonstrations += found.rollouts.len() as u64;
        for rollout in &found.rollouts {
            self.supervised_tokens += rollout.targets() as u64;
            self.longest_demonstration = self.longest_demonstration.max(rollout.tokens.len());
        }
    }

    /// Rows dropped in words, as in `3 prompt too long (first: gsm8k-7)`; empty where there are none.
    pub fn drops(&self) -> String {
        let parts: Vec<String> = self
            .dropped
            .iter()
            .map(|(reason, (count, first))| format!("{count} {reason} (first: {first})"))
            .collect();
        parts.join(", ")
    }
}
