//! Decoding one token at a time for a reader who watches: text comes out only as whole characters.

use super::Tokenizer;
use crate::Result;

/// Turns a stream of ids into a stream of text; the pieces joined are the text of all ids decoded at once.
///
/// A token may hold half of a UTF-8 character, and some decoders write a token differently at the start of a text. So
/// each step decodes the pending ids behind those already given, and waits while the result ends in the replacement
/// character.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    ids: Vec<u32>,
    /// Ids before this one are forgotten, those up to `given` are context for the decoder.
    given: usize,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special_tokens: bool) -> Self {
        Self { tokenizer, skip_special_tokens, ids: Vec::new(), given: 0 }
    }

    /// Takes the next id and returns the text that became whole, possibly none.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let (before, text) = self.texts()?;
        if text.ends_with('\u{FFFD}') || text.len() <= before.len() {
            return Ok(String::new());
        }
        let new = fresh(&before, &text);
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        Ok(new)
    }

    /// Returns what is still held back: bytes that no further id has completed.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> Result<String> {
        let (before, text) = self.texts()?;
        self.ids.clear();
        Ok(fresh(&before, &text))
    }

    fn texts(&self) -> Result<(String, String)> {
        let before = self.tokenizer.decode(&self.ids[..self.given], self.skip_special_tokens)?;
        let text = self.tokenizer.decode(&self.ids, self.skip_special_tokens)?;
        Ok((before, text))
    }
}

/// What `text` has behind `before`; decoders only ever append to whole characters.
fn fresh(before: &str, text: &str) -> String {
    text.strip_prefix(before).unwrap_or(text).to_string()
}
