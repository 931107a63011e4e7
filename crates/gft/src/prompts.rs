//! Prompts as the model is given them: the same presentation as in training, from a flag or from a row.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use gft_data::{
    Completion, DataError, Date, Encode, EncodeOptions, Encoder, Message, Presentation, Prompt,
    RenderOptions, Row, Tokenizer,
};
use gft_train::continued_prompts;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::rows::{InputRow, kind};

/// How prompts are presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Present {
    /// As training reads the same rows: a prompt alone is a question for the chat template (for the plain one if the
    /// model has none), a prompt beside a completion is text that goes on as it stands, messages use the template.
    Auto,
    /// Every prompt through the chat template, as a user's message.
    Chat,
    /// Every prompt as it stands, without template.
    Verbatim,
}

/// Arguments about prompts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Prompts")]
pub struct PromptArgs {
    /// How prompts are presented to the model.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        value_name = "auto|chat|verbatim"
    )]
    presentation: Present,
    #[command(flatten)]
    template: TemplateArgs,
}

/// Arguments about the chat template.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Prompts")]
pub struct TemplateArgs {
    /// System message for conversations that bring none.
    #[arg(long, alias = "system-prompt", value_name = "TEXT")]
    system: Option<String>,
    /// Chat template to use instead of the folder's own.
    #[arg(long, alias = "chat-template-path", value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Variables for the template, as a JSON object: '{"enable_thinking": false}'.
    #[arg(long, value_name = "JSON", value_parser = object)]
    chat_template_kwargs: Option<Map<String, Value>>,
    /// Date for templates that write one: YYYY-MM-DD, or today.
    #[arg(long, value_name = "DATE", value_parser = date)]
    template_date: Option<Date>,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

fn date(text: &str) -> Result<Date, String> {
    if text == "today" {
        return today().ok_or_else(|| "the clock of this machine is wrong".into());
    }
    let mut parts = text.splitn(3, '-');
    let mut part = || parts.next().and_then(|part| part.parse::<u16>().ok());
    let (year, month, day) = (part(), part(), part());
    year.zip(month.and_then(|m| u8::try_from(m).ok()))
        .zip(day.and_then(|d| u8::try_from(d).ok()))
        .and_then(|((year, month), day)| Date::new(year, month, day))
        .ok_or_else(|| "expected a day as YYYY-MM-DD, or today".into())
}

/// Now in UTC, in ISO 8601 to the microsecond; the epoch where the clock is wrong.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = today().map_or((1970, 1, 1), |date| (date.year, date.month, date.day));
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Today in UTC (Fliegel and Van Flandern, CACM 11(10), 1968: Julian day to calendar date).
fn today() -> Option<Date> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let days = i64::try_from(seconds / 86_400).ok()?;
    let l = days + 2_440_588 + 68_569;
    let n = 4 * l / 146_097;
    let l = l - (146_097 * n + 3) / 4;
    let i = 4000 * (l + 1) / 1_461_001;
    let l = l - 1461 * i / 4 + 31;
    let j = 80 * l / 2447;
    let (day, month) = (l - 2447 * j / 80, j + 2 - 12 * (j / 11));
    let year = 100 * (n - 49) + i + j / 11;
    Date::new(u16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)
}

impl TemplateArgs {
    fn options(&self, presentation: Present) -> EncodeOptions {
        EncodeOptions {
            presentation: match presentation {
                Present::Auto => Presentation::Auto,
                Present::Chat => Presentation::Chat,
                Present::Verbatim => Presentation::Verbatim,
            },
            system_prompt: self.system.clone(),
            template_path: self.chat_template.clone(),
            render: RenderOptions {
                kwargs: self.chat_template_kwargs.clone().unwrap_or_default(),
                date: self.template_date,
                ..RenderOptions::default()
            },
            ..EncodeOptions::default()
        }
    }

    /// The options of an encoder, but for how prompts are presented.
    pub fn encode_options(&self) -> EncodeOptions {
        self.options(Present::Auto)
    }

