//! A JSON object as a [`Row`], by the layout of its columns.

use super::answer::{GoldRule, find_gold, says_more, several_references, strip_calculator};
use super::columns::ColumnMap;
use super::layout::{Layout, at};
use super::lines::checksum;
use super::value::{completion, kind, messages, missing, why_no_object};
use super::{FileSummary, ReadOptions, SolutionAsExpert, Solutions};
use crate::{Completion, DataError, Message, Prompt, Result, Row};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::path::Path;

/// What one row brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub gold: Option<GoldRule>,
    /// Whether the solution is learned; `None` where there is none, or the row says itself what its experts are.
    pub solution_learned: Option<bool>,
    /// Whether the reference is one of several, all bare answers.
    pub several: bool,
    pub experts: u64,
    pub teachers: u64,
    pub checksum: u64,
}

type Converted<T> = std::result::Result<T, String>;

/// Reads rows of one file.
#[derive(Clone, Debug)]
pub(super) struct Converter {
    layout: Layout,
    columns: ColumnMap,
    /// Columns of the first rows that no role uses; they go to reward functions.
    others: Vec<String>,
    mapped: bool,
    teachers_named: bool,
    solution_as_expert: SolutionAsExpert,
    strip_calculator: bool,
}

impl Converter {
    /// Finds the layout from the first rows of a file: the first one that has a known layout decides.
    pub fn detect(path: &Path, samples: &[Vec<u8>], options: &ReadOptions) -> Result<Self> {
        let rows: Vec<Map<String, Value>> =
            samples.iter().filter_map(|s| serde_json::from_slice(s).ok()).collect();
        let found = rows.iter().find_map(Layout::detect);
        let mapped = !options.columns.is_empty();
        let layout = match (&found, mapped) {
            (Some((layout, _)), _) => *layout,
            (None, true) => Layout::Mapped,
            (None, false) => {
                let message = match rows.first() {
                    Some(row) => format!(
                        "no known layout: the columns are {}; name the ones to use with a column map (--columns prompt=NAME,solution=NAME)",
                        row.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
                    ),
                    None => format!(
                        "none of the first lines is a JSON object; the first: {}",
                        samples.first().map_or("none".into(), |line| why_no_object(line))
                    ),
                };
                return Err(DataError::file(path, message));
            }
        };
        // A prompt that the user names replaces a detected conversation and the other way round.
        let mut detected = found.map(|(_, columns)| columns).unwrap_or_default();
        if options.columns.prompt.is_some() || options.columns.text.is_some() {
            detected.messages = None;
        }
        if options.columns.messages.is_some() || options.columns.text.is_some() {
            (detected.prompt, detected.text) = (None, None);
        }
        let columns = options.columns.or(&detected);
        if !rows.is_empty()
            && let Some(message) = options.columns.missing_from(&rows.iter().collect::<Vec<_>>())
        {
            return Err(DataError::file(path, message));
        }
        let used: Vec<&str> = columns.named().iter().filter_map(|(_, name)| name.split('.').next()).collect();
        let mut others: Vec<String> = Vec::new();
        for name in rows.iter().flat_map(|row| row.keys()).filter(|name| !used.contains(&name.as_str())) {
            if !others.contains(name) {
                others.push(name.clone());
            }
        }
        Ok(Self {
            layout,
            columns,
            others,
            mapped,
            teachers_named: options.columns.teachers.is_some(),
            solution_as_expert: options.solution_as_expert,
            strip_calculator: options.strip_calculator,
        })
    }

    /// Whether a column has the rows' ids.
    pub fn has_ids(&self) -> bool {
        self.columns.id.is_some()
    }

    /// The column of answers that people rejected, where it is read as teachers because nobody named another.
    pub fn rejected(&self) -> Option<&str> {
        self.columns.teachers.as_deref().filter(|_| self.layout == Layout::Preference && !self.teachers_named)
    }

