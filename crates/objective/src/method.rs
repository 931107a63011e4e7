//! A method as a value: what each source's rows get, how advantages are made and what the loss is divided by.
//!
//! The stages of a step, in the order the training loop needs them:
//!
//! 1. [`Method::advantages`]: rewards -> one advantage per row.
//! 2. [`Method::count_row`] for every row, then [`Method::denominators`]: the global `N`, before any backward
//!    pass.
//! 3. [`Method::row_seeds`] for the rows of a micro-batch: log-probabilities -> seeds of the backward pass
//!    and loss.

use crate::advantage::{AdvantageConfig, GroupAdvantages, advantages_among};
use crate::error::in_range;
use crate::kl::KlPenalty;
use crate::names::names;
use crate::normaliser::{Count, CountedRows, Counts, Denominator, Normaliser};
use crate::seeds::{statistic_at, token_seeds};
use crate::treatment::Treatment;
use crate::{BySource, Error, Group, Rule, Source, TokenInputs, TokenSummary};

/// Whether all sources share one denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// One denominator over all rows.
    Joint,
    /// Demonstrations (expert and teacher) and own rows are each divided by their own count, so that the
    /// weights of the treatments are the exact weights of the two parts (CHORD).
    Apart,
}

/// Which groups are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepGroups {
    /// All.
    All,
    /// Only those whose rewards vary, and single rows ([`crate::GroupStatistics::keep_group`]; DAPO).
    Varied,
}

names!(Parts, "choice of parts", { Joint = "joint", Apart = "apart", });
names!(KeepGroups, "choice of groups", { All = "all", Varied = "varied", });

/// A training objective. Every part is a field: change any, the stages stay the same.
///
/// ```
/// use gft_objective::{Method, Rule};
///
/// let mut method = Method::gft_paper();
/// if let Some(own) = &mut method.sources.policy {
///     own.rule = Rule::RatioClip { eps_low: 0.2, eps_high: 0.28, dual_clip: None };
/// }
/// method.validate()?;
/// # Ok::<(), gft_objective::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Method {
    /// Name of the preset it began as, for messages and files.
    pub name: &'static str,
    /// How rewards become advantages, for rows whose signal is [`crate::Signal::Group`].
    pub advantage: AdvantageConfig,
    /// What is done with each source's rows; `None` leaves the source out, of the baseline too.
    pub sources: BySource<Option<Treatment>>,
    /// What the loss is divided by.
    pub normaliser: Normaliser,
    /// Which rows the denominator counts.
    pub counted: CountedRows,
    /// Whether all sources share one denominator.
    pub parts: Parts,
    /// Which groups are used.
    pub keep: KeepGroups,
    /// KL penalty on the policy's own rows, estimated from the sampled tokens.
    pub kl: Option<KlPenalty>,
    /// Weight of `KL(p_ref || p)` over the whole vocabulary on every row (ASFT's lambda); 0 is off.
    pub reference_kl: f64,
    /// Weight of the entropy that is added to the objective on the policy's own rows; 0 is off.
    pub entropy_bonus: f64,
}

/// One row as stage 3 sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Origin of the row.
    pub source: Source,
    /// Its advantage, from stage 1.
    pub advantage: f64,
    /// Its token statistics.
    pub inputs: TokenInputs<'a>,
}

/// What stage 3 says of a row, besides the seeds of its log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowLoss {
    /// Share of the step's loss, all terms together.
    pub loss: f64,
    /// The policy term with its metrics.
    pub policy: TokenSummary,
    /// Share of the loss due to the sampled KL penalty, `beta sum_t KL_t / N`.
    pub kl: f64,
    /// Seed `d loss / d KL_t` of the full-vocabulary KL statistic, the same for every token that counts.
    pub reference_kl_seed: f32,
    /// Seed `d loss / d H_t` of the entropy statistic, the same for every token that counts.
    pub entropy_seed: f32,
}

/// The denominators of a step, one per source (all equal when the parts are joint).
pub type Denominators = BySource<Denominator>;

