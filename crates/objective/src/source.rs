//! Where a row comes from, and one value per origin.

use std::ops::{Index, IndexMut};

use crate::names::names;

/// Origin of a completion within its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The reference solution of the data row.
    Expert,
    /// A completion of another, usually larger model.
    Teacher,
    /// A completion sampled from the policy under training.
    Policy,
}

impl Source {
    /// The three sources, in the order of the fields of [`BySource`].
    pub const ALL: [Source; 3] = [Source::Expert, Source::Teacher, Source::Policy];

    /// True for rows the policy did not write itself (expert and teacher).
    pub fn is_demonstration(self) -> bool {
        self != Source::Policy
    }
}

names!(Source, "source", {
    Expert = "expert",
    Teacher = "teacher",
    Policy = "policy" | "self",
});

/// One value for each [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BySource<T> {
    /// Value for expert rows.
    pub expert: T,
    /// Value for teacher rows.
    pub teacher: T,
    /// Value for the policy's own rows.
    pub policy: T,
}

impl<T> BySource<T> {
    /// Builds the three values from a function of the source.
    pub fn from_fn(mut value: impl FnMut(Source) -> T) -> Self {
        BySource {
            expert: value(Source::Expert),
            teacher: value(Source::Teacher),
            policy: value(Source::Policy),
        }
    }

    /// The three values with their sources.
    pub fn iter(&self) -> impl Iterator<Item = (Source, &T)> {
        Source::ALL.into_iter().map(|source| (source, &self[source]))
    }
}

impl<T> Index<Source> for BySource<T> {
    type Output = T;

    fn index(&self, source: Source) -> &T {
        match source {
            Source::Expert => &self.expert,
            Source::Teacher => &self.teacher,
            Source::Policy => &self.policy,
        }
    }
}

impl<T> IndexMut<Source> for BySource<T> {
    fn index_mut(&mut self, source: Source) -> &mut T {
        match source {
            Source::Expert => &mut self.expert,
            Source::Teacher => &mut self.teacher,
            Source::Policy => &mut self.policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own_place() {
        let mut names = BySource::from_fn(Source::as_str);
        for (source, name) in names.iter() {
            assert_eq!(source.as_str(), *name);
        }
        names[Source::Teacher] = "other";
        assert_eq!((names.expert, names.teacher, names.policy), ("expert", "other", "policy"));
    }
}
