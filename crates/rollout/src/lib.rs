//! Groups of completions: expert and teachers read from the row, the policy's own sampled.
//!
//! A group is one prompt with its rollouts. Demonstrations come with the data ([`demonstrations`]); own rollouts are
//! drawn by the policy ([`sample`]) from random streams keyed by (seed, step, place in the order, sample), so that a
//! group is a function of those four numbers and the weights, and of no clock and no global generator.

mod demonstrations;
mod group;
mod own;
pub mod teacher;

pub use demonstrations::{Demonstrations, LongDemonstrations, Lost, demonstrations};
pub use group::{Composition, Ended, Group, Rollout};
pub use own::{OwnOptions, sample};

/// What can go wrong on the way to a group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row that cannot be encoded, or tokens that cannot be decoded.
    #[error(transparent)]
    Data(#[from] gft_data::DataError),
    /// The engine refused to generate.
    #[error(transparent)]
    Model(#[from] gft_model::ModelError),
    /// The caller asked to stop while completions were being drawn; they are discarded.
    #[error("interrupted while sampling")]
    Interrupted,
}