impl Method {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first one that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        self.advantage.validate()?;
        for (_, treatment) in self.sources.iter() {
            if let Some(treatment) = treatment {
                treatment.rule.validate()?;
                in_range("weight", treatment.weight, 0.0, f64::MAX, "a number >= 0")?;
            }
        }
        self.kl.map_or(Ok(()), |kl| kl.validate())?;
        in_range("reference_kl", self.reference_kl, 0.0, f64::MAX, "a number >= 0")?;
        in_range("entropy_bonus", self.entropy_bonus, -f64::MAX, f64::MAX, "a finite number")
    }

    /// The treatment of rows of `source`.
    ///
    /// # Errors
    /// [`Error::SourceNotUsed`] when the method leaves the source out.
    pub fn treatment(&self, source: Source) -> Result<&Treatment, Error> {
        let unused = Error::SourceNotUsed { method: self.name, source_name: source.as_str() };
        self.sources[source].as_ref().ok_or(unused)
    }

    /// True when some source's rule reads `old_logprobs`. For the first update after the rows were sampled
    /// (or scored) pass `logprobs` themselves: every ratio is then exactly 1.
    pub fn needs_old_logprobs(&self) -> bool {
        self.any_rule(Rule::needs_old_logprobs)
    }

    /// True when some source's rule or the entropy bonus reads `entropy`.
    pub fn needs_entropy(&self) -> bool {
        self.entropy_bonus != 0.0 || self.any_rule(Rule::needs_entropy)
    }

    /// True when rows without an advantage contribute nothing and need not be run. A KL or entropy term acts
    /// on them all the same.
    pub fn may_skip_silent_rows(&self) -> bool {
        self.kl.is_none() && self.reference_kl == 0.0 && self.entropy_bonus == 0.0
    }

    fn any_rule(&self, property: impl Fn(&Rule) -> bool) -> bool {
        Source::ALL.iter().any(|source| self.sources[*source].is_some_and(|used| property(&used.rule)))
    }

    /// Stage 1: advantages of every row of every group. Rows of sources the method leaves out have advantage
    /// 0, and so do all rows of a group that is not kept.
    ///
    /// # Errors
    /// As [`crate::advantages`], and [`Error::Parameter`] for a method that does not validate.
    pub fn advantages(&self, groups: &[Group<'_>]) -> Result<Vec<GroupAdvantages>, Error> {
        self.validate()?;
        let part = BySource::from_fn(|source| self.sources[source].is_some());
        let mut found = advantages_among(&self.advantage, groups, part)?;
        for (group, result) in groups.iter().zip(&mut found) {
            result.kept = self.keep == KeepGroups::All || result.statistics.keep_group();
            let rows = group.sources.iter().zip(group.rewards).zip(&mut result.advantages);
            for ((source, reward), advantage) in rows {
                *advantage = match self.sources[*source] {
                    Some(treatment) if result.kept => treatment.advantage(*reward, *advantage),
                    _ => 0.0,
                };
            }
        }
        Ok(found)
    }

    /// Stage 2: counts one row of `tokens` target tokens. Call it for the rows of the groups that are kept
    /// only. Sources left out and sources of weight 0 count as nothing.
    pub fn count_row(&self, counts: &mut Counts, source: Source, tokens: usize, advantage: f64) {
        if self.sources[source].is_some_and(|treatment| treatment.weight > 0.0) {
            counts.add(source, tokens, advantage != 0.0);
        }
    }

    /// Stage 2: the denominators, from the counts of the whole optimizer step (added up over ranks).
    ///
    /// # Errors
    /// [`Error::MaxLength`] when the normaliser needs the maximum completion length and it is absent.
    pub fn denominators(&self, counts: &Counts, max_length: Option<usize>) -> Result<Denominators, Error> {
        let by_source = match self.counted {
            CountedRows::All => &counts.all,
            CountedRows::Active => &counts.active,
        };
        let of_part = |part: &[Source]| {
            let mut sum = Count::default();
            part.iter().for_each(|source| sum += by_source[*source]);
            Denominator::new(self.normaliser, sum, max_length)
        };
        match self.parts {
            Parts::Joint => {
                let joint = of_part(&Source::ALL)?;
                Ok(BySource { expert: joint, teacher: joint, policy: joint })
            }
            Parts::Apart => {
                let demonstrations = of_part(&[Source::Expert, Source::Teacher])?;
                let policy = of_part(&[Source::Policy])?;
                Ok(BySource { expert: demonstrations, teacher: demonstrations, policy })
            }
        }
    }

    /// Stage 3: seeds `d loss / d log p_t` of one row, `seeds.len()` its number of tokens, and its share of
    /// the loss. Depends on nothing but the row and the denominators, so any split into micro-batches gives
    /// the same bits.
    ///
    /// # Errors
    /// As [`token_seeds`]; [`Error::SourceNotUsed`]; [`Error::Missing`] when the KL term lacks its input.
    pub fn row_seeds(
        &self,
        row: &Row<'_>,
        denominators: &Denominators,
        seeds: &mut [f32],
    ) -> Result<RowLoss, Error> {
        let treatment = self.treatment(row.source)?;
        let n = denominators[row.source].of_row(row.inputs.counted());
        let advantage = treatment.weight * row.advantage;
        let policy = token_seeds(&treatment.rule, advantage, &row.inputs, n, seeds)?;
        let own = row.source == Source::Policy;
        let kl = match self.kl {
            Some(penalty) if own => penalty.add_seeds(&row.inputs, n, seeds)?,
            _ => 0.0,
        };
        let reference_kl = self.reference_kl / n;
        let entropy = if own { -self.entropy_bonus / n } else { 0.0 };
        let loss = policy.loss
            + kl
            + term("reference_kl", reference_kl, row.inputs.reference_kl, &row.inputs)?
            + term("entropy", entropy, row.inputs.entropy, &row.inputs)?;
        Ok(RowLoss { loss, policy, kl, reference_kl_seed: reference_kl as f32, entropy_seed: entropy as f32 })
    }
}

