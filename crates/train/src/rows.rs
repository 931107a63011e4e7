//! The rows of a data set that a method can use, in the order in which a run visits them.
//!
//! Every row is encoded once before the first step, so that what cannot be used is known, counted and said at the
//! start, and a step finds row number `i` of the run by arithmetic alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use gft_data::{Dataset, Encode, Encoder, Order};
use gft_objective::{Method, Singleton, Source};
use gft_reward::Combination;
use gft_rollout::{Composition, Demonstrations, Group, LongDemonstrations, demonstrations};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::config::uses_groups;
use crate::error::{Error, Result};
use crate::spread::{Spread, never_used};

/// What a method needs of a row.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// The group that is wanted.
    pub composition: Composition,
    /// What becomes of long demonstrations.
    pub long: LongDemonstrations,
    /// Whether rewards decide advantages and one of them needs a reference answer.
    pub gold: bool,
    /// Rollouts that a group must have at least.
    pub least: usize,
}

impl Needs {
    /// What `method` with these rewards needs for groups of `composition`.
    pub fn of(
        method: &Method,
        rewards: &Combination,
        composition: Composition,
        long: LongDemonstrations,
    ) -> Self {
        let pairs = uses_groups(method) && method.advantage.singleton == Singleton::Zero;
        Needs { composition, long, gold: rewards.needs_gold().is_some(), least: if pairs { 2 } else { 1 } }
    }
}

/// Reasons to drop a row that a map of columns may mend.
const NO_GOLD: &str = "no reference answer";
const NO_DEMONSTRATION: &str = "no demonstration";

/// Share of what is left out above which that is said apart.
const MUCH: f64 = 0.2;

/// What was found in a data set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// Rows that can be used.
    pub usable: u64,
    /// Rows dropped, by reason, with the id of the first.
    pub dropped: BTreeMap<&'static str, (u64, String)>,
    /// Usable rows whose prompt is continued as it stands, without any template.
    pub continued: u64,
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
    /// Their tokens, learned or not.
    pub demonstration_tokens: u64,
    /// Experts of usable rows, as they are used.
    pub experts: Spread,
    /// Teachers of usable rows, as they are used.
    pub teachers: Spread,
    /// Usable rows by the experts, and by the teachers, that they have to choose from.
    pub offered: [BTreeMap<usize, u64>; 2],
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
    Usable { found: Demonstrations, continued: bool, hash: [u8; 32] },
    Dropped { reason: &'static str, id: String },
}