    /// The encoder of a chat. A template that writes the date gets today's.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn chat_encoder(&self, tokenizer: Arc<Tokenizer>) -> Result<Encoder, Failure> {
        let mut options = self.options(Present::Chat);
        options.render.date = options.render.date.or_else(today);
        Ok(Encoder::new(tokenizer, options)?)
    }
}

impl PromptArgs {
    /// The encoder of these arguments.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn encoder(&self, tokenizer: Arc<Tokenizer>) -> Result<Encoder, Failure> {
        Ok(Encoder::new(tokenizer, self.template.options(self.presentation))?)
    }

    /// Whether a prompt goes to the model as it stands.
    pub fn is_verbatim(&self, prompt: &Prompt) -> bool {
        match prompt {
            Prompt::Messages(_) => false,
            Prompt::Question(_) => self.presentation == Present::Verbatim,
            Prompt::Text(_) => self.presentation != Present::Chat,
        }
    }

    /// What the user should know about how `rows` are presented to the model in a folder: where it has no template and
    /// one is used, and where it learned without.
    pub fn notes(&self, encoder: &Encoder, rows: &[Row], model: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        if rows.iter().all(|row| self.is_verbatim(&row.prompt)) {
            return notes;
        }
        if encoder.template().is_plain() && encoder.template().origin().starts_with("built-in") {
            notes.push(
                "no chat template in the model folder: prompts are written plainly, one line break before the completion \
                 (--presentation verbatim continues a text as it stands)"
                    .to_owned(),
            );
        }
        if self.presentation == Present::Auto && continued_prompts(model) {
            notes.push(
                "this model learned from prompts that are continued as they stand; this one is put as a question, with a \
                 template, which it has not seen -> --presentation verbatim asks as was trained"
                    .to_owned(),
            );
        }
        notes
    }
}

/// The ids of a prompt.
///
/// # Errors
/// What the template and the tokenizer say about it, with the row's place.
pub fn prompt_ids(encoder: &Encoder, row: &Row) -> Result<Vec<u32>, Failure> {
    match encoder.prompt(row).map_err(|error| of_row(row, error))? {
        Encode::Kept(prompt) => Ok(prompt.ids),
        // No limit is set, so there is none to be above.
        Encode::PromptTooLong { tokens, limit } => {
            Err(Failure::data(format!("{}: the prompt has {tokens} tokens, more than {limit}", row.id)))
        }
    }
}

/// The ids of a prompt and of the row's completion.
///
/// # Errors
/// As [`prompt_ids`], and when template or tokenizer leave no exact boundary between the two.
pub fn completed_ids(encoder: &Encoder, row: &Row) -> Result<(Vec<u32>, Vec<u32>), Failure> {
    let prompt = prompt_ids(encoder, row)?;
    let Some(completion) = row.expert.first() else {
        return Err(Failure::data(format!("{}: the row has no completion", row.id)));
    };
    match encoder.completion(row, completion).map_err(|error| of_row(row, error))? {
        Encode::Kept(completion) => Ok((prompt, completion.ids)),
        Encode::PromptTooLong { .. } => Ok((prompt, Vec::new())),
    }
}

/// Says the row once: some errors of the encoder name it, some cannot.
fn of_row(row: &Row, error: DataError) -> Failure {
    match error {
        DataError::Encode { message, .. } => Failure::data(format!("{}: {message}", row.id)),
        other => Failure::from(other).at(&row.id),
    }
}

/// A question from the command line.
pub fn question(text: &str) -> Row {
    row_of("--prompt", Prompt::Question(text.into()), Map::new())
}

/// A conversation so far.
pub fn conversation(messages: &[Message]) -> Row {
    row_of("conversation", Prompt::Messages(messages.to_vec()), Map::new())
}

fn row_of(id: &str, prompt: Prompt, columns: Map<String, Value>) -> Row {
    Row {
        id: id.into(),
        prompt,
        solution: None,
        gold: None,
        expert: Vec::new(),
        teachers: Vec::new(),
        columns,
        named: Map::new(),
    }
}

