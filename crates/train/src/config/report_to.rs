//! Where the numbers of a run go beside metrics.jsonl, by the names of other trainers.

use super::settings::Settings;
use crate::error::ConfigError;

/// Where the numbers of a run go beside metrics.jsonl and the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportTo {
    /// Nowhere.
    Nothing,
    /// Event files in the run's folder.
    TensorBoard,
}

/// Reads `report_to`. verl's `console` is always there, so naming it changes nothing.
///
/// # Errors
/// [`ConfigError::Contradiction`] for a name that is not known.
pub(crate) fn report_to(settings: &Settings) -> Result<ReportTo, ConfigError> {
    let mut found = ReportTo::Nothing;
    for name in &settings.report_to {
        match name.as_str() {
            "none" | "console" => {}
            "tensorboard" | "all" => found = ReportTo::TensorBoard,
            _ => {
                return Err(ConfigError::Contradiction(format!(
                    "unknown report_to `{name}`; known: tensorboard, none. metrics.jsonl is always written, and other \
                     trackers import TensorBoard's event files"
                )));
            }
        }
    }
    Ok(found)
}
