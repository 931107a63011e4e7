//! Experiments on the small world: one [`Probe`] measures every model in the same way, a [`Table`] lists what to run,
//! and [`Results`] keeps one line per finished run, so that a study can be stopped and continued at any place.

mod chart;
mod error;
mod figure;
mod measure;
mod report;
mod results;
mod run;
mod table;

pub use chart::figures;
pub use error::{Error, Result};
pub use figure::{Axis, Figure, Scale, Series};
pub use measure::{Interval, Measured, Probe, ProbeOptions};
pub use report::report;
pub use results::{Outcome, Results};
pub use run::{Heard, Point, Trained, train};
pub use table::{Experiment, Job, Table};
