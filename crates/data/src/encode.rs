//! Rows as token ids: the prompt, each completion, and the mask of what is learned.
//!
//! The prompt's ids are always those that generation would be given, so a completion is learned from exactly the state
//! in which the model will have to produce it. The mask goes by length, never by token id: an EOS that is also the
//! padding token is learned like any other token.

mod boundary;
mod continued;
mod conversation;
mod options;
mod stop_config;
mod turn_end;

use crate::template::RenderOptions;
use crate::{ChatTemplate, Completion, DataError, Message, Prompt, Result, Row, Tokenizer};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

use boundary::PromptText;
pub use options::{
    Encode, EncodeOptions, EncodedCompletion, EncodedPrompt, EncodedRow, Presentation, Rendering,
};
pub use turn_end::TurnEnd;

/// Turns rows into ids with one tokenizer, one template and one set of options. Shared freely between threads.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    options: EncodeOptions,
    turn_end: TurnEnd,
    /// Put before texts that no template writes, where the tokenizer would do so.
    leading_bos: Option<u32>,
}

impl Encoder {
    /// Prepares the model's template (else the plain one) and finds out how it ends a turn.
    ///
    /// # Errors
    /// A template that cannot be read, fails on a simple conversation, or a tokenizer without any token to stop at.
    pub fn new(tokenizer: Arc<Tokenizer>, options: EncodeOptions) -> Result<Self> {
        let found = ChatTemplate::load(
            &tokenizer,
            options.template_path.as_deref(),
            options.template_name.as_deref(),
        )?;
        let template = match found {
            Some(template) => template,
            None => ChatTemplate::plain(&tokenizer)?,
        };
        Self::with_template(tokenizer, template, options)
    }