impl Rows {
    /// Surveys a data set. `progress` is told of the rows read and of all there are.
    ///
    /// # Errors
    /// A row that cannot be encoded; no usable row at all.
    pub fn new(
        dataset: Dataset,
        encoder: Arc<Encoder>,
        needs: Needs,
        seed: Option<u64>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let mut rows = Rows { dataset, encoder, usable: Vec::new(), needs, survey: Survey::default(), seed };
        let mut hasher = Sha256::new();
        let len = rows.dataset.len();
        // In pieces, so that memory does not grow with the file.
        for start in (0..len).step_by(PIECE) {
            progress(start, len);
            let piece = start..(start + PIECE as u64).min(len);
            let seen: Result<Vec<Seen>> =
                piece.clone().into_par_iter().map(|index| rows.look(index)).collect();
            for (index, seen) in piece.zip(seen?) {
                match seen {
                    Seen::Usable { found, continued, hash } => {
                        hasher.update(hash);
                        rows.usable.push(index);
                        rows.survey.continued += u64::from(continued);
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
            return Err(Error::Rows(format!(
                "none of the {len} rows can be used: {}{}",
                rows.survey.drops(),
                rows.survey.way_on()
            )));
        }
        Ok(rows)
    }

    fn look(&self, index: u64) -> Result<Seen> {
        let row = self.dataset.row(index)?;
        let dropped = |reason| Ok(Seen::Dropped { reason, id: row.id.clone() });
        let Needs { composition, long, gold, least } = self.needs;
        let found = match demonstrations(&self.encoder, &row, composition, index, 0, long)? {
            Encode::Kept(found) => found,
            Encode::PromptTooLong { .. } => return dropped("prompt too long"),
        };
        let given = !found.rollouts.is_empty()
            && composition.own == 0
            && found.rollouts.iter().all(|rollout| rollout.given_reward.is_some());
        if gold && !given && row.gold.as_deref().is_none_or(|gold| gold.trim().is_empty()) {
            return dropped(NO_GOLD);
        }
        if composition.own > 0 && found.prompt.is_empty() {
            return dropped("no prompt to complete");
        }
        let size = found.rollouts.len() + composition.own;
        if size < least {
            return dropped(match (size, found.lost.too_long, found.lost.empty) {
                (_, 1.., _) => "demonstration too long",
                (_, _, 1..) => "empty completion",
                (0, _, _) => NO_DEMONSTRATION,
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
        let continued = self.encoder.continues(&row.prompt);
        Ok(Seen::Usable { found, continued, hash: hasher.finalize().into() })
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

    /// What is easily overlooked in a stage that visits so many `groups`: [`Survey::notes`], demonstrations that it never
    /// uses, and how prompts are presented.
    pub fn notes(&self, groups: u64) -> Vec<String> {
        let mut notes = self.survey.notes();
        let Composition { experts, teachers, .. } = self.needs.composition;
        // Of a run that ends within its first epoch the rest of the rows is another matter.
        let epochs = (groups as f64 / self.len().max(1) as f64).max(1.0);
        let sources = [(experts, "expert", "num_experts"), (teachers, "teacher", "num_teachers")];
        for ((wanted, name, setting), offered) in sources.into_iter().zip(&self.survey.offered) {
            notes.extend(never_used(offered, wanted, epochs).map(|(used, all)| {
                format!(
                    "{used} of {all} {name} completions are used, {wanted} of a prompt an epoch -> raise {setting} or \
                     num_train_epochs"
                )
            }));
        }
        notes.extend(self.encoder.continued_note(self.survey.continued, self.survey.usable));
        notes
    }

    /// Whether most prompts are continued as they stand, so that the model is to be asked in that way.
    pub fn continues_prompts(&self) -> bool {
        2 * self.survey.continued > self.survey.usable
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
        match demonstrations(&self.encoder, &row, composition, index, epoch, long)? {
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
const PIECE: usize = 1024;

impl Survey {
    fn add(&mut self, found: &Demonstrations, wanted: Composition) {
        self.usable += 1;
        self.empty_demonstrations += found.lost.empty as u64;
        self.long_demonstrations += found.lost.too_long as u64;
        self.short_groups += u64::from(found.rollouts.len() < wanted.experts + wanted.teachers);
        self.prompt_tokens += found.prompt.len() as u64;
        self.longest_prompt = self.longest_prompt.max(found.prompt.len());
        self.demonstrations += found.rollouts.len() as u64;
        for (offered, count) in self.offered.iter_mut().zip([found.of.0, found.of.1]) {
            *offered.entry(count).or_default() += 1;
        }
        let of = |source| found.rollouts.iter().filter(|rollout| rollout.source == source).count();
        self.experts.add(of(Source::Expert));
        self.teachers.add(of(Source::Teacher));
        for rollout in &found.rollouts {
            self.demonstration_tokens += rollout.tokens.len() as u64;
            self.supervised_tokens += rollout.targets() as u64;
            self.longest_demonstration = self.longest_demonstration.max(rollout.tokens.len());
        }
    }

    /// The batch in one line, of what rows have rather than of what is wanted, as in `8 prompts x (1 expert + 2 to 3
    /// teacher + 4 own) = about 61 rows a step in 4 updates of 2 prompts`.
    pub fn batch(&self, prompts: usize, own: usize, updates: usize, iterations: usize) -> String {
        let own_spread = Spread { least: own, most: own, sum: own as u64 * self.usable, rows: self.usable };
        let sources = [(self.experts, "expert"), (self.teachers, "teacher"), (own_spread, "own")];
        let used: Vec<_> = sources.into_iter().filter(|(spread, _)| spread.most > 0).collect();
        let parts: Vec<String> = used.iter().map(|(spread, name)| format!("{spread} {name}")).collect();
        let exact = used.iter().all(|(spread, _)| spread.least == spread.most);
        let rows = prompts as f64 * used.iter().map(|(spread, _)| spread.mean()).sum::<f64>();
        let about = if exact { "" } else { "about " };
        let plural = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            _ => format!("{count} {word}s"),
        };
        let mut text =
            format!("{} x ({}) = {about}{rows:.0} rows a step", plural(prompts, "prompt"), parts.join(" + "));
        if updates > 1 {
            let each = plural(prompts.div_ceil(updates), "prompt");
            text.push_str(&format!(" in {updates} updates of {each}"));
        }
        if iterations > 1 {
            text.push_str(&format!(", {iterations} times"));
        }
        text
    }

    /// Demonstrations left out, in words; empty where there are none.
    pub fn lost(&self) -> String {
        match self.empty_demonstrations + self.long_demonstrations {
            0 => String::new(),
            lost => format!(
                "{lost} demonstrations left out: {} too long, {} empty",
                self.long_demonstrations, self.empty_demonstrations
            ),
        }
    }

    /// What is easily overlooked: much of the data not used, or demonstrations that a method wants and no row has.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let dropped: u64 = self.dropped.values().map(|(count, _)| count).sum();
        let lost = self.empty_demonstrations + self.long_demonstrations;
        let share = |part: u64, rest: u64| part as f64 / (part + rest).max(1) as f64;
        if share(dropped, self.usable) > MUCH {
            notes.push(format!(
                "{:.0} % of the rows are dropped: {}; where they are too long -> raise max_length or max_prompt_length, or \
                 set truncation_mode = keep_start",
                100.0 * share(dropped, self.usable),
                self.drops()
            ));
        }
        if share(lost, self.demonstrations) > MUCH {
            notes.push(format!(
                "{:.0} % of the demonstrations are left out ({} too long, {} empty) -> raise max_completion_length, which \
                 limits them too, or set truncation_mode = keep_start",
                100.0 * share(lost, self.demonstrations),
                self.long_demonstrations,
                self.empty_demonstrations
            ));
        }
        if self.demonstrations == 0 && lost == 0 && self.short_groups > 0 {
            notes.push(
                "no row has a demonstration, so only own completions are learned: short solutions are read as references; \
                 columns = [\"expert=COLUMN\"] makes a column demonstrations"
                    .to_owned(),
            );
        }
        notes
    }

    /// What to do where no row has what the method asks for.
    fn way_on(&self) -> &'static str {
        let dropped = |reason| self.dropped.contains_key(reason);
        if dropped(NO_GOLD) {
            "; where a column has the answers -> columns = \"prompt=NAME,solution=NAME\" names it; format, length and \
             functions of your own as reward_funcs need none"
        } else if dropped(NO_DEMONSTRATION) {
            "; where a column has completions -> columns = \"prompt=NAME,expert=NAME\" names it"
        } else {
            ""
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