/// The prompt of an input row, and its completion where `complete` asks for one.
///
/// # Errors
/// A column that is missing or of the wrong kind, with the row's place and what it has instead.
pub fn read_row(input: &InputRow, complete: bool) -> Result<Row, Failure> {
    let (prompt, completion) = match (input.object.get("prompt"), input.object.get("messages")) {
        (Some(Value::String(text)), _) if input.object.get("completion").is_some_and(Value::is_string) => {
            (Prompt::Text(text.clone()), None)
        }
        (Some(Value::String(text)), _) => (Prompt::Question(text.clone()), None),
        (Some(value), _) => (Prompt::Messages(messages(input, "prompt", value)?), None),
        (None, Some(value)) => {
            let mut list = messages(input, "messages", value)?;
            let last = list.pop_if(|message| message.role() == "assistant");
            (Prompt::Messages(list), last)
        }
        (None, None) => return Err(no_prompt(input, complete)),
    };
    if matches!(&prompt, Prompt::Messages(list) if list.is_empty()) {
        return Err(input.failure("there is no message before the answer"));
    }
    let mut row = row_of(&input.place, prompt, input.object.clone());
    if complete {
        row.expert.push(match completion {
            Some(message) => Completion {
                content: message.content().unwrap_or_default().into(),
                messages: vec![message],
                ..Completion::default()
            },
            None => read_completion(input)?,
        });
    }
    Ok(row)
}

fn no_prompt(input: &InputRow, complete: bool) -> Failure {
    let wanted =
        if complete { "`input_ids`, or `prompt` and `completion`" } else { "`prompt` or `input_ids`" };
    let hint = match ["question", "problem", "instruction", "query"]
        .iter()
        .find(|key| input.object.contains_key(**key))
    {
        Some(key) if !complete => format!("; --columns prompt={key} makes the question the prompt"),
        _ => String::new(),
    };
    input.failure(&format!("a row needs {wanted}; this one has {}{hint}", input.keys()))
}

fn read_completion(input: &InputRow) -> Result<Completion, Failure> {
    match input.object.get("completion") {
        Some(Value::String(text)) => Ok(Completion::text(text.clone())),
        Some(value @ Value::Array(_)) => {
            let list = messages(input, "completion", value)?;
            let content = list.last().and_then(Message::content).unwrap_or_default().to_owned();
            Ok(Completion { content, messages: list, ..Completion::default() })
        }
        Some(other) => {
            Err(input.failure(&format!("`completion` must be text or a list of messages, not {}", kind(other))))
        }
        None => Err(input.failure(&format!(
            "a row with `prompt` needs `completion` too; this one has {} (`input_ids` scores tokens as they are)",
            input.keys()
        ))),
    }
}

fn messages(input: &InputRow, key: &str, value: &Value) -> Result<Vec<Message>, Failure> {
    let Value::Array(list) = value else {
        let wanted = if key == "messages" { "a list of messages" } else { "text or a list of messages" };
        return Err(input.failure(&format!("`{key}` must be {wanted}, not {}", kind(value))));
    };
    list.iter()
        .enumerate()
        .map(|(index, value)| match value {
            Value::Object(object) if object.get("role").is_some_and(Value::is_string) => {
                Ok(Message(object.clone()))
            }
            other => Err(input.failure(&format!(
                "message {index} of `{key}` must be an object with `role` and `content`, found {}",
                shortened(other)
            ))),
        })
        .collect()
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// The tokenizer of a model folder, for text.
///
/// # Errors
/// As [`Tokenizer::load`]; where there is none, with what goes without.
pub fn tokenizer(folder: &Path) -> Result<Arc<Tokenizer>, Failure> {
    let found = folder.join("tokenizer.json").is_file();
    Tokenizer::load(folder).map(Arc::new).map_err(|error| match found {
        true => error.into(),
        false => Failure::data(format!("{error}; token ids (`input_ids`) need none")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date("2024-02-29"), Date::new(2024, 2, 29).ok_or_else(String::new));
        for wrong in ["2023-02-29", "2024", "2024-13-01", "tomorrow", "2024-01-01-01"] {
            assert!(date(wrong).is_err(), "{wrong}");
        }
        assert!(today().unwrap().year >= 2025);
    }
}
