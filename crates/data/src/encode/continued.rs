//! Prompts that are continued as they stand, beside the template that chats and questions go through.

use super::{Encoder, Presentation};
use crate::Prompt;

impl Encoder {
    /// Whether a prompt goes to the model as it stands, without any template. A row of text alone has no prompt that
    /// somebody could ask.
    pub fn continues(&self, prompt: &Prompt) -> bool {
        match (prompt, self.options.presentation) {
            (Prompt::Messages(_), _)
            | (_, Presentation::Chat)
            | (Prompt::Question(_), Presentation::Auto) => false,
            (Prompt::Text(text), _) | (Prompt::Question(text), Presentation::Verbatim) => !text.is_empty(),
        }
    }

    /// What is easily overlooked where `rows` of `of` rows have such prompts by their layout and by no choice: whoever
    /// asks the trained model the same as a question asks something else.
    pub fn continued_note(&self, rows: u64, of: u64) -> Option<String> {
        if rows == 0 || self.options.presentation != Presentation::Auto {
            return None;
        }
        let (without, through) = if self.template.is_plain() {
            ("the line break that questions get", "get it")
        } else {
            ("the chat template", "go through it")
        };
        Some(format!(
            "the prompts of {rows} of {of} rows are texts that are continued as they stand, without {without}; chats, and \
             questions to generate and eval, {through} -> --presentation chat trains in the same way, or ask as was \
             trained: gft generate --presentation verbatim, gft eval --prompt-style verbatim"
        ))
    }
}
