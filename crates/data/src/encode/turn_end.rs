//! How a template ends the model's turn: the one token that must be learned for generation to stop.

use crate::template::{ChatTemplate, RenderOptions};
use crate::{DataError, Message, Result, Tokenizer};

/// The end of the model's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnEnd {
    /// The id that ends the turn.
    pub id: u32,
    /// The text from the end of the content up to and including that token; empty if `appended`.
    pub text: String,
    /// Whether the template writes no such token and the tokenizer's EOS is put there.
    pub appended: bool,
    /// Whether generation already stopped at this id before, by the model's own configuration.
    pub known_stop: bool,
    /// All that the template writes behind the content, such as a line break that generation never gets to.
    pub(super) rendered: String,
    token: String,
}

/// Content that no template changes and no tokenizer knows.
const PROBE: &str = "Xprobe7341X";

impl TurnEnd {
    /// Renders a conversation and looks at what stands behind the assistant's words.
    pub(super) fn find(
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        options: &RenderOptions,
    ) -> Result<Self> {
        let messages = [Message::user("Hello"), Message::assistant(PROBE)];
        let text = template.render(&messages, false, options)?;
        let Some(at) = text.rfind(PROBE) else {
            return Err(template.error("an assistant message does not appear in the rendered conversation"));
        };
        let rendered = text[at + PROBE.len()..].to_string();
        let tokens = tokenizer.encode_with_offsets(&rendered)?;
        let stops = tokenizer.stop_ids();
        let place = tokens.ids.iter().position(|id| stops.contains(id));
        let place = place.or_else(|| tokens.ids.iter().position(|&id| tokenizer.is_special(id)));
        let (id, text, appended) = match place {
            Some(place) => (tokens.ids[place], rendered[..tokens.bytes[place].end].to_string(), false),
            None => {
                let eos = tokenizer.eos_id().ok_or_else(|| {
                    template.error("ends a turn without a special token, and the tokenizer has no EOS token to put there")
                })?;
                (eos, String::new(), true)
            }
        };
        let token =
            tokenizer.id_to_token(id).ok_or_else(|| DataError::Tokenizer(format!("id {id} has no token")))?;
        Ok(Self { id, text, appended, known_stop: stops.contains(&id), rendered, token })
    }

    pub(super) fn description(&self) -> String {
        let Self { id, token, .. } = self;
        match (self.appended, self.known_stop) {
            (true, _) => format!("the template ends no turn, so completions get {token} (id {id}) as EOS"),
            (false, true) => format!("completions end with {token} (id {id})"),
            (false, false) => format!(
                "completions end with {token} (id {id}), which the model's generation_config.json does not stop at: \
                 it has to be added to eos_token_id"
            ),
        }
    }
}
