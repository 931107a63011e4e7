//! Evaluation: benchmarks and data files, graded samples, and the statistics that a careful reader believes.
//!
//! The flow is [`Task`] (a file as problems) → [`Style`] (how a problem is put to the model) → [`Run`] (completions,
//! graded as they end) → [`Record`] (one line per problem, kept in a [`Store`] that a killed evaluation continues) →
//! [`Summary`] (estimates with intervals over problems) → the [`harness`] layout for other tools.

mod drift;
mod error;
mod grade;
pub mod groups;
pub mod harness;
mod letters;
mod record;
mod run;
pub mod stats;
mod store;
mod style;
mod summary;
mod task;

pub use drift::{Drift, DriftOptions, drift};
pub use error::{Error, Result};
pub use grade::{Grader, Verdict};
pub use record::{Finish, Record, Sample};
pub use run::{Item, Run, RunOptions, Watch};
pub use store::Store;
pub use style::{Shot, Style, Styled};
pub use summary::{Lengths, Summary, compare, votes};
pub use task::{BENCHMARKS, Problem, Task};
