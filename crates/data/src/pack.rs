//! Groups packed as trees into micro-batches: the prompt once, each response behind it, no more tokens than fit.
//!
//! A tree is one prompt and some of its responses, each of which attends to the prompt and to itself. Nothing here
//! touches tokens: the plan is made of indices, and whoever builds the batch takes the ids from where they lie.

use crate::{DataError, Result};
use std::collections::BTreeMap;

/// The token counts of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupShape {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of each response; a group without responses to run is left out of the plan.
    pub responses: Vec<usize>,
}

/// Responses of one group that are computed behind one copy of its prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Index of the group.
    pub group: usize,
    /// Indices of its responses, ascending.
    pub responses: Vec<usize>,
}

/// What is computed in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroBatch {
    /// Trees in order of their groups.
    pub trees: Vec<Tree>,
    /// What it costs.
    pub cost: Cost,
}

/// What a set of trees costs: the work of the linear layers goes with `tokens`, that of attention with `pairs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens run: the sum over trees of P + ΣR.
    pub tokens: u64,
    /// (query, key) pairs: the sum over trees of P(P+1)/2 + ΣR(P + (R+1)/2).
    pub pairs: u64,
}

impl Cost {
    /// The cost of one prompt with these responses.
    pub fn of_tree(prompt: usize, responses: impl IntoIterator<Item = usize>) -> Self {
        let (p, triangle) = (prompt as u64, |n: u64| n * (n + 1) / 2);
        let root = Self { tokens: p, pairs: triangle(p) };
        responses
            .into_iter()
            .map(|r| r as u64)
            .fold(root, |cost, r| Self { tokens: cost.tokens + r, pairs: cost.pairs + r * p + triangle(r) })
    }

    fn add(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.pairs += other.pairs;
    }
}

/// All micro-batches of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackPlan {
    /// The passes, in order of their first group.
    pub batches: Vec<MicroBatch>,
    /// The sum of their costs.
    pub cost: Cost,
    /// What the same responses would cost if each carried its own copy of the prompt.
    pub flat_cost: Cost,
    /// Groups that are spread over several trees because they exceed the budget.
    pub split_groups: usize,
}

/// Packs groups into as few micro-batches of at most `budget` tokens as best-fit decreasing finds.
///
/// A group stays whole if it fits; one that does not is split by responses, its prompt repeated. The plan is a function
/// of the arguments alone.
///
/// # Errors
/// A response that does not fit behind its prompt even alone, or has no tokens; the message names the sizes.
pub fn pack(groups: &[GroupShape], budget: usize) -> Result<PackPlan> {
    let mut plan =
        PackPlan { batches: Vec::new(), cost: Cost::default(), flat_cost: Cost::default(), split_groups: 0 };
    let mut trees: Vec<(usize, Tree)> = Vec::new();
    for (index, group) in groups.iter().enumerate().filter(|(_, group)| !group.responses.is_empty()) {
        check(index, group, budget)?;
        for &response in &group.responses {
            plan.flat_cost.add(Cost::of_tree(group.prompt, [response]));
        }
        let parts = split(group, budget);
        plan.split_groups += usize::from(parts.len() > 1);
        trees.extend(parts.into_iter().map(|(tokens, responses)| (tokens, Tree { group: index, responses })));
    }
    let sizes: Vec<usize> = trees.iter().map(|(tokens, _)| *tokens).collect();
    let mut trees: Vec<Option<Tree>> = trees.into_iter().map(|(_, tree)| Some(tree)).collect();
    for bin in best_fit(&sizes, budget) {
        let trees: Vec<Tree> = bin.into_iter().filter_map(|i| trees[i].take()).collect();
        let mut cost = Cost::default();
        for tree in &trees {
            let group = &groups[tree.group];
            cost.add(Cost::of_tree(group.prompt, tree.responses.iter().map(|&k| group.responses[k])));
        }
        plan.cost.add(cost);
        plan.batches.push(MicroBatch { trees, cost });
    }
    Ok(plan)
}

fn check(index: usize, group: &GroupShape, budget: usize) -> Result<()> {
    for (k, &response) in group.responses.iter().enumerate() {
        if response == 0 {
            return Err(DataError::Argument(format!("group {index}: response {k} has no tokens")));
        }
        if group.prompt + response > budget {
            return Err(DataError::Argument(format!(
                "group {index}: prompt ({} tokens) and response {k} ({response} tokens) need {} tokens, the budget of a \
                 micro-batch is {budget}; raise it or lower the maximum lengths",
                group.prompt,
                group.prompt + response
            )));
        }
    }
    Ok(())
}

/// The parts of a group that fit, as (tokens with prompt, responses).
fn split(group: &GroupShape, budget: usize) -> Vec<(usize, Vec<usize>)> {
    let whole = group.prompt + group.responses.iter().sum::<usize>();
    if whole <= budget {
        return vec![(whole, (0..group.responses.len()).collect())];
    }
    let bins = best_fit(&group.responses, budget - group.prompt);
    let tokens = |bin: &[usize]| group.prompt + bin.iter().map(|&k| group.responses[k]).sum::<usize>();
    bins.into_iter().map(|bin| (tokens(&bin), bin)).collect()
}

