//! A whole optimizer step at once: groups in, advantages, coefficients, gradients and loss out.
//!
//! This is the reference reading of a [`Method`]: the training loop runs the same three stages around its
//! forward and backward passes; here they stand in a row. `gft objective` prints what this returns.

use crate::method::{Denominators, Row, RowLoss};
use crate::normaliser::Counts;
use crate::seeds::for_each_token;
use crate::summary::frac_reward_zero_std;
use crate::{
    BySource, Error, Group, GroupAdvantages, GroupStatistics, Method, Reward, Source, TokenInputs,
    TokenSummary,
};

/// One completion of a prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Completion<'a> {
    /// Where it comes from.
    pub source: Source,
    /// Its reward; `None` is unscorable.
    pub reward: Reward,
    /// Its token statistics.
    pub inputs: TokenInputs<'a>,
    /// True when the row is masked out of the loss (DAPO's overlong filtering, [`crate::overlong_filter`]):
    /// its reward stays in the group's statistics, its tokens count nowhere.
    pub filtered: bool,
}

/// All groups of one optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<'a> {
    /// The completions of each prompt.
    pub groups: &'a [&'a [Completion<'a>]],
    /// Maximum completion length in tokens, for the normalisers that divide by it.
    pub max_length: Option<usize>,
}

/// What a method makes of one completion.
#[derive(Debug, Clone, PartialEq)]
pub struct RowEvaluation {
    /// Advantage of the row.
    pub advantage: f64,
    /// `g_t = weight A c_t` of the policy term, `[T]`; 0 where a token does not count.
    pub coefficients: Vec<f64>,
    /// `d loss / d log p_t`, all terms, `[T]`: the seeds of the backward pass.
    pub gradient: Vec<f32>,
    /// The row's share of the loss with its parts; `None` for a row that counts nowhere: its group was
    /// dropped or its source is not part of the method.
    pub loss: Option<RowLoss>,
}

/// What a method makes of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupEvaluation {
    /// Statistics of its rewards.
    pub statistics: GroupStatistics,
    /// False when the method drops the group.
    pub kept: bool,
    /// Its rows, in the order given.
    pub rows: Vec<RowEvaluation>,
}

/// What a method makes of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The loss: the sum of the rows' shares.
    pub loss: f64,
    /// The groups, in the order given.
    pub groups: Vec<GroupEvaluation>,
    /// The denominators.
    pub denominators: Denominators,
    /// Sums over the tokens of each source.
    pub summary: BySource<TokenSummary>,
    /// Share of groups whose rewards do not vary; `None` without a group.
    pub frac_reward_zero_std: Option<f64>,
}

/// Evaluates `method` on `step`.
///
/// ```
/// use gft_objective::{Completion, Method, Source, Step, TokenInputs, evaluate};
///
/// let row = |source, reward, logprobs| Completion {
///     source,
///     reward: Some(reward),
///     inputs: TokenInputs { logprobs, ..Default::default() },
///     filtered: false,
/// };
/// let group = [row(Source::Expert, 1.0, &[-0.1, -2.0]), row(Source::Policy, 0.0, &[-0.5, -0.7])];
/// let step = Step { groups: &[&group], max_length: None };
/// let found = evaluate(&Method::gft_paper(), &step)?;
/// let [expert, own] = found.groups[0].rows.as_slice() else { unreachable!() };
/// assert!(expert.advantage > 0.0 && own.advantage < 0.0);
/// // The expert's first token has p = 0.90, the second p = 0.14: the second is rectified.
/// assert_eq!(expert.coefficients[0], expert.advantage);
/// assert!(expert.coefficients[1] < 0.2 * expert.advantage);
/// # Ok::<(), gft_objective::Error>(())
/// ```
///
/// # Errors
/// Those of [`Method::advantages`], [`Method::denominators`] and [`Method::row_seeds`]; an error of a row
/// comes as [`Error::Row`] with its place.
pub fn evaluate(method: &Method, step: &Step<'_>) -> Result<Evaluation, Error> {
    let advantages = step_advantages(method, step)?;
    let denominators = method.denominators(&count(method, step, &advantages), step.max_length)?;
    let mut summary = BySource::<TokenSummary>::default();
    let mut loss = 0.0;
    let mut groups = Vec::with_capacity(step.groups.len());
    for (index, (completions, found)) in step.groups.iter().zip(&advantages).enumerate() {
        let mut rows = Vec::with_capacity(completions.len());
        for (row, (completion, advantage)) in completions.iter().zip(&found.advantages).enumerate() {
            let used = found.kept && method.sources[completion.source].is_some();
            let evaluated = evaluate_row(method, completion, *advantage, used, &denominators)
                .map_err(|error| Error::Row { group: index, row, error: Box::new(error) })?;
            if let Some(row_loss) = &evaluated.loss {
                loss += row_loss.loss;
                summary[completion.source] += row_loss.policy;
            }
            rows.push(evaluated);
        }
        groups.push(GroupEvaluation { statistics: found.statistics, kept: found.kept, rows });
    }
    Ok(Evaluation {
        loss,
        groups,
        denominators,
        summary,
        frac_reward_zero_std: frac_reward_zero_std(&advantages),
    })
}

