//! Experiments on the small world: one [`Probe`] measures every model in the same way, a [`Table`] lists what to run,
//! and [`Results`] keeps one line per finished run, so that a study can be stopped and continued at any place.

mod error;
mod measure;
mod report;
mod results;
mod run;
mod table;

pub use error::{Error, Result};
pub use measure::{Interval, Measured, Probe, ProbeOptions};
pub use report::report;
pub use results::{Outcome, Results};
pub use run::{Heard, Trained, train};
pub use table::{Experiment, Job, Table};
