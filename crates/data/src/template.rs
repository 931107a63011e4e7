//! Chat templates, rendered exactly as transformers renders them: conversation in, text out.

mod generation;
mod json;
mod python;
mod source;

use crate::{DataError, Message, Result, SpecialTokens};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value};
use std::ops::Range;

pub use python::Date;

/// A compiled chat template. Rendering is a function of its arguments: the date is given, never read from a clock.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    env: Environment<'static>,
    source: String,
    origin: String,
    specials: SpecialTokens,
    marks_generation: bool,
    /// The variant that takes over when there are tools.
    with_tools: Option<Box<ChatTemplate>>,
}

/// What a template may read beside the messages.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// JSON schemas of the tools on offer.
    pub tools: Option<Value>,
    /// Documents for retrieval templates.
    pub documents: Option<Value>,
    /// Further variables, such as `enable_thinking`; they win over everything but the messages.
    pub kwargs: Map<String, Value>,
    /// What `strftime_now` gives; without it a template that asks for the date is an error.
    pub date: Option<Date>,
}

/// A rendered conversation with the byte ranges that the model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The text.
    pub text: String,
    /// Byte ranges inside `{% generation %}` blocks, ascending.
    pub generated: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Compiles `source`; `origin` is named in errors.
    ///
    /// # Errors
    /// A syntax error, with the template's line.
    pub fn new(source: &str, origin: &str, specials: SpecialTokens) -> Result<Self> {
        let failed = |e: Error| DataError::Template { origin: origin.to_string(), message: describe(&e) };
        // Jinja2 reads CRLF as LF; minijinja does not.
        let normal = source.replace("\r\n", "\n").replace('\r', "\n");
        let (normal, marks_generation) = generation::rewrite(&normal);
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        env.set_syntax(syntax);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.set_formatter(python::format);
        env.add_test("iterable", python::is_iterable);
        env.add_test("sequence", python::is_sequence);
        env.add_filter("tojson", json::tojson);
        env.add_filter("string", python::string);
        env.add_function("raise_exception", |message: String| -> std::result::Result<Jinja, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_template_owned("chat", normal).map_err(failed)?;
        Ok(Self {
            env,
            source: source.to_string(),
            origin: origin.to_string(),
            specials,
            marks_generation,
            with_tools: None,
        })
    }

    /// The template text as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where the template came from, for messages to the user.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the template says with `{% generation %}` which parts the model wrote.
    pub fn marks_generation(&self, options: &RenderOptions) -> bool {
        self.variant(options).marks_generation
    }

    /// The template for these options: some models bring one of its own for conversations with tools.
    fn variant(&self, options: &RenderOptions) -> &Self {
        self.with_tools.as_deref().filter(|_| options.tools.is_some()).unwrap_or(self)
    }

    /// Renders a conversation; with `add_generation_prompt` it ends where the model's next turn begins.
    ///
    /// # Errors
    /// Whatever the template raises.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        options: &RenderOptions,
    ) -> Result<String> {
        self.render_with_marks(messages, add_generation_prompt, options, ("", ""))
    }

    /// Renders a conversation and the byte ranges of its `{% generation %}` blocks.
    ///
    /// # Errors
    /// Whatever the template raises, or a block that is not closed in the output.
    pub fn render_marked(&self, messages: &[Message], options: &RenderOptions) -> Result<Marked> {
        let taken = serde_json::to_string(&(messages, &options.tools, &options.documents, &options.kwargs));
        let taken = taken.map_err(|e| self.error(e.to_string()))?;
        let (open, close) = generation::free_marks(&taken).ok_or_else(|| {
            self.error("the conversation uses every private-use character, none is left to mark turns with")
        })?;
        let text =
            self.render_with_marks(messages, false, options, (&open.to_string(), &close.to_string()))?;
        generation::cut(&text, open, close).map_err(|message| self.error(message))
    }

    fn render_with_marks(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        options: &RenderOptions,
        marks: (&str, &str),
    ) -> Result<String> {
        if messages.is_empty() {
            return Err(self.error("a conversation without messages"));
        }
        let mut context: Vec<(String, Jinja)> = Vec::new();
        let specials = &self.specials;
        let named = [
            ("bos_token", &specials.bos),
            ("eos_token", &specials.eos),
            ("pad_token", &specials.pad),
            ("unk_token", &specials.unk),
        ];
        for (name, token) in named {
            if let Some(token) = token {
                context.push((name.into(), token.into()));
            }
        }
        let optional = |v: &Option<Value>| v.as_ref().map_or(Jinja::from(()), |v| Jinja::from(Serde(v)));
        context.push(("tools".into(), optional(&options.tools)));
        context.push(("documents".into(), optional(&options.documents)));
        context.push(("add_generation_prompt".into(), add_generation_prompt.into()));
        for (name, value) in &options.kwargs {
            context.push((name.clone(), Jinja::from(Serde(value))));
        }
        let messages: Vec<Message> = messages.iter().map(passed).collect();
        context.push(("messages".into(), Jinja::from(Serde(messages))));
        context.push((generation::OPEN.into(), marks.0.into()));
        context.push((generation::CLOSE.into(), marks.1.into()));
        let date = options.date;
        let now = move |format: String| match date {
            Some(date) => date.format(&format).map_err(|m| Error::new(ErrorKind::InvalidOperation, m)),
            None => Err(Error::new(
                ErrorKind::InvalidOperation,
                "the template asks for today's date: give one (template_date), so that the run can be repeated",
            )),
        };
        context.push(("strftime_now".into(), Jinja::from_function(now)));
        let template =
            self.variant(options).env.get_template("chat").map_err(|e| self.error(describe(&e)))?;
        template.render(Jinja::from_pairs(context)).map_err(|e| self.error(describe(&e)))
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> DataError {
        DataError::Template { origin: self.origin.clone(), message: message.into() }
    }
}

/// The names under which a message's reasoning is passed; templates read the first, some the second.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message as transformers 5 passes it: without the keys that are null (a Parquet file has one for every column), its
/// reasoning under every name that templates read.
fn passed(message: &Message) -> Message {
    let given = || message.0.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone()));
    let Some(reasoning) = REASONING.iter().find_map(|name| message.0.get(*name).filter(|v| !v.is_null()))
    else {
        return Message(given().collect());
    };
    let mut fields = Map::from_iter([("thinking".to_string(), reasoning.clone())]);
    fields.extend(given());
    fields.insert("reasoning_content".into(), reasoning.clone());
    Message(fields)
}

/// An error with the template's line and its causes, on one line.
fn describe(error: &Error) -> String {
    let mut text = error.detail().map_or_else(|| error.to_string(), str::to_string);
    if let Some(line) = error.line() {
        text.push_str(&format!(" (line {line} of the template)"));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
