//! Everything that can be wrong with the numbers a caller hands in, each with the place and the value.

/// Why an objective could not be computed. Nothing here is ever turned into a zero on the way.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A reward is NaN, infinite or beyond [`crate::MAX_REWARD`].
    #[error(
        "reward {value} of row {row} in group {group} is not a usable number; \
         a row that could not be graded must be given as unscorable (None), not as a number"
    )]
    Reward {
        /// Index of the group in the slice that was given.
        group: usize,
        /// Index of the row within its group.
        row: usize,
        /// The offending reward.
        value: f64,
    },
    /// An advantage is NaN or infinite.
    #[error("advantage {value} is not finite")]
    Advantage {
        /// The offending advantage.
        value: f64,
    },
    /// A log-probability of a token that counts is NaN or above zero.
    #[error("{name}[{token}] = {value} is not a log-probability (expected a number <= 0, -inf allowed)")]
    Logprob {
        /// `logprobs`, `old_logprobs` or `ref_logprobs`.
        name: &'static str,
        /// Index of the token in the slice.
        token: usize,
        /// The offending value.
        value: f64,
    },
    /// Another per-token statistic (entropy, KL) of a token that counts is not finite.
    #[error("{name}[{token}] = {value} is not finite")]
    Statistic {
        /// `entropy` or `reference_kl`.
        name: &'static str,
        /// Index of the token in the slice.
        token: usize,
        /// The offending value.
        value: f64,
    },
    /// Two slices that describe the same tokens or rows differ in length.
    #[error("{what} has {found} entries, expected {expected}")]
    Length {
        /// The slice that is too long or too short.
        what: &'static str,
        /// The length of the slice it must match.
        expected: usize,
        /// Its own length.
        found: usize,
    },
    /// The method needs an input that was not given.
    #[error("{rule} needs {what}, which were not given")]
    Missing {
        /// The rule or term that needs it.
        rule: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// A row's source takes no part in the method.
    #[error("the method `{method}` has no treatment for {source_name} rows")]
    SourceNotUsed {
        /// Name of the method.
        method: &'static str,
        /// The source of the row.
        source_name: &'static str,
    },
    /// A normaliser that divides by the maximum length was used without one.
    #[error("the normaliser `{normaliser}` divides by the maximum completion length, which was not given")]
    MaxLength {
        /// Name of the normaliser.
        normaliser: &'static str,
    },
    /// The denominator of a token is not a positive finite number.
    #[error("the denominator {value} is not a positive finite number")]
    Denominator {
        /// The offending value.
        value: f64,
    },
    /// The seed of a token does not fit into an `f32`.
    #[error("the gradient of token {token} is {value}: advantage, ratio or KL are too large for an f32")]
    Seed {
        /// Index of the token in the slice.
        token: usize,
        /// The offending seed.
        value: f32,
    },
    /// A parameter of a method lies outside its range.
    #[error("{name} = {value} is out of range: expected {expected}")]
    Parameter {
        /// Name of the parameter as the papers write it.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range in words.
        expected: &'static str,
    },
    /// A name that is not known.
    #[error("unknown {what} `{given}`; known: {known}")]
    Unknown {
        /// What was being named.
        what: &'static str,
        /// What was given.
        given: String,
        /// The names that exist.
        known: String,
    },
    /// An error of one row, with its place in the step.
    #[error("group {group}, row {row}: {error}")]
    Row {
        /// Index of the group.
        group: usize,
        /// Index of the row within the group.
        row: usize,
        /// What was wrong.
        #[source]
        error: Box<Error>,
    },
}

/// Checks that a parameter is finite and within `[low, high]`.
pub(crate) fn in_range(
    name: &'static str,
    value: f64,
    low: f64,
    high: f64,
    expected: &'static str,
) -> Result<(), Error> {
    if value >= low && value <= high { Ok(()) } else { Err(Error::Parameter { name, value, expected }) }
}

/// Checks that `found` equals `expected`.
pub(crate) fn same_length(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}