    /// What was found in a file of `rows` usable rows.
    pub fn summary(&self, path: &Path, format: &str, rows: u64, solutions: Solutions) -> FileSummary {
        FileSummary {
            path: path.to_path_buf(),
            format: format.into(),
            layout: self.layout.to_string(),
            columns: self.columns.named().into_iter().map(|(role, name)| (role, name.to_string())).collect(),
            other_columns: self.others.clone(),
            mapped: self.mapped,
            solutions,
            rows,
        }
    }

    pub fn description(&self, solutions: Solutions) -> String {
        let map: Vec<String> =
            self.columns.named().iter().map(|(role, name)| format!("{role}={name}")).collect();
        let mapped = if self.mapped { " with a column map" } else { "" };
        let presented = match self.layout {
            Layout::PromptCompletion => " (text prompts are continued as they stand)",
            _ => "",
        };
        let others = if self.others.is_empty() {
            String::new()
        } else {
            format!(", other columns {}", self.others.join(" "))
        };
        let several = match solutions.several {
            0 => String::new(),
            1 => ", 1 row has several bare answers, of which the first is the gold".into(),
            several => format!(", {several} rows have several bare answers, of which the first is the gold"),
        };
        let solutions = match solutions {
            Solutions { references: 0, .. } => String::new(),
            Solutions { learned: 0, .. } => ", solutions are references and not learned".into(),
            Solutions { learned, references, .. } => {
                format!(", {learned} solutions are learned, {references} are bare references and are not")
            }
        };
        format!("{}{mapped} [{}]{presented}{others}{solutions}{several}", self.layout, map.join(", "))
    }

    /// Whether a line is a usable row.
    pub fn judge(&self, path: &Path, line: u64, bytes: &[u8]) -> Converted<Counts> {
        self.read(path, line, bytes).map(|(_, counts)| counts)
    }

    /// The row of one line.
    pub fn row(&self, path: &Path, line: u64, bytes: &[u8]) -> Converted<Row> {
        self.read(path, line, bytes).map(|(row, _)| row)
    }

    fn read(&self, path: &Path, line: u64, bytes: &[u8]) -> Converted<(Row, Counts)> {
        if bytes.trim_ascii().is_empty() {
            return Err("a blank line".into());
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("no JSON: {e}"))?;
        let Value::Object(mut object) = value else { return Err("a row must be a JSON object".into()) };
        let (prompt, turn) = self.prompt(&object)?;
        let mut expert = self.completions(&object, self.columns.expert.as_deref(), "expert")?;
        expert.extend(turn);
        let teachers = self.completions(&object, self.columns.teachers.as_deref(), "teachers")?;
        let solutions = self.texts_at(&object, self.columns.solution.as_deref())?;
        let solution = solutions.first().cloned();
        let stated = self.text_at(&object, self.columns.answer.as_deref())?;
        let several = (stated.is_none() && solutions.len() > 1).then(|| several_references(&solutions));
        let (gold, rule) = match (stated, &solution) {
            (Some(gold), _) => (Some(gold), Some(GoldRule::Column)),
            (None, Some(solution)) => match &several {
                Some((gold, _)) => gold.clone(),
                None => find_gold(solution),
            }
            .map_or((None, None), |(gold, rule)| (Some(gold), Some(rule))),
            (None, None) => (None, None),
        };
        // An empty list of experts says that there are none.
        let stated = self.columns.expert.as_deref().is_some_and(|name| at(&object, name).is_some());
        let mut solution_learned = None;
        if expert.is_empty() && !stated && solution.is_some() {
            let learned = |(at, text): &(usize, String)| {
                let learned = match (self.solution_as_expert, &several) {
                    (SolutionAsExpert::Always, _) => true,
                    (SolutionAsExpert::Never, _) => false,
                    (SolutionAsExpert::WhenWorked, Some((_, worked))) => worked[*at],
                    (SolutionAsExpert::WhenWorked, None) => says_more(text, gold.as_deref()),
                };
                learned && !text.trim().is_empty()
            };
            let learned = solutions.into_iter().enumerate().filter(learned);
            expert = learned.map(|(_, text)| Completion::text(text)).collect();
            solution_learned = Some(!expert.is_empty());
        }
        let id = self.columns.id.as_deref().and_then(|name| at(&object, name));
        let id = match id {
            Some(Value::String(id)) => id.clone(),
            Some(id) => id.to_string(),
            None => format!("{}:{line}", path.file_stem().unwrap_or_default().to_string_lossy()),
        };
        let mut named = Map::new();
        for (role, name) in self.columns.named() {
            let value = object.shift_remove(name);
            // The prompt reaches rewards in one form for all layouts.
            if let Some(value) = value.filter(|_| !matches!(role, "prompt" | "messages" | "text" | "id")) {
                named.insert(name.to_owned(), value);
            }
        }
        let counts = Counts {
            gold: rule,
            solution_learned,
            several: several.is_some() && solution_learned == Some(false),
            experts: expert.len() as u64,
            teachers: teachers.len() as u64,
            checksum: checksum(bytes),
        };
        Ok((Row { id, prompt, solution, gold, expert, teachers, columns: object, named }, counts))
    }

