//! The training step and its loop.
//!
//! [`step`](Trainer::step) is the whole method, top to bottom; [`train`] is the loop around it. Settings come from
//! [`config`], what a stage works with is put together in `setup`, and what happened is a [`Metrics`] line.

mod adapters;
mod checks;
mod collect;
pub mod config;
mod console;
mod device_memory;
mod disk;
mod error;
mod evaluate;
mod files;
mod health;
mod log;
mod memory;
mod metrics;
mod optimizer_file;
mod passes;
mod plan;
mod report;
mod resume;
mod rewards;
mod rows;
mod run;
mod save;
pub mod setup;
mod spread;
mod stages;
mod state;
mod step;
mod tokens;
mod trainer;
mod trainer_state;
mod watch;

pub use console::Console;
pub use device_memory::DevicePlan;
pub use error::{ConfigError, Error, Result};
pub use evaluate::{Evaluated, evaluate};
pub use memory::peak_bytes;
pub use metrics::{EvalMetrics, Metrics, Place, Times};
pub use plan::{Plan, PlannedStage, plan};
pub use report::{CompletionLine, GroupReport, Phase, RolloutReport, StepReport, UpdateReport};
pub use resume::Begin;
pub use rows::{Needs, Rows, Survey};
pub use run::train;
pub use spread::Spread;
pub use state::{GuardState, OrderState, RunState, Totals, continued_prompts};
pub use tokens::{Histograms, TargetToken};
pub use trainer::{RejectedExpert, Trainer};
pub use watch::{Finished, StageInfo, StepEnd, Watch};
