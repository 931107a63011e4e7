//! The TOML file: nested tables become dotted names, `[[stages]]` become stages. All mistakes of a file are said at once,
//! each with its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::names::find_key;
use super::settings::RUN_KEYS;
use crate::error::{ConfigError, Fault};

/// Values by setting.
pub type Values = BTreeMap<&'static str, Value>;

/// What a configuration file says for the run or for one stage.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// The values.
    pub values: Values,
    /// The line that each stands in, from 1; none for values that are of no file.
    pub lines: BTreeMap<&'static str, usize>,
}

impl From<Values> for Section {
    fn from(values: Values) -> Self {
        Section { values, lines: BTreeMap::new() }
    }
}

/// A configuration file: what it says for the run and for each stage.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// What stands outside of any stage.
    pub run: Section,
    /// What stands in each `[[stages]]`, in order.
    pub stages: Vec<Section>,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read; [`ConfigError::Faults`] with all that is wrong in it: what is not TOML, or else names
    /// that are not known, values of the wrong type, settings given twice and settings in a stage that belong to the run.
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
        let mut reader = Reader { text, faults: Vec::new() };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let at = text.get(span.clone()).filter(|at| !at.trim().is_empty() && !at.contains('\n'));
            let at = at.map_or(String::new(), |at| format!(": `{at}`"));
            reader.fault(span.start, format!("{}{at}", error.message()));
        }
        let mut file = ConfigFile { path: path.to_path_buf(), ..Self::default() };
        // What is left of a text that is no TOML would be blamed for what is not in it.
        if reader.faults.is_empty() {
            let mut run = DeTable::new();
            for (name, value) in table.into_inner() {
                if name.get_ref() == "stages" {
                    file.stages = reader.stages(value);
                } else {
                    run.insert(name, value);
                }
            }
            file.run = reader.section(run);
        }
        if reader.faults.is_empty() {
            return Ok(file);
        }
        reader.faults.sort_by_key(|fault| fault.line);
        Err(ConfigError::Faults { path: path.to_path_buf(), faults: reader.faults })
    }
}

/// A setting as it is written: where it begins, its dotted name, its value.
type Entry<'a> = (usize, String, Spanned<DeValue<'a>>);

/// Reads tables and collects what is wrong with them.
struct Reader<'a> {
    text: &'a str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    /// The line, from 1, of a byte of the text.
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    fn fault(&mut self, at: usize, message: String) {
        let line = self.line(at);
        self.faults.push(Fault { line, message });
    }

    fn stages(&mut self, value: Spanned<DeValue<'_>>) -> Vec<Section> {
        let at = value.span().start;
        let DeValue::Array(stages) = value.into_inner() else {
            self.fault(at, "`stages` must be tables: [[stages]]".into());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for stage in stages {
            let at = stage.span().start;
            let DeValue::Table(table) = stage.into_inner() else {
                self.fault(at, "`stages` must be tables: [[stages]]".into());
                continue;
            };
            let section = self.section(table);
            for (&key, &line) in section.lines.iter().filter(|(key, _)| RUN_KEYS.contains(key)) {
                let message = ConfigError::BelongsToTheRun { key }.to_string();
                self.faults.push(Fault { line, message });
            }
            sections.push(section);
        }
        sections
    }

    /// The settings of a table, without those that are faulty.
    fn section(&mut self, table: DeTable<'_>) -> Section {
        let mut entries = Vec::new();
        flatten("", table, &mut entries);
        // So that of a setting given twice the second one is at fault.
        entries.sort_by_key(|(at, ..)| *at);
        let mut section = Section::default();
        for (at, name, value) in entries {
            match self.entry(&section, at, &name, value) {
                Ok((key, value)) => {
                    section.lines.entry(key).or_insert_with(|| self.line(at));
                    section.values.insert(key, value);
                }
                Err(message) => self.fault(at, message),
            }
        }
        section
    }

    /// One setting, or what is wrong with it beside those before it.
    fn entry(
        &self,
        before: &Section,
        at: usize,
        name: &str,
        value: Spanned<DeValue<'_>>,
    ) -> Result<(&'static str, Value), String> {
        let key = find_key(name).map_err(|error| error.to_string())?;
        let written = self.text.get(value.span()).unwrap_or_default().to_owned();
        let wrong = || ConfigError::Value { key: key.name, value: written.clone(), expected: key.kind };
        let read = toml::Value::deserialize(ValueDeserializer::from(value)).ok();
        let value = read.and_then(|value| json(if key.name == COLUMNS { pairs(value) } else { value }));
        let value = value.filter(key.reads).ok_or_else(|| wrong().to_string())?;
        match before.values.get(key.name) {
            Some(other) if *other != value => {
                let (first, here) = (before.lines[key.name], self.line(at));
                Err(format!(
                    "`{}` is given twice: {other} in line {first}, {value} in line {here} as `{name}`",
                    key.name
                ))
            }
            _ => Ok((key.name, value)),
        }
    }
}