/// Stage 1 on the groups of a step.
fn step_advantages(method: &Method, step: &Step<'_>) -> Result<Vec<GroupAdvantages>, Error> {
    let columns = |rows: &[Completion<'_>]| -> (Vec<Source>, Vec<Reward>) {
        rows.iter().map(|row| (row.source, row.reward)).unzip()
    };
    let columns: Vec<_> = step.groups.iter().map(|rows| columns(rows)).collect();
    let groups: Vec<_> = columns.iter().map(|(sources, rewards)| Group { sources, rewards }).collect();
    method.advantages(&groups)
}

/// Stage 2 on the groups of a step.
fn count(method: &Method, step: &Step<'_>, advantages: &[GroupAdvantages]) -> Counts {
    let mut counts = Counts::default();
    for (completions, found) in step.groups.iter().zip(advantages).filter(|(_, found)| found.kept) {
        for (completion, advantage) in completions.iter().zip(&found.advantages) {
            let tokens = if completion.filtered { 0 } else { completion.inputs.counted() };
            method.count_row(&mut counts, completion.source, tokens, *advantage);
        }
    }
    counts
}

/// Stage 3 on one row.
fn evaluate_row(
    method: &Method,
    completion: &Completion<'_>,
    advantage: f64,
    used: bool,
    denominators: &Denominators,
) -> Result<RowEvaluation, Error> {
    let tokens = completion.inputs.logprobs.len();
    let mut gradient = vec![0.0; tokens];
    let mut coefficients = vec![0.0; tokens];
    if !used {
        return Ok(RowEvaluation { advantage, coefficients, gradient, loss: None });
    }
    let nothing = vec![false; tokens];
    let mask = if completion.filtered { Some(nothing.as_slice()) } else { completion.inputs.mask };
    let inputs = TokenInputs { mask, ..completion.inputs };
    let row = Row { source: completion.source, advantage, inputs };
    let loss = method.row_seeds(&row, denominators, &mut gradient)?;
    let treatment = method.treatment(completion.source)?;
    let weighted = treatment.weight * advantage;
    for_each_token(&treatment.rule, weighted, &inputs, |index, token, _| {
        if let Some(out) = coefficients.get_mut(index) {
            *out = weighted * token.coefficient;
        }
    })?;
    Ok(RowEvaluation { advantage, coefficients, gradient, loss: Some(loss) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CountedRows, Normaliser};

    fn row(source: Source, reward: f64, logprobs: &[f32]) -> Completion<'_> {
        let inputs = TokenInputs { logprobs, old_logprobs: Some(logprobs), ..Default::default() };
        Completion { source, reward: Some(reward), inputs, filtered: false }
    }

    fn on_policy(method: &Method, groups: &[&[Completion<'_>]]) -> Evaluation {
        evaluate(method, &Step { groups, max_length: Some(100) }).unwrap()
    }

    #[test]
    fn the_loss_is_the_sum_over_rows_by_hand() {
        let group = [row(Source::Policy, 1.0, &[-1.0, -2.0]), row(Source::Policy, 0.0, &[-3.0])];
        let mut method = Method::grpo();
        method.advantage.scale = crate::Scale::None;
        // At r = 1 each token's loss is -A: row 1 has mean -0.5, row 2 has 0.5.
        let found = on_policy(&method, &[&group]);
        assert_eq!(found.loss, 0.0);
        assert_eq!(found.groups[0].rows[0].gradient, [-0.5 / 4.0, -0.5 / 4.0]);
        assert_eq!(found.groups[0].rows[0].coefficients, [0.5, 0.5]);
        assert_eq!(found.groups[0].rows[1].gradient, [0.5 / 2.0]);
        method.normaliser = Normaliser::TokenMean;
        assert_eq!(on_policy(&method, &[&group]).loss, (-0.5 - 0.5 + 0.5) / 3.0);
    }

    #[test]
    fn groups_without_signal_have_exactly_no_gradient() {
        let group = [row(Source::Expert, 0.7, &[-1.0]), row(Source::Policy, 0.7, &[-3.0, -0.1])];
        for name in ["gft-paper", "gft-reference", "gft-stable", "grpo", "dapo", "dr-grpo", "luffy", "rloo"] {
            let found = on_policy(&Method::named(name).unwrap(), &[&group]);
            assert_eq!(found.loss, 0.0, "{name}");
            let mut gradient =
                found.groups.iter().flat_map(|group| &group.rows).flat_map(|row| &row.gradient);
            assert!(gradient.all(|seed| seed.to_bits() == 0), "{name}");
        }
    }

    #[test]
    fn silent_groups_stay_in_the_denominator_unless_told_otherwise() {
        let contrast = [row(Source::Policy, 1.0, &[-1.0]), row(Source::Policy, 0.0, &[-1.0])];
        let silent = [row(Source::Policy, 1.0, &[-1.0, -1.0]), row(Source::Policy, 1.0, &[-1.0, -1.0])];
        let tokens =
            |method: &Method| on_policy(method, &[&contrast, &silent]).denominators.policy.count().tokens;
        let mut method = Method::grpo();
        assert_eq!(tokens(&method), 6);
        method.counted = CountedRows::Active;
        assert_eq!(tokens(&method), 2);
        assert_eq!(tokens(&Method::dapo()), 2, "dropped groups count nowhere");
        assert_eq!(on_policy(&method, &[&contrast, &silent]).frac_reward_zero_std, Some(0.5));
    }

    #[test]
    fn filtered_rows_keep_their_reward_and_lose_their_tokens() {
        let mut group = [row(Source::Policy, 1.0, &[-1.0]), row(Source::Policy, 0.0, &[-1.0, -1.0, -1.0])];
        let before = on_policy(&Method::grpo(), &[&group]);
        group[1].filtered = true;
        let after = on_policy(&Method::grpo(), &[&group]);
        assert_eq!(after.groups[0].statistics, before.groups[0].statistics);
        assert_eq!(after.groups[0].rows[1].gradient, [0.0; 3]);
        assert_eq!(after.denominators.policy.count().tokens, 1);
        assert!(after.loss < 0.0);
    }

    #[test]
    fn an_empty_step_is_an_exact_zero() {
        for name in Method::names() {
            let method = Method::named(name).unwrap();
            for groups in [&[] as &[&[Completion<'_>]], &[&[]]] {
                let found = on_policy(&method, groups);
                assert!(found.loss == 0.0 && found.denominators.policy.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn errors_name_the_row() {
        let group = [row(Source::Policy, 1.0, &[-1.0]), row(Source::Policy, 0.0, &[f32::NAN])];
        let error = evaluate(&Method::grpo(), &Step { groups: &[&group], max_length: None }).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("group 0, row 1: logprobs[0] = NaN"), "{message}");
    }
}
