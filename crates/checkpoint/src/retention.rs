//! Which checkpoints are kept.

use crate::{CheckpointError, Result};
use std::collections::BTreeSet;

/// Which checkpoints survive a save. A checkpoint is kept if any rule wants it; the one just saved always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// The highest so many steps (at least 1). `None`: nothing is ever deleted.
    pub keep_last: Option<usize>,
    /// Every step that is a multiple of this (at least 1), in addition.
    pub keep_every: Option<u64>,
    /// The step of the best checkpoint so far, in addition; [`crate::Checkpoints::set_best`] moves it.
    pub keep_best: Option<u64>,
}

impl RetentionPolicy {
    /// # Errors
    /// [`CheckpointError::Policy`] for a zero.
    pub(crate) fn check(&self) -> Result<()> {
        let zero = match (self.keep_last, self.keep_every) {
            (Some(0), _) => {
                "keep_last is 0: the newest checkpoint cannot be deleted; use 1 or more, or none to keep all"
            }
            (_, Some(0)) => "keep_every is 0: use the distance in steps between checkpoints to keep, or none",
            _ => return Ok(()),
        };
        Err(CheckpointError::Policy(zero.to_owned()))
    }

    /// Of the finished checkpoints `steps`, those to delete after `saved`, lowest first.
    ///
    /// Steps above `saved` are of a run that went further before it was resumed from an earlier checkpoint: they neither
    /// count nor are deleted.
    pub(crate) fn superfluous(&self, steps: &BTreeSet<u64>, saved: u64, best: Option<u64>) -> Vec<u64> {
        let Some(keep_last) = self.keep_last else { return Vec::new() };
        let mut old: Vec<u64> = steps.range(..saved).copied().collect();
        old.truncate((old.len() + 1).saturating_sub(keep_last.max(1)));
        old.retain(|&step| {
            let milestone = self.keep_every.is_some_and(|every| step.checked_rem(every) == Some(0));
            !milestone && best != Some(step)
        });
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_add_up() {
        let steps: BTreeSet<u64> = (0..=10).map(|k| k * 10).collect();
        let policy = |keep_last, keep_every| RetentionPolicy { keep_last, keep_every, keep_best: None };
        let deleted = |p: RetentionPolicy, saved, best| p.superfluous(&steps, saved, best);
        assert_eq!(deleted(policy(None, None), 100, None), [] as [u64; 0]);
        assert_eq!(deleted(policy(Some(11), None), 100, None), [] as [u64; 0]);
        assert_eq!(deleted(policy(Some(10), None), 100, None), [0]);
        assert_eq!(deleted(policy(Some(1), None), 100, None), (0..10).map(|k| k * 10).collect::<Vec<_>>());
        assert_eq!(deleted(policy(Some(2), Some(30)), 100, Some(50)), [10, 20, 40, 70, 80]);
        // 60 was saved after a resume from 50: 70 to 100 are another future's.
        assert_eq!(deleted(policy(Some(2), None), 60, None), [0, 10, 20, 30, 40]);
        assert_eq!(deleted(policy(Some(1), None), 5, None), [0]);
    }

    #[test]
    fn zeros_are_refused() {
        let ok = RetentionPolicy { keep_last: Some(1), keep_every: Some(1), keep_best: Some(0) };
        assert!(ok.check().is_ok());
        assert!(RetentionPolicy { keep_last: Some(0), ..ok }.check().is_err());
        assert!(RetentionPolicy { keep_every: Some(0), ..ok }.check().is_err());
    }
}
