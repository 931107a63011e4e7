//! Stage 6 and the seam of stages 8 to 11: rollouts as packed trees, and the seeds of their targets.

use std::ops::Range;

use gft_data::{GroupShape, Tree, pack};
use gft_model::Batch;
use gft_model::policy::{Seeds, TokenStats};
use gft_objective::{Count, Denominator, Denominators, Method, Normaliser, Row, RowLoss, TokenInputs};
use gft_rollout::Group;

use crate::collect::RowState;
use crate::error::Result;

/// The targets of one rollout in a batch.
#[derive(Debug, Clone)]
pub(crate) struct RowTargets {
    /// Index of its group.
    pub group: usize,
    /// Its index in the group.
    pub rollout: usize,
    /// Its targets in the batch.
    pub range: Range<usize>,
}

/// One forward and backward pass: trees of prompts and rollouts.
pub(crate) struct Pass {
    /// The packed tokens.
    pub batch: Batch,
    /// The rollouts whose targets it has, in the order of their targets.
    pub rows: Vec<RowTargets>,
}

/// Packs the rollouts that `run` names into passes of at most `tokens` tokens, more where a single row needs more.
pub(crate) fn passes(
    groups: &[Group],
    part: Range<usize>,
    tokens: usize,
    run: impl Fn(usize, usize) -> bool,
) -> Result<Vec<Pass>> {
    let chosen: Vec<Vec<usize>> =
        part.clone().map(|g| (0..groups[g].rollouts.len()).filter(|&k| run(g, k)).collect()).collect();
    let length = |g: usize, k: usize| groups[g].rollouts[k].tokens.len();
    let shapes: Vec<GroupShape> = part
        .clone()
        .zip(&chosen)
        .map(|(g, chosen)| GroupShape {
            prompt: groups[g].prompt.len(),
            responses: chosen.iter().map(|&k| length(g, k)).collect(),
        })
        .collect();
    let longest = shapes
        .iter()
        .filter_map(|shape| Some(shape.prompt + shape.responses.iter().max()?))
        .max()
        .unwrap_or(0);
    let plan = pack(&shapes, tokens.max(longest))?;
    let mut passes = Vec::with_capacity(plan.batches.len());
    for micro in plan.batches {
        let mut pass = Pass { batch: Batch::new(), rows: Vec::new() };
        for Tree { group, responses } in micro.trees {
            let g = part.start + group;
            let parent = match groups[g].prompt.as_slice() {
                [] => None,
                prompt => Some(pass.batch.push(None, prompt, |_| false)?.0),
            };
            for response in responses {
                let k = chosen[group][response];
                let rollout = &groups[g].rollouts[k];
                let learned = |at: usize| rollout.supervised.get(at).copied().unwrap_or(false);
                let (_, range) = pass.batch.push(parent, &rollout.tokens, learned)?;
                pass.rows.push(RowTargets { group: g, rollout: k, range });
            }
        }
        passes.push(pass);
    }
    Ok(passes)
}

/// A piece of a row's targets: which row, and from which of its targets on.
pub(crate) struct Piece {
    pub row: RowTargets,
    pub from: usize,
    /// Where it stands among the statistics that were handed over.
    pub at: Range<usize>,
}

/// Cuts the targets `order` of a pass, as the head hands them over, into runs of one row each.
pub(crate) fn pieces(rows: &[RowTargets], order: &[usize]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (at, &target) in order.iter().enumerate() {
        let row = rows.partition_point(|row| row.range.end <= target);
        let Some(row) = rows.get(row) else { continue };
        if let Some(last) = pieces.last_mut()
            && last.at.end == at
            && last.row.range == row.range
            && row.range.start + last.from + last.at.len() == target
        {
            last.at.end = at + 1;
            continue;
        }
        pieces.push(Piece { row: row.clone(), from: target - row.range.start, at: at..at + 1 });
    }
    pieces
}

/// What the seeds of one piece depend on.
pub(crate) struct Seeding<'a> {
    pub method: &'a Method,
    pub denominators: &'a Denominators,
    pub groups: &'a [Group],
    pub rows: &'a [Vec<RowState>],
}

impl Seeding<'_> {
    /// Stage 9: coefficients and seeds of one piece, written into `seeds`; returns its share of the loss.
    ///
    /// The rules look at one token at a time, so a row may come in pieces as long as each is divided by the row's own
    /// denominator.
    pub fn seed(
        &self,
        piece: &Piece,
        stats: &TokenStats,
        seeds: &mut Seeds,
    ) -> Result<RowLoss, gft_objective::Error> {
        let Piece { row, from, at } = piece;
        let state = &self.rows[row.group][row.rollout];
        let source = self.groups[row.group].rollouts[row.rollout].source;
        let own = *from..*from + at.len();
        let logprobs = &stats.logprobs[at.clone()];
        let part = |values: &[f32]| -> Option<Range<usize>> { (!values.is_empty()).then(|| at.clone()) };
        let of_row = |values: &'_ Option<Vec<f32>>| values.as_ref().map(|_| own.clone());
        let old = of_row(&state.old_logprobs);
        let inputs = TokenInputs {
            logprobs,
            old_logprobs: match (&state.old_logprobs, old) {
                (Some(values), Some(range)) => values.get(range),
                _ => Some(logprobs),
            },
            ref_logprobs: state.ref_logprobs.as_ref().and_then(|values| values.get(own)),
            entropy: part(&stats.entropy).map(|range| &stats.entropy[range]),
            reference_kl: part(&stats.kl).map(|range| &stats.kl[range]),
            mask: None,
        };
        // All denominators are whole numbers: a token mean over N tokens divides this piece by the row's N.
        let n = self.denominators[source].of_row(row.range.len());
        let count = Count { rows: 1, tokens: n as u64 };
        let of_piece = Denominator::new(Normaliser::TokenMean, count, None)?;
        let denominators = Denominators { expert: of_piece, teacher: of_piece, policy: of_piece };
        let input = Row { source, advantage: state.advantage, inputs };
        let loss = self.method.row_seeds(&input, &denominators, &mut seeds.logprobs[at.clone()])?;
        if let Some(entropy) = seeds.entropy.get_mut(at.clone()) {
            entropy.fill(loss.entropy_seed);
        }
        if let Some(kl) = seeds.kl.get_mut(at.clone()) {
            kl.fill(loss.reference_kl_seed);
        }
        Ok(loss)
    }
}
