//! The statistics of an evaluation as pure functions: estimates per problem, and intervals over problems.
//!
//! A problem is the unit that is drawn at random: samples of one problem are not independent of each other, so every
//! interval here resamples problems and never samples.

mod bootstrap;
mod majority;
mod paired;
mod pass;

pub use bootstrap::{Bootstrap, Estimate, standard_error};
pub use majority::{Votes, majority_at_k};
pub use paired::{Paired, paired};
pub use pass::pass_at_k;
