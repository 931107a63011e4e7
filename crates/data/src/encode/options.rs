//! What can be chosen when rows become ids, and what comes out.

use crate::template::RenderOptions;
use std::path::PathBuf;

/// How a prompt is presented to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presentation {
    /// Questions and messages through the chat template (the plain one if the model has none), text as it stands.
    #[default]
    Auto,
    /// Everything through the chat template; a text becomes a user's message.
    Chat,
    /// Questions and texts as they stand; messages are an error.
    Verbatim,
}

/// How a completion becomes text behind the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rendering {
    /// As the template writes an assistant message; it must continue the generation prompt, else an error.
    #[default]
    Template,
    /// The content as it stands and the end of the turn, whatever the template would do to it.
    Verbatim,
}

/// What becomes of a row's text on its way to ids.
#[derive(Clone, Debug, Default)]
pub struct EncodeOptions {
    /// How prompts are presented.
    pub presentation: Presentation,
    /// How completions become text.
    pub rendering: Rendering,
    /// Learn all assistant turns of a conversation, not only the last one.
    pub all_turns: bool,
    /// Put before conversations that have no system message of their own.
    pub system_prompt: Option<String>,
    /// Appended to the question (the last user message), such as "\nPlease reason step by step.".
    pub instruction_suffix: Option<String>,
    /// A prompt with more tokens is dropped and counted.
    pub max_prompt_tokens: Option<usize>,
    /// A completion with more tokens is cut and counted; its EOS is then not learned.
    pub max_completion_tokens: Option<usize>,
    /// Bound on prompt and completion together: the completion is cut; a prompt that leaves it no room is dropped.
    pub max_length: Option<usize>,
    /// A template file instead of the model's own.
    pub template_path: Option<PathBuf>,
    /// The name among several templates of one model.
    pub template_name: Option<String>,
    /// What the template may read beside the messages.
    pub render: RenderOptions,
}

/// Token ids of a prompt, ending where the model's turn begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPrompt {
    /// Ids `[P]`.
    pub ids: Vec<u32>,
}

/// Token ids of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedCompletion {
    /// Ids `[R]`, the end of the turn included unless `truncated`.
    pub ids: Vec<u32>,
    /// Which of them are learned `[R]`: all, except the other speakers' turns of a conversation.
    pub supervised: Vec<bool>,
    /// Whether the limit cut it.
    pub truncated: bool,
    /// Whether tokenizing prompt and completion as one text would have merged tokens across their boundary. The ids here
    /// are the ones that generation produces; a high share hints at a prompt that ends in a space.
    pub boundary_merged: bool,
}

/// A row as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRow {
    /// The prompt.
    pub prompt: EncodedPrompt,
    /// `Row::expert`, in order.
    pub expert: Vec<EncodedCompletion>,
    /// `Row::teachers`, in order.
    pub teachers: Vec<EncodedCompletion>,
}

/// A row that fits, or one that the limits drop: to be counted and said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encode<T> {
    /// It fits.
    Kept(T),
    /// The prompt has too many tokens.
    PromptTooLong {
        /// Tokens it has.
        tokens: usize,
        /// Tokens it may have.
        limit: usize,
    },
}

impl<T> Encode<T> {
    /// The value if it fits.
    pub fn kept(self) -> Option<T> {
        match self {
            Self::Kept(value) => Some(value),
            Self::PromptTooLong { .. } => None,
        }
    }
}