    /// The prompt, and the completion if the row is a whole conversation.
    fn prompt(&self, row: &Map<String, Value>) -> Converted<(Prompt, Option<Completion>)> {
        let columns = &self.columns;
        if let Some(name) = &columns.messages {
            let mut conversation = messages(at(row, name).ok_or_else(|| missing(name))?, name)?;
            if let Some(system) = self.text_at(row, columns.system.as_deref())?.filter(|s| !s.is_empty())
                && conversation.first().is_none_or(|m| m.role() != "system")
            {
                conversation.insert(0, Message::system(&system));
            }
            return self.split(conversation, name);
        }
        if let Some(name) = &columns.prompt {
            let prompt = match at(row, name).ok_or_else(|| missing(name))? {
                list @ Value::Array(_) => Prompt::Messages(messages(list, name)?),
                Value::String(text) if text.trim().is_empty() => {
                    return Err(format!("column {name:?} is empty"));
                }
                Value::String(text) => self.question(row, text)?,
                other => {
                    return Err(format!(
                        "column {name:?} must be text or a list of messages, not {}",
                        kind(other)
                    ));
                }
            };
            return Ok((prompt, None));
        }
        let name = columns.text.as_ref().ok_or("no prompt column is known; name one with a column map")?;
        match at(row, name).ok_or_else(|| missing(name))? {
            Value::String(text) if text.is_empty() => Err(format!("column {name:?} is empty")),
            Value::String(text) => Ok((Prompt::Text(String::new()), Some(Completion::text(text)))),
            other => Err(format!("column {name:?} must be text, not {}", kind(other))),
        }
    }

    fn question(&self, row: &Map<String, Value>, text: &str) -> Converted<Prompt> {
        let mut text = Cow::Borrowed(text);
        if let Some(input) = self.text_at(row, self.columns.input.as_deref())?.filter(|i| !i.is_empty()) {
            text = Cow::Owned(format!("{text}\n{input}"));
        }
        if let Some(system) = self.text_at(row, self.columns.system.as_deref())?.filter(|s| !s.is_empty()) {
            return Ok(Prompt::Messages(vec![Message::system(&system), Message::user(&text)]));
        }
        Ok(match self.layout {
            Layout::PromptCompletion => Prompt::Text(text.into_owned()),
            _ => Prompt::Question(text.into_owned()),
        })
    }

