//! Conventions of grading that are not mathematics: each can be allowed or refused.

/// A convention that a verdict can rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Convention {
    /// A unit, or a counted thing, stands on one side only: `5 cm` and `5`.
    UnitOmitted,
    /// A percent sign stands on one side only and the numbers are the same: `50\%` and `50`.
    PercentOmitted,
    /// A degree sign stands on one side only and the numbers are the same.
    DegreesOmitted,
    /// The base stands on one side only and the digits are the same: `1011_2` and `1011`.
    BaseOmitted,
    /// A name stands on one side only, or the names differ in form: `x = 5` and `5`.
    LabelOmitted,
    /// A decimal is the rounded value of the other side.
    DecimalRounded,
    /// Lists of answers in different order.
    ListOrder,
    /// A set in braces and a bare list.
    SetAsList,
    /// A tuple in brackets and a bare list in the same order.
    TupleAsList,
    /// An interval and the inequality that describes it.
    IntervalAsInequality,
    /// A set of one and its element.
    SingletonAsElement,
    /// A column or row vector and a tuple.
    VectorAsTuple,
    /// Text in different case.
    TextCase,
    /// A choice letter with and without what the choice says.
    ChoiceContent,
    /// A ratio and its quotient.
    RatioAsQuotient,
    /// A time of day with and without a.m. or p.m.
    MeridiemOmitted,
}

/// Which conventions a comparison may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    allowed: u32,
    /// Least number of decimal places that a decimal needs to stand for a value that it only rounds; it also needs
    /// almost as many significant digits.
    pub decimal_places: u32,
    /// Work units that one comparison may spend; one unit is at most about eighty nanoseconds.
    pub work: u32,
}

impl Policy {
    /// Work units of the presets: at most about five milliseconds.
    pub const WORK: u32 = 64_000;

    /// Mathematical identity only, and the same form where form is meaning.
    pub fn strict() -> Policy {
        Policy { allowed: 0, decimal_places: 6, work: Policy::WORK }
    }

    /// What graders of competition answers accept.
    pub fn lenient() -> Policy {
        Policy { allowed: u32::MAX, decimal_places: 6, work: Policy::WORK }
    }

    /// The same policy with another allowance of work units.
    pub fn with_work(mut self, work: u32) -> Policy {
        self.work = work;
        self
    }

    /// The same policy with one convention allowed.
    pub fn with(mut self, convention: Convention) -> Policy {
        self.allowed |= 1 << convention as u32;
        self
    }

    /// The same policy with one convention refused.
    pub fn without(mut self, convention: Convention) -> Policy {
        self.allowed &= !(1 << convention as u32);
        self
    }

    /// Whether a convention is allowed.
    pub fn allows(&self, convention: Convention) -> bool {
        self.allowed & (1 << convention as u32) != 0
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::lenient()
    }
}

/// A set of conventions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conventions(pub(crate) u32);

impl Conventions {
    const ALL: [Convention; 16] = [
        Convention::UnitOmitted,
        Convention::PercentOmitted,
        Convention::DegreesOmitted,
        Convention::BaseOmitted,
        Convention::LabelOmitted,
        Convention::DecimalRounded,
        Convention::ListOrder,
        Convention::SetAsList,
        Convention::TupleAsList,
        Convention::IntervalAsInequality,
        Convention::SingletonAsElement,
        Convention::VectorAsTuple,
        Convention::TextCase,
        Convention::ChoiceContent,
        Convention::RatioAsQuotient,
        Convention::MeridiemOmitted,
    ];

    pub(crate) fn insert(&mut self, convention: Convention) {
        self.0 |= 1 << convention as u32;
    }

    /// The conventions in the set.
    pub fn iter(self) -> impl Iterator<Item = Convention> {
        Conventions::ALL.into_iter().filter(move |c| self.0 & (1 << *c as u32) != 0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
