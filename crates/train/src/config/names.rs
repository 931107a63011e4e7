//! From a name to a setting: by its own name, another trainer's, or the nearest; and what is said of names of other
//! trainers that no setting has.

use super::foreign::instead_of;
use super::settings::KEYS;
use super::value::Key;
use crate::error::ConfigError;

/// The setting called `name`, by its own name or an alias; `-` and `_` are the same.
///
/// # Errors
/// [`ConfigError::Foreign`] for what other trainers call a setting and this one has not, else [`ConfigError::Unknown`] with
/// the nearest known name.
pub fn find_key(name: &str) -> Result<&'static Key, ConfigError> {
    let wanted = name.replace('-', "_");
    let is = |key: &&Key| key.name == wanted || key.aliases.contains(&wanted.as_str());
    KEYS.iter().find(is).ok_or_else(|| match instead_of(&wanted) {
        Some(instead) => ConfigError::Foreign { name: name.into(), instead },
        None => ConfigError::Unknown { name: name.into(), nearest: nearest(&wanted) },
    })
}

/// The known name that is most like `name`, if any is close.
fn nearest(name: &str) -> Option<&'static str> {
    let names = KEYS.iter().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()));
    let scored = names.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}
