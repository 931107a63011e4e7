//! The TOML file: nested tables become dotted names, `[[stages]]` become stages, unknown names are errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::settings::KEYS;
use super::value::Key;
use crate::error::ConfigError;

/// Values by setting.
pub type Values = BTreeMap<&'static str, Value>;

/// A configuration file: what it says for the run and for each stage.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Values outside of any stage.
    pub run: Values,
    /// Values of each `[[stages]]`, in order.
    pub stages: Vec<Values>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML, or has a name that is not known.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, path)
    }

    /// Reads a file's text; `path` is named in errors.
    ///
    /// # Errors
    /// As [`ConfigFile::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |message: String| ConfigError::Syntax { path: path.to_path_buf(), message };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| syntax(error.to_string()))?;
        let mut file = ConfigFile { path: path.to_path_buf(), ..Self::default() };
        let mut run = toml::Table::new();
        for (name, value) in table {
            match (name.as_str(), value) {
                ("stages", toml::Value::Array(stages)) => {
                    for stage in stages {
                        let toml::Value::Table(stage) = stage else {
                            return Err(syntax("`stages` must be tables: [[stages]]".into()));
                        };
                        file.stages.push(values(stage, path)?);
                    }
                }
                ("stages", _) => return Err(syntax("`stages` must be tables: [[stages]]".into())),
                (_, value) => {
                    run.insert(name, value);
                }
            }
        }
        file.run = values(run, path)?;
        Ok(file)
    }
}

/// The setting called `name`, by its own name or an alias; `-` and `_` are the same.
///
/// # Errors
/// [`ConfigError::Unknown`] with the nearest known name.
pub fn find_key(name: &str) -> Result<&'static Key, ConfigError> {
    let wanted = name.replace('-', "_");
    let is = |key: &&Key| key.name == wanted || key.aliases.contains(&wanted.as_str());
    KEYS.iter().find(is).ok_or_else(|| ConfigError::Unknown { name: name.into(), nearest: nearest(&wanted) })
}

/// The known name that is most like `name`, if any is close.
fn nearest(name: &str) -> Option<&'static str> {
    let names = KEYS.iter().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()));
    let scored = names.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

fn values(table: toml::Table, path: &Path) -> Result<Values, ConfigError> {
    let mut flat = Vec::new();
    flatten("", table, &mut flat);
    let mut values = Values::new();
    for (name, value) in flat {
        let key = find_key(&name)?;
        let value = json(value).ok_or_else(|| ConfigError::Value {
            key: key.name,
            value: "a date or a table".into(),
            expected: key.kind,
        })?;
        match values.insert(key.name, value.clone()) {
            Some(before) if before != value => {
                return Err(ConfigError::Twice {
                    path: path.to_path_buf(),
                    key: key.name,
                    alias: name,
                    values: format!("{before} and {value}"),
                });
            }
            _ => {}
        }
    }
    Ok(values)
}

fn flatten(prefix: &str, table: toml::Table, out: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let full = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(roles) if full == COLUMNS => out.push((full, pairs(roles))),
            toml::Value::Table(inner) => flatten(&full, inner, out),
            value => out.push((full, value)),
        }
    }
}

/// The setting that may be written as a table, from a role to a column.
const COLUMNS: &str = "columns";

/// A column map written as a table, as the list of `role=column` that the flag takes. What is no text stays a table and
/// is refused as a value of the wrong type.
fn pairs(roles: toml::Table) -> toml::Value {
    let pair = |(role, name): (&String, &toml::Value)| Some(format!("{role}={}", name.as_str()?).into());
    match roles.iter().map(pair).collect::<Option<Vec<toml::Value>>>() {
        Some(pairs) => toml::Value::Array(pairs),
        None => toml::Value::Table(roles),
    }
}

fn json(value: toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(value) => Value::from(value),
        toml::Value::Array(list) => list.into_iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}
