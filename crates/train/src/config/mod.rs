//! The configuration of a run: one TOML file and flags, every value with the place that it comes from.
//!
//! Layers, the later over the earlier: defaults, the method's own, the file, its stage, flags. Unknown names are
//! errors with the nearest known one, or with what there is instead of another trainer's.

mod decided;
mod file;
mod foreign;
mod method;
mod names;
mod presets;
mod report_to;
mod resolve;
mod settings;
mod value;

pub(crate) use decided::decided;
pub use file::{ConfigFile, Section, Values};
pub use method::{build_method, build_objective};
pub(crate) use method::{composition, uses_groups, uses_rewards};
pub use names::find_key;
pub(crate) use report_to::{ReportTo, report_to};
pub(crate) use resolve::decides;
pub use resolve::{Origin, Resolved, Stage, flag_values, load, resolve};
pub use settings::{KEYS, RUN_KEYS, Settings};
pub use value::{Key, list_of_paths};