fn flatten<'a>(prefix: &str, table: DeTable<'a>, out: &mut Vec<Entry<'a>>) {
    for (name, value) in table {
        let at = name.span().start;
        let name = name.into_inner();
        let full = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") };
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(inner) if full != COLUMNS => flatten(&full, inner, out),
            value => out.push((at, full, Spanned::new(span, value))),
        }
    }
}

/// The setting that may be written as a table, from a role to a column.
const COLUMNS: &str = "columns";

/// A column map written as a table, as the list of `role=column` that the flag takes. What is no text stays a table and
/// is refused as a value of the wrong type.
fn pairs(value: toml::Value) -> toml::Value {
    let toml::Value::Table(roles) = value else { return value };
    let pair = |(role, name): (&String, &toml::Value)| Some(format!("{role}={}", name.as_str()?).into());
    match roles.iter().map(pair).collect::<Option<Vec<toml::Value>>>() {
        Some(pairs) => toml::Value::Array(pairs),
        None => toml::Value::Table(roles),
    }
}

/// `None` for what no setting takes: a date or a table.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> String {
        ConfigFile::parse(text, Path::new("run.toml")).unwrap_err().to_string()
    }

    #[test]
    fn all_mistakes_are_said_with_their_lines() {
        let text = "\
learning_rat = 1e-4   # no such setting
max_steps = \"many\"
bf16 = true

[actor_rollout_ref.actor]
clip_rato = 0.2

[[stages]]
method = \"sft\"
seed = 3
warmup_steps = 2026-01-01
";
        let expected = [
            "run.toml: 6 mistakes",
            "run.toml:1: unknown setting `learning_rat`; did you mean `learning_rate`?",
            "run.toml:2: `max_steps` = \"many\" is not a whole number, -1 for none",
            "run.toml:3: `bf16` is no setting of gft: ",
            "run.toml:6: unknown setting `actor_rollout_ref.actor.clip_rato`; did you mean \
             `actor_rollout_ref.actor.clip_ratio`?",
            "run.toml:10: `seed` is set in a stage, but belongs to the run as a whole: move it above the first [[stages]]",
            "run.toml:11: `warmup_steps` = 2026-01-01 is not a whole number",
        ];
        let said = mistakes(text);
        assert_eq!(said.lines().count(), expected.len(), "{said}");
        for (line, expected) in said.lines().zip(expected) {
            assert!(line.trim_start().starts_with(expected), "{line}\n{expected}");
        }
    }

    #[test]
    fn one_mistake_is_one_line() {
        assert_eq!(
            mistakes("\n\nlr = 1e-4\nlearning_rate = 1e-5"),
            "run.toml:4: `learning_rate` is given twice: 0.0001 in line 3, 0.00001 in line 4 as `learning_rate`"
        );
        let said = mistakes("max_steps = 1\nmethod = sft\n");
        assert!(said.starts_with("run.toml:2: ") && said.lines().count() == 1, "{said}");
        let said = mistakes("max_steps = 1\nmax_steps = 2\n");
        assert!(said.starts_with("run.toml:2: duplicate key"), "{said}");
        assert_eq!(mistakes("stages = 3"), "run.toml:1: `stages` must be tables: [[stages]]");
        assert_eq!(mistakes("stages = [3]"), "run.toml:1: `stages` must be tables: [[stages]]");
        let said = mistakes("[columns]\nprompt = 3\n");
        assert!(said.starts_with("run.toml:1: `columns` = "), "{said}");
    }

    #[test]
    fn lines_of_settings_are_kept() {
        let text =
            "max_steps = 3\n[actor_rollout_ref.actor]\nclip_ratio = 0.2\n[[stages]]\n\nmethod = 'sft'\n";
        let file = ConfigFile::parse(text, Path::new("run.toml")).unwrap();
        assert_eq!((file.run.lines["max_steps"], file.run.lines["epsilon"]), (1, 3));
        assert_eq!(file.stages[0].lines["method"], 6);
        assert_eq!(file.stages[0].values["method"], "sft");
        let file = ConfigFile::parse("[columns]\nprompt = 'q'\n", Path::new("run.toml")).unwrap();
        assert_eq!(file.run.values["columns"], serde_json::json!(["prompt=q"]));
    }
}