/// `weight * sum_t values_t` over the tokens that count; needs `values` unless `weight` is 0.
fn term(
    name: &'static str,
    weight: f64,
    values: Option<&[f32]>,
    inputs: &TokenInputs<'_>,
) -> Result<f64, Error> {
    if weight == 0.0 {
        return Ok(0.0);
    }
    let values = values.ok_or(Error::Missing { rule: "the method", what: name })?;
    let mut sum = 0.0;
    for index in (0..values.len()).filter(|index| inputs.counts(*index)) {
        sum += statistic_at(name, values, index)?;
    }
    Ok(weight * sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reward;
    use Source::{Expert, Policy, Teacher};

    fn group<'a>(sources: &'a [Source], rewards: &'a [Reward]) -> [Group<'a>; 1] {
        [Group { sources, rewards }]
    }

    #[test]
    fn sources_left_out_do_not_enter_the_baseline() {
        let sources = [Expert, Teacher, Policy, Policy];
        let rewards = [1.0, 1.0, 1.0, 0.0].map(Some);
        let found = Method::grpo().advantages(&group(&sources, &rewards)).unwrap().remove(0);
        let alone =
            Method::grpo().advantages(&group(&[Policy; 2], &[Some(1.0), Some(0.0)])).unwrap().remove(0);
        assert_eq!(found.advantages, [0.0, 0.0, alone.advantages[0], alone.advantages[1]]);
        assert_eq!(found.statistics, alone.statistics);
        let mut counts = Counts::default();
        Method::grpo().count_row(&mut counts, Expert, 9, 0.0);
        assert_eq!(counts, Counts::default());
        let error = Method::grpo().treatment(Expert).unwrap_err().to_string();
        assert!(error.contains("grpo") && error.contains("expert"), "{error}");
    }

    #[test]
    fn groups_without_contrast_are_dropped_by_dapo_only() {
        let rewards = [Some(1.0), Some(1.0)];
        let groups = group(&[Policy; 2], &rewards);
        assert!(!Method::dapo().advantages(&groups).unwrap()[0].kept);
        assert!(Method::grpo().advantages(&groups).unwrap()[0].kept);
        // Rows of a dropped group have no advantage, even where the reward alone would give one.
        let psr = Method { keep: KeepGroups::Varied, ..Method::psr() };
        assert_eq!(psr.advantages(&groups).unwrap()[0].advantages, [0.0, 0.0]);
        assert_eq!(Method::psr().advantages(&groups).unwrap()[0].advantages, [1.0, 1.0]);
    }

    #[test]
    fn parts_apart_have_their_own_denominators() {
        let mut counts = Counts::default();
        counts.add(Expert, 4, true);
        counts.add(Teacher, 6, true);
        counts.add(Policy, 30, false);
        let n = |method: Method| {
            let found = method.denominators(&counts, None).unwrap();
            (found.expert.of_row(1), found.teacher.of_row(1), found.policy.of_row(1))
        };
        let mut method = Method::chord(0.1);
        assert_eq!(n(method), (10.0, 10.0, 30.0));
        method.parts = Parts::Joint;
        assert_eq!(n(method), (40.0, 40.0, 40.0));
        method.counted = CountedRows::Active;
        assert_eq!(n(method), (10.0, 10.0, 10.0));
    }

    #[test]
    fn extra_terms_add_their_loss_and_say_their_seed() {
        let mut method = Method::grpo();
        method.entropy_bonus = 0.5;
        method.reference_kl = 0.25;
        assert!(!method.may_skip_silent_rows() && method.needs_entropy());
        let inputs = TokenInputs {
            logprobs: &[-1.0, -1.0],
            old_logprobs: Some(&[-1.0, -1.0]),
            entropy: Some(&[2.0, f32::NAN]),
            reference_kl: Some(&[3.0, f32::NAN]),
            mask: Some(&[true, false]),
            ..Default::default()
        };
        let mut counts = Counts::default();
        method.count_row(&mut counts, Policy, 1, 0.0);
        let denominators = method.denominators(&counts, None).unwrap();
        let row = Row { source: Policy, advantage: 0.0, inputs: TokenInputs { entropy: None, ..inputs } };
        let mut seeds = [0.0; 2];
        assert_eq!(
            method.row_seeds(&row, &denominators, &mut seeds),
            Err(Error::Missing { rule: "the method", what: "entropy" })
        );
        let found = method.row_seeds(&Row { inputs, ..row }, &denominators, &mut seeds).unwrap();
        assert_eq!(found.loss, 0.25 * 3.0 - 0.5 * 2.0);
        assert_eq!((found.reference_kl_seed, found.entropy_seed), (0.25, -0.5));
    }

    #[test]
    fn bad_parameters_are_found_before_anything_is_computed() {
        let mut method = Method::gft_paper();
        if let Some(treatment) = &mut method.sources.teacher {
            treatment.rule = Rule::Dcr { tau: 7.0, boundary: crate::Boundary::Below };
        }
        assert!(matches!(method.advantages(&[]), Err(Error::Parameter { name: "tau", .. })));
    }
}
