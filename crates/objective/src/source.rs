//! Where a row comes from, and one value per origin.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::str::FromStr;

use crate::Error;

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

    /// The name used in files and metrics: `expert`, `teacher`, `policy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Expert => "expert",
            Source::Teacher => "teacher",
            Source::Policy => "policy",
        }
    }

    /// True for rows the policy did not write itself (expert and teacher).
    pub fn is_demonstration(self) -> bool {
        self != Source::Policy
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = Error;

    /// Reads `expert`, `teacher`, `policy`; `self` is an alias of `policy`.
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "expert" => Ok(Source::Expert),
            "teacher" => Ok(Source::Teacher),
            "policy" | "self" => Ok(Source::Policy),
            _ => Err(Error::Unknown {
                what: "source",
                given: name.to_owned(),
                known: "expert, teacher, policy".to_owned(),
            }),
        }
    }
}

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
    fn names_round_trip() {
        for source in Source::ALL {
            assert_eq!(source.as_str().parse(), Ok(source));
        }
        assert_eq!("self".parse(), Ok(Source::Policy));
        assert!("student".parse::<Source>().is_err());
    }

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