    /// As [`Self::new`] with a template at hand.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_template(
        tokenizer: Arc<Tokenizer>,
        template: ChatTemplate,
        options: EncodeOptions,
    ) -> Result<Self> {
        let turn_end = TurnEnd::find(&tokenizer, &template, &options.render)?;
        let leading_bos = tokenizer.leading_bos()?;
        Ok(Self { tokenizer, template, options, turn_end, leading_bos })
    }

    /// The same without bounds on lengths.
    #[must_use]
    pub fn without_limits(&self) -> Self {
        let mut encoder = self.clone();
        encoder.options.max_prompt_tokens = None;
        encoder.options.max_completion_tokens = None;
        encoder.options.max_length = None;
        encoder
    }

    /// One paragraph for the user: which template, how turns end, what is put around prompts.
    pub fn description(&self) -> String {
        let mut text = if self.template.is_plain() {
            "no chat template in the model folder: prompts are written plainly, one line break before the completion"
                .to_string()
        } else {
            format!("chat template from {}", self.template.origin())
        };
        text.push_str(&format!("; {}", self.turn_end.description()));
        if let Some(system) = &self.options.system_prompt {
            text.push_str(&format!("; system prompt {system:?}"));
        }
        if let Some(suffix) = &self.options.instruction_suffix {
            text.push_str(&format!("; instruction suffix {suffix:?}"));
        }
        text
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The options.
    pub fn options(&self) -> &EncodeOptions {
        &self.options
    }

    /// How a completion ends.
    pub fn turn_end(&self) -> &TurnEnd {
        &self.turn_end
    }

    /// The ids at which generation must stop, ascending: the model's own and the end of a turn as it is learned here.
    /// A model folder written after training has to carry them as `eos_token_id`.
    pub fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.tokenizer.stop_ids().to_vec();
        ids.push(self.turn_end.id);
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The prompt of a row.
    ///
    /// # Errors
    /// A template that fails on it, or a prompt that begins with two BOS tokens.
    pub fn prompt(&self, row: &Row) -> Result<Encode<EncodedPrompt>> {
        let prompt = self.prompt_text(row)?;
        Ok(match self.prompt_limit(prompt.ids.len()) {
            Some(limit) => Encode::PromptTooLong { tokens: prompt.ids.len(), limit },
            None => Encode::Kept(EncodedPrompt { ids: prompt.ids }),
        })
    }

    /// A completion of a row's prompt.
    ///
    /// # Errors
    /// A template whose assistant turn does not continue its generation prompt, or a completion of which nothing is
    /// learned.
    pub fn completion(&self, row: &Row, completion: &Completion) -> Result<Encode<EncodedCompletion>> {
        let prompt = self.prompt_text(row)?;
        if let Some(limit) = self.prompt_limit(prompt.ids.len()) {
            return Ok(Encode::PromptTooLong { tokens: prompt.ids.len(), limit });
        }
        self.completion_of(row, &prompt, completion).map(Encode::Kept)
    }

    /// A row with all its completions.
    ///
    /// # Errors
    /// As [`Self::prompt`] and [`Self::completion`].
    pub fn row(&self, row: &Row) -> Result<Encode<EncodedRow>> {
        if let Some(messages) = self.whole_conversation(row)? {
            return self.conversation_row(row, &messages);
        }
        let prompt = self.prompt_text(row)?;
        if let Some(limit) = self.prompt_limit(prompt.ids.len()) {
            return Ok(Encode::PromptTooLong { tokens: prompt.ids.len(), limit });
        }
        let all = |list: &[Completion]| {
            list.iter().map(|c| self.completion_of(row, &prompt, c)).collect::<Result<_>>()
        };
        let (expert, teachers) = (all(&row.expert)?, all(&row.teachers)?);
        Ok(Encode::Kept(EncodedRow { prompt: EncodedPrompt { ids: prompt.ids }, expert, teachers }))
    }

    /// The text of a row's prompt as the model sees it.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn prompt_string(&self, row: &Row) -> Result<String> {
        Ok(self.prompt_text(row)?.text)
    }

    /// The messages of a prompt with system prompt and suffix, `None` for a text that no template touches.
    fn messages(&self, row: &Row) -> Result<Option<Vec<Message>>> {
        let options = &self.options;
        let mut messages = match (&row.prompt, options.presentation) {
            (Prompt::Messages(_), Presentation::Verbatim) => {
                return Err(encode_error(
                    row,
                    "a conversation cannot be presented verbatim; use auto or chat",
                ));
            }
            (Prompt::Messages(messages), _) => messages.clone(),
            (Prompt::Question(_) | Prompt::Text(_), Presentation::Verbatim)
            | (Prompt::Text(_), Presentation::Auto) => {
                return Ok(None);
            }
            (Prompt::Question(text) | Prompt::Text(text), _) => vec![Message::user(text)],
        };
        if let Some(system) = &options.system_prompt
            && messages.first().is_none_or(|m| m.role() != "system")
        {
            messages.insert(0, Message::system(system));
        }
        if let Some(suffix) = &options.instruction_suffix
            && let Some(message) = messages.iter_mut().rev().find(|m| m.role() == "user")
        {
            let content = message.content().ok_or_else(|| {
                encode_error(row, "the instruction suffix needs a user message with text content")
            })?;
            let content = format!("{content}{suffix}");
            message.set_content(content);
        }
        Ok(Some(messages))
    }

    /// The variables for a row's rendering: the options, and the row's own `tools` and `chat_template_kwargs`.
    fn render_options(&self, row: &Row) -> Result<Cow<'_, RenderOptions>> {
        let column = |name: &str| row.columns.get(name).filter(|v| !v.is_null());
        let (tools, kwargs) = (column("tools"), column("chat_template_kwargs"));
        if tools.is_none() && kwargs.is_none() {
            return Ok(Cow::Borrowed(&self.options.render));
        }
        // Both are written as JSON or as text with JSON in it, because Parquet has no free objects.
        let parse = |name: &str, value: &Value| match value {
            Value::String(text) => serde_json::from_str(text)
                .map_err(|e| encode_error(row, format!("column {name:?} is text but no JSON: {e}"))),
            other => Ok(other.clone()),
        };
        let mut options = self.options.render.clone();
        if let Some(tools) = tools {
            options.tools = Some(parse("tools", tools)?);
        }
        match kwargs.map(|kwargs| parse("chat_template_kwargs", kwargs)).transpose()? {
            None => {}
            Some(Value::Object(kwargs)) => options.kwargs.extend(kwargs),
            Some(other) => {
                return Err(encode_error(
                    row,
                    format!("column \"chat_template_kwargs\" must be an object, not {other}"),
                ));
            }
        }
        Ok(Cow::Owned(options))
    }

    /// Renders messages of a row; an error names the row.
    fn render(&self, row: &Row, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let options = self.render_options(row)?;
        let text = self.template.render(messages, add_generation_prompt, &options);
        text.map_err(|e| encode_error(row, e.to_string()))
    }

    fn prompt_text(&self, row: &Row) -> Result<PromptText> {
        let prompt = match self.messages(row)? {
            Some(messages) => {
                let text = self.render(row, &messages, true)?;
                let bos = if self.template.is_plain() { self.leading_bos } else { None };
                PromptText::new(&self.tokenizer, text, messages, bos)?
            }
            None => {
                let text = row.prompt.text() + self.options.instruction_suffix.as_deref().unwrap_or_default();
                let text = self
                    .options
                    .system_prompt
                    .as_ref()
                    .map_or(text.clone(), |system| format!("{system}\n{text}"));
                PromptText::new(&self.tokenizer, text, Vec::new(), self.leading_bos)?
            }
        };
        self.check_bos(row, &prompt.ids)?;
        Ok(prompt)
    }

    fn completion_of(
        &self,
        row: &Row,
        prompt: &PromptText,
        completion: &Completion,
    ) -> Result<EncodedCompletion> {
        let text = self.completion_text(row, prompt, completion)?;
        let (mut ids, boundary_merged) =
            prompt.continue_with(&self.tokenizer, &text).map_err(|m| encode_error(row, m))?;
        if self.turn_end.appended || prompt.messages.is_empty() {
            ids.push(if prompt.messages.is_empty() { self.eos(row)? } else { self.turn_end.id });
        }
        let limit = self.completion_limit(prompt.ids.len());
        let truncated = ids.len() > limit;
        ids.truncate(limit);
        let mut supervised = vec![true; ids.len()];
        if let (true, Some(first)) = (prompt.ids.is_empty(), supervised.first_mut()) {
            // Nothing stands before it to predict it from.
            *first = false;
        }
        self.check_bos(row, &ids)?;
        check_supervised(row, &supervised)?;
        Ok(EncodedCompletion { ids, supervised, truncated, boundary_merged })
    }

    /// The text behind the prompt, up to and including the end of the turn as far as that is text.
    fn completion_text(&self, row: &Row, prompt: &PromptText, completion: &Completion) -> Result<String> {
        if prompt.messages.is_empty() {
            only_text(row, completion)?;
            return Ok(completion.content.clone());
        }
        let end = &self.turn_end;
        if self.options.rendering == Rendering::Verbatim {
            only_text(row, completion)?;
            return Ok(format!("{}{}", completion.content, end.text));
        }
        let mut messages = prompt.messages.clone();
        match completion.messages.as_slice() {
            [] => messages.push(Message::assistant(&completion.content)),
            turn => messages.extend_from_slice(turn),
        }
        let full = self.render(row, &messages, false)?;
        let turn = full.strip_prefix(&prompt.text).ok_or_else(|| {
            let same = full.bytes().zip(prompt.text.bytes()).take_while(|(a, b)| a == b).count();
            encode_error(
                row,
                format!(
                    "the chat template ({}) writes an answered conversation differently from its generation prompt, \
                     from byte {same} on; the boundary of the completion is unknown. Use rendering = \"verbatim\", \
                     or a template whose assistant turn continues the generation prompt",
                    self.template.origin()
                ),
            )
        })?;
        let body = turn.strip_suffix(end.rendered.as_str()).ok_or_else(|| {
            encode_error(
                row,
                format!(
                    "the chat template ({}) does not end this turn with {:?} as it does others; use rendering = \"verbatim\"",
                    self.template.origin(),
                    end.rendered
                ),
            )
        })?;
        Ok(format!("{body}{}", end.text))
    }

    fn eos(&self, row: &Row) -> Result<u32> {
        self.tokenizer
            .eos_id()
            .ok_or_else(|| encode_error(row, "the tokenizer has no EOS token to end the completion with"))
    }

    /// The limit that a prompt of this many tokens breaks, if any: it must leave room for one token of completion.
    pub(crate) fn prompt_limit(&self, tokens: usize) -> Option<usize> {
        let limits = [self.options.max_prompt_tokens, self.options.max_length.map(|n| n.saturating_sub(1))];
        limits.into_iter().flatten().min().filter(|&limit| tokens > limit)
    }

    pub(crate) fn completion_limit(&self, prompt_tokens: usize) -> usize {
        let by_length = self.options.max_length.map(|n| n.saturating_sub(prompt_tokens));
        [self.options.max_completion_tokens, by_length].into_iter().flatten().min().unwrap_or(usize::MAX)
    }

    fn check_bos(&self, row: &Row, ids: &[u32]) -> Result<()> {
        if let Some(bos) = self.tokenizer.bos_id()
            && ids.starts_with(&[bos, bos])
        {
            let token = self.tokenizer.specials().bos.as_deref().unwrap_or_default();
            return Err(encode_error(
                row,
                format!(
                    "begins with {token} twice (id {bos}): once from the template and once from the data"
                ),
            ));
        }
        Ok(())
    }
}

/// Tool calls and reasoning are the template's business; without it they would be lost.
fn only_text(row: &Row, completion: &Completion) -> Result<()> {
    if completion.messages.is_empty() {
        return Ok(());
    }
    Err(encode_error(
        row,
        "a response with more than text (tool calls, reasoning) needs the template; it cannot be verbatim",
    ))
}

fn check_supervised(row: &Row, supervised: &[bool]) -> Result<()> {
    if supervised.iter().any(|&s| s) {
        return Ok(());
    }
    Err(encode_error(
        row,
        "no token of this completion would be learned; check the template's marks and the limits",
    ))
}

fn encode_error(row: &Row, message: impl Into<String>) -> DataError {
    DataError::Encode { row: row.id.clone(), message: message.into() }
}
