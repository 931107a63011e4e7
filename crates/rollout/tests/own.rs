//! Own rollouts are a function of (seed, step, place, sample) and the weights; demonstrations of the row and the epoch.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "../../gft/tests/world/model.rs"]
mod model;

use std::path::Path;
use std::sync::Arc;

use gft_data::{Dataset, Encode, EncodeOptions, Encoder, ReadOptions, Tokenizer};
use gft_model::folder::ModelFolder;
use gft_model::generate::Sampling;
use gft_model::{Cpu, Policy};
use gft_objective::Source;
use gft_rollout::{
    Composition, Ended, Error, Group, LongDemonstrations, OwnOptions, Rollout, demonstrations, sample,
};

struct World {
    policy: Policy<Cpu>,
    encoder: Encoder,
    rows: Dataset,
}

fn world(root: &Path, limit: usize) -> World {
    let dir = model::gsm8k_model(root);
    let options = EncodeOptions { max_completion_tokens: Some(limit), ..EncodeOptions::default() };
    World {
        policy: ModelFolder::open(&dir).unwrap().load(Cpu::new()).unwrap(),
        encoder: Encoder::new(Arc::new(Tokenizer::load(&dir).unwrap()), options).unwrap(),
        rows: Dataset::open(&[model::gsm8k()], &ReadOptions::default()).unwrap(),
    }
}

impl World {
    /// Own rollouts of row 0 at `position`, beside `company` further groups.
    fn own(&self, seed: u64, step: u64, position: u64, company: u64) -> Vec<Rollout> {
        let group = |position: u64, index: u64| {
            let row = self.rows.row(index).unwrap();
            let prompt = self.encoder.prompt(&row).unwrap().kept().unwrap().ids;
            Group { position, index, row, prompt, rollouts: Vec::new() }
        };
        let mut groups: Vec<Group> = (1..=company).map(|k| group(position + k, k)).collect();
        groups.push(group(position, 0));
        let options = OwnOptions {
            samples: 2,
            sampling: Sampling::default(),
            max_new_tokens: 12,
            max_batch: 3,
            seed,
            step,
            policy_version: 9,
        };
        sample(&self.policy, &self.encoder, &options, &mut groups, &|| false).unwrap();
        groups.pop().unwrap().rollouts
    }

    fn demonstrations(
        &self,
        composition: Composition,
        index: u64,
        epoch: u64,
        long: LongDemonstrations,
    ) -> (Vec<Rollout>, usize) {
        let row = self.rows.row(0).unwrap();
        match demonstrations(&self.encoder, &row, composition, index, epoch, long).unwrap() {
            Encode::Kept(found) => (found.rollouts, found.lost.too_long),
            Encode::PromptTooLong { .. } => panic!("the prompt has no limit here"),
        }
    }
}

#[test]
fn own_rollouts_are_keyed() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), 512);
    let base = world.own(1, 2, 3, 0);
    assert_eq!(base.len(), 2);
    assert!(base[0].tokens != base[1].tokens, "samples share a stream");
    assert!(base.iter().all(|own| own.source == Source::Policy && own.policy_version == 9));
    assert!(base.iter().all(|own| own.logprobs.as_ref().unwrap().len() == own.tokens.len()));
    assert_eq!(world.own(1, 2, 3, 0), base, "not a function of its key");
    assert_eq!(world.own(1, 2, 3, 4), base, "depends on its company");
    for (seed, step, position) in [(7, 2, 3), (1, 7, 3), (1, 2, 7)] {
        assert!(world.own(seed, step, position, 0)[0].tokens != base[0].tokens, "{seed} {step} {position}");
    }
}

#[test]
fn a_stop_discards_what_was_sampled() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), 512);
    let row = world.rows.row(0).unwrap();
    let prompt = world.encoder.prompt(&row).unwrap().kept().unwrap().ids;
    let mut groups = vec![Group { position: 0, index: 0, row, prompt, rollouts: Vec::new() }];
    let options = OwnOptions {
        samples: 2,
        sampling: Sampling::default(),
        max_new_tokens: 100,
        max_batch: 2,
        seed: 0,
        step: 0,
        policy_version: 0,
    };
    let stopped = sample(&world.policy, &world.encoder, &options, &mut groups, &|| true);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(groups[0].rollouts.is_empty());
}

#[test]
fn epochs_go_round_among_teachers() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), 2000);
    let three = Composition { experts: 1, teachers: 3, own: 0 };
    let of_row = |index, epoch| -> Vec<Option<String>> {
        let (rollouts, lost) = world.demonstrations(three, index, epoch, LongDemonstrations::Drop);
        assert_eq!(lost, 0);
        assert_eq!(rollouts[0].source, Source::Expert);
        rollouts[1..].iter().map(|rollout| rollout.author.clone()).collect()
    };
    let authors = |epoch| of_row(0, epoch);
    let first = authors(0);
    assert_eq!(first.len(), 3);
    // Four teachers, three a time: the second epoch begins with the fourth.
    assert!(!first.contains(&authors(1)[0]), "{first:?} {:?}", authors(1));
    assert_eq!(authors(4), first);
    // Within an epoch the rows begin at every place, so that no teacher is left out of it.
    let begin: std::collections::HashSet<_> = (0..4).map(|index| of_row(index, 0)[0].clone()).collect();
    assert_eq!(begin.len(), 4, "{begin:?}");
}

#[test]
fn long_demonstrations_are_dropped_or_cut_as_told() {
    let root = tempfile::tempdir().unwrap();
    let world = world(root.path(), 10);
    let one = Composition { experts: 1, ..Composition::default() };
    let (rollouts, lost) = world.demonstrations(one, 0, 0, LongDemonstrations::Drop);
    assert_eq!((rollouts.len(), lost), (0, 1));
    let (rollouts, lost) = world.demonstrations(one, 0, 0, LongDemonstrations::KeepStart);
    assert_eq!((rollouts.len(), lost), (1, 0));
    assert_eq!((rollouts[0].tokens.len(), rollouts[0].ended), (10, Ended::Truncated));
    assert!(
        rollouts[0].text.lines().last().unwrap().starts_with("A: "),
        "it is graded whole: {}",
        rollouts[0].text
    );
}