/// Best-fit decreasing: the largest item first, each into the fullest bin that still holds it (Johnson 1973: at most 11/9
/// of the optimum and a constant). Items in a bin ascend, bins are in order of their first item; ties go by index.
fn best_fit(sizes: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(sizes[i]), i));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    // Bins by (room left, number).
    let mut room: BTreeMap<(usize, usize), ()> = BTreeMap::new();
    for item in order {
        let fullest = room.range((sizes[item], 0)..).next().map(|(&key, ())| key);
        let (left, bin) = fullest.unwrap_or_else(|| {
            bins.push(Vec::new());
            (capacity, bins.len() - 1)
        });
        room.remove(&(left, bin));
        room.insert((left - sizes[item], bin), ());
        bins[bin].push(item);
    }
    for bin in &mut bins {
        bin.sort_unstable();
    }
    bins.sort_unstable();
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(prompt: usize, responses: &[usize]) -> GroupShape {
        GroupShape { prompt, responses: responses.to_vec() }
    }

    fn tokens(groups: &[GroupShape], batch: &MicroBatch) -> usize {
        let tree = |t: &Tree| {
            groups[t.group].prompt + t.responses.iter().map(|&k| groups[t.group].responses[k]).sum::<usize>()
        };
        batch.trees.iter().map(tree).sum()
    }

    #[test]
    fn whole_groups_share_a_batch() {
        let groups = [group(10, &[5, 5]), group(20, &[30]), group(4, &[1, 1, 1])];
        let plan = pack(&groups, 77).unwrap();
        assert_eq!(plan.batches.len(), 1);
        assert_eq!(plan.cost.tokens, 77);
        assert_eq!(plan.flat_cost.tokens, 15 + 15 + 50 + 5 * 3);
        assert_eq!(pack(&groups, 76).unwrap().batches.len(), 2);
        assert_eq!(plan.split_groups, 0);
    }

    #[test]
    fn pairs_are_those_of_the_mask() {
        let (prompt, responses) = (4, [3, 2]);
        let mut pairs = 0;
        // Position by position: (segment, place in it); segment 0 is the prompt.
        let mut positions: Vec<(usize, usize)> = (0..prompt).map(|i| (0, i)).collect();
        for (k, &r) in responses.iter().enumerate() {
            positions.extend((0..r).map(|i| (k + 1, i)));
        }
        for &(sq, q) in &positions {
            pairs +=
                positions.iter().filter(|&&(sk, k)| (sk == sq && k <= q) || (sk == 0 && sq != 0)).count();
        }
        assert_eq!(Cost::of_tree(prompt, responses), Cost { tokens: 9, pairs: pairs as u64 });
    }

    #[test]
    fn a_group_over_the_budget_is_split_by_responses() {
        let groups = [group(10, &[40, 20, 30, 20])];
        let plan = pack(&groups, 60).unwrap();
        assert_eq!(plan.split_groups, 1);
        let trees: Vec<Vec<usize>> = plan.batches.iter().map(|b| b.trees[0].responses.clone()).collect();
        assert_eq!(trees, [vec![0], vec![1, 2], vec![3]]);
    }

    #[test]
    fn what_cannot_fit_is_an_error_with_the_sizes() {
        let error = pack(&[group(10, &[5]), group(100, &[30, 29])], 129).unwrap_err().to_string();
        for part in ["group 1", "100 tokens", "response 0 (30 tokens)", "130", "129"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(pack(&[group(1, &[0])], 10).is_err());
    }

    #[test]
    fn groups_without_responses_are_not_run() {
        let plan = pack(&[group(1000, &[]), group(1, &[1])], 10).unwrap();
        assert_eq!(plan.batches.len(), 1);
        assert_eq!(plan.batches[0].trees[0].group, 1);
    }

    proptest! {
        #[test]
        fn every_response_once_within_the_budget(
            shapes in prop::collection::vec((0_usize..30, prop::collection::vec(1_usize..40, 0..8)), 0..40),
            spare in 0_usize..100,
        ) {
            let groups: Vec<GroupShape> = shapes.iter().map(|(p, r)| group(*p, r)).collect();
            let budget = 70 + spare;
            let plan = pack(&groups, budget).unwrap();
            let mut seen: Vec<(usize, usize)> = Vec::new();
            for batch in &plan.batches {
                prop_assert!(tokens(&groups, batch) <= budget);
                prop_assert_eq!(tokens(&groups, batch) as u64, batch.cost.tokens);
                for tree in &batch.trees {
                    prop_assert!(!tree.responses.is_empty());
                    seen.extend(tree.responses.iter().map(|&k| (tree.group, k)));
                }
            }
            seen.sort_unstable();
            let all: Vec<(usize, usize)> =
                groups.iter().enumerate().flat_map(|(g, s)| (0..s.responses.len()).map(move |k| (g, k))).collect();
            prop_assert_eq!(seen, all);
            prop_assert!(plan.cost.tokens <= plan.flat_cost.tokens);
            // No two batches could be one.
            let mut least: Vec<u64> = plan.batches.iter().map(|b| b.cost.tokens).collect();
            least.sort_unstable();
            if least.len() > 1 && plan.split_groups == 0 {
                prop_assert!(least[0] + least[1] > budget as u64);
            }
            prop_assert_eq!(&plan, &pack(&groups, budget).unwrap());
        }
    }
}
