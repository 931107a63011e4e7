//! JSON over HTTP and HTTPS: time limits, retries with backoff, `Retry-After`, and what kind of failure it was.
//!
//! Rewards from servers and teachers behind endpoints ask in the same way: a body of JSON is posted, and what comes back
//! within a time limit is either the bytes of an answer or a [`Trouble`] that says whether asking again can help and
//! whether the server may have done (and charged) the work. Nothing here knows what is asked.

mod client;
mod retry;

pub use client::{Client, Reply, quoted};
pub use retry::{Retry, Tried};

use std::time::Duration;

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Trouble {
    /// In words, with the beginning of what the server said.
    pub why: String,
    /// What kind of failure it was.
    pub kind: Kind,
    /// How long the server asks to wait before the next try.
    pub retry_after: Option<Duration>,
}

/// Kinds of failures, by what can be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection was made: the server has done nothing.
    Unreachable,
    /// The connection broke before the answer was whole, or the answer makes no sense: the server may have done the work.
    Broken,
    /// No whole answer within the time limit: the server may have done the work.
    Slow,
    /// The server said to come back later: 408, 425, 429, 5xx.
    Busy,
    /// The server refused the request with this status: the same request will be refused again.
    Refused(u16),
}

impl Trouble {
    /// Whether the same request may succeed later.
    pub fn again(&self) -> bool {
        !matches!(self.kind, Kind::Refused(_))
    }

    /// Whether the server may have done the work although nothing of it arrived.
    pub fn may_be_charged(&self) -> bool {
        matches!(self.kind, Kind::Broken | Kind::Slow)
    }
}
