//! The tokenizer of a new model: its chat template, the special tokens that the template asks for, and its vocabulary.

use std::fs;
use std::path::Path;

use gft_data::{ChatTemplate, Date, Message, RenderOptions, SpecialTokens, Tokenizer, train_bpe};
use gft_model::init::SpecialIds;

use crate::failure::Failure;

/// The end of a text, and of a turn where the template has no token of its own for that.
const END: &str = "<|endoftext|>";
const PAD: &str = "<|pad|>";
/// Content that no template changes.
const PROBE: &str = "Xprobe7341X";

/// <https://github.com/openai/openai-python/blob/v0.28.1/chatml.md>, with marks around what the model writes.
const CHATML: &str = "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}\
{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}\
{%- else %}{{ message.content + '<|im_end|>\\n' }}{% endif %}\
{%- endfor %}\
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// A chat template by name or from a file, and the special tokens for it.
pub struct Template {
    /// Its text; `None` for a folder without template.
    pub source: Option<String>,
    specials: SpecialTokens,
}

impl Template {
    /// `plain`, `chatml` or a file.
    ///
    /// # Errors
    /// A file that cannot be read, or a template that fails on a conversation of two messages.
    pub fn find(name: Option<&str>) -> Result<Self, Failure> {
        let (source, origin) = match name {
            None => return Ok(Self { source: None, specials: specials(END, Vec::new()) }),
            Some("plain") => {
                // What is written is the template that a folder without one gets.
                let tiny = train_bpe(["a"].iter(), 512, specials(END, Vec::new()))?;
                let source = ChatTemplate::plain(&tiny)?.source().to_owned();
                return Ok(Self { source: Some(source), specials: specials(END, Vec::new()) });
            }
            Some("chatml") => (CHATML.to_owned(), "chatml"),
            Some(path) => (read(path)?, path),
        };
        let marks = marks(&source);
        let compiled = ChatTemplate::new(&source, origin, specials(END, marks.clone()))?;
        let messages = [Message::user("Hello"), Message::assistant(PROBE)];
        // Only the end of a turn is looked at, for which any date will do.
        let options = RenderOptions { date: Date::new(2000, 1, 1), ..RenderOptions::default() };
        let text = compiled.render(&messages, false, &options)?;
        let Some(at) = text.rfind(PROBE) else {
            return Err(Failure::data(format!(
                "{origin}: an assistant's message does not appear in what it renders"
            )));
        };
        let behind = &text[at + PROBE.len()..];
        let end = marks.iter().filter_map(|mark| Some((behind.find(mark.as_str())?, mark))).min();
        let end = end.map_or(END, |(_, mark)| mark.as_str());
        let others = marks.iter().filter(|mark| *mark != end).cloned().collect();
        Ok(Self { source: Some(source.clone()), specials: specials(end, others) })
    }

    /// Trains the tokenizer.
    ///
    /// # Errors
    /// As [`train_bpe`].
    pub fn train(&self, texts: &[String], vocab_size: usize) -> Result<Tokenizer, Failure> {
        let least = 256 + self.specials.all().len();
        if vocab_size < least {
            return Err(Failure::usage(format!(
                "--vocab-size {vocab_size} is too small: 256 bytes and {} special tokens ({}) need {least}",
                self.specials.all().len(),
                self.specials.all().join(" ")
            )));
        }
        Ok(train_bpe(texts.iter(), vocab_size, self.specials.clone())?)
    }
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(Path::new(path)).map_err(|error| {
        Failure::data(format!(
            "--chat-template {path}: cannot read: {error}; known names are plain and chatml"
        ))
    })
}

/// The end of a text stays a token of its own where turns end otherwise, and then pads, as in the families' models.
fn specials(end: &str, others: Vec<String>) -> SpecialTokens {
    let pad = if end == END { PAD } else { END };
    SpecialTokens {
        bos: None,
        eos: Some(end.into()),
        pad: Some(pad.into()),
        unk: None,
        additional: others.into_iter().filter(|mark| mark != pad).collect(),
    }
}

/// Every `<|name|>` in a template, once, in order.
fn marks(source: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, _) in source.match_indices("<|") {
        let name = source[at + 2..].find("|>").map(|end| &source[at + 2..at + 2 + end]);
        let Some(name) = name.filter(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '▁'))
        }) else {
            continue;
        };
        let mark = format!("<|{name}|>");
        if !found.contains(&mark) {
            found.push(mark);
        }
    }
    found
}

/// The ids that `config.json` names.
pub fn special_ids(tokenizer: &Tokenizer) -> SpecialIds {
    SpecialIds { bos: tokenizer.bos_id(), eos: tokenizer.eos_id(), pad: tokenizer.pad_id() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chatml_ends_turns_with_its_own_token() {
        let template = Template::find(Some("chatml")).unwrap();
        assert_eq!(template.specials.all(), ["<|im_end|>", "<|endoftext|>", "<|im_start|>"]);
        let tokenizer = template.train(&["hello".to_owned()], 300).unwrap();
        let compiled =
            ChatTemplate::new(template.source.as_deref().unwrap(), "chatml", tokenizer.specials().clone())
                .unwrap();
        let messages =
            [Message::system("s"), Message::user("u"), Message::assistant("a"), Message::user("v")];
        assert_eq!(
            compiled.render(&messages, true, &RenderOptions::default()).unwrap(),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n\
             <|im_start|>user\nv<|im_end|>\n<|im_start|>assistant\n"
        );
        let marked = compiled.render_marked(&messages[..3], &RenderOptions::default()).unwrap();
        let learned: Vec<&str> = marked.generated.iter().map(|bytes| &marked.text[bytes.clone()]).collect();
        assert_eq!(learned, ["a<|im_end|>"]);
    }

    #[test]
    fn marks_of_a_template() {
        assert_eq!(marks("{{ '<|a_1|>' }}<|b|><|a_1|> <| c |> <|"), ["<|a_1|>", "<|b|>"]);
    }
}