    /// A conversation as the prompt before its last assistant turn, and that turn.
    fn split(&self, mut conversation: Vec<Message>, name: &str) -> Converted<(Prompt, Option<Completion>)> {
        let last = conversation.pop().ok_or_else(|| format!("column {name:?} is an empty conversation"))?;
        if last.role() != "assistant" {
            conversation.push(last);
            return Ok((Prompt::Messages(conversation), None));
        }
        if conversation.is_empty() {
            return Err(format!("column {name:?}: an assistant message with nothing before it"));
        }
        let last = completion(vec![last]);
        if last.content.trim().is_empty() && last.messages.is_empty() {
            return Err(format!("column {name:?}: the last assistant message is empty"));
        }
        Ok((Prompt::Messages(conversation), Some(last)))
    }

    /// The completions of a column: one text, a list of texts or objects, or a list of messages.
    fn completions(
        &self,
        row: &Map<String, Value>,
        name: Option<&str>,
        role: &str,
    ) -> Converted<Vec<Completion>> {
        let Some((name, value)) = name.and_then(|name| Some((name, at(row, name)?))) else {
            return Ok(Vec::new());
        };
        let list = match value {
            Value::Array(list) if !list.is_empty() && list.iter().all(|v| v.get("role").is_some()) => {
                return Ok(vec![completion(messages(value, name)?)]);
            }
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        list.iter()
            .enumerate()
            .map(|(i, v)| self.one(v).map_err(|m| format!("column {name:?} ({role}), entry {i}: {m}")))
            .collect()
    }

    fn one(&self, value: &Value) -> Converted<Completion> {
        let mut completion = match value {
            Value::String(text) => Completion::text(text),
            Value::Object(object) if object.get("content").is_some_and(Value::is_string) => {
                // Parquet writes what a completion does not have as null.
                let said = object.iter().filter(|(_, value)| !value.is_null());
                let said: Map<String, Value> =
                    said.map(|(key, value)| (key.clone(), value.clone())).collect();
                serde_json::from_value(said.into()).map_err(|e| e.to_string())?
            }
            Value::Array(_) => completion(messages(value, "completion")?),
            other => return Err(format!("must be text or an object with \"content\", not {}", kind(other))),
        };
        if completion.content.trim().is_empty() && completion.messages.is_empty() {
            return Err("an empty completion".into());
        }
        completion.content = self.clean(&completion.content);
        Ok(completion)
    }

    fn clean(&self, text: &str) -> String {
        if self.strip_calculator { strip_calculator(text) } else { text.to_string() }
    }

    /// A solution, or several of the same problem: the answer of the first is the gold, what is worked in them is learned.
    fn texts_at(&self, row: &Map<String, Value>, name: Option<&str>) -> Converted<Vec<String>> {
        if let Some(name) = name
            && let Some(Value::Array(list)) = at(row, name)
        {
            let text = |v: &Value| match v {
                Value::String(text) => Ok(self.clean(text)),
                Value::Number(n) => Ok(n.to_string()),
                other => Err(format!("column {name:?}: a list of {}", kind(other))),
            };
            return list.iter().map(text).collect();
        }
        Ok(self.text_at(row, name)?.map(|text| self.clean(&text)).into_iter().collect())
    }

    /// Text of a column; numbers and booleans as JSON writes them.
    fn text_at(&self, row: &Map<String, Value>, name: Option<&str>) -> Converted<Option<String>> {
        let Some((name, value)) = name.and_then(|name| Some((name, at(row, name)?))) else { return Ok(None) };
        match value {
            Value::String(text) => Ok(Some(text.clone())),
            Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
            // Several values of one answer, as OlympiadBench has them.
            Value::Array(list) => {
                let text = |v: &Value| match v {
                    Value::String(text) => Ok(text.clone()),
                    Value::Number(n) => Ok(n.to_string()),
                    other => Err(format!("column {name:?} must be text, not a list of {}", kind(other))),
                };
                let texts = list.iter().map(text).collect::<Converted<Vec<_>>>()?;
                Ok(Some(texts.join(", ")).filter(|text| !text.is_empty()))
            }
            other => Err(format!("column {name:?} must be text, not {}", kind(other))),
        }
    }
}
