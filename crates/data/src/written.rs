//! The text of one completion as its tokens come, up to the stop string that ends it.

use crate::{Result, StopStrings, TextStream, Tokenizer};

/// Takes the ids of a completion one by one.
#[derive(Debug)]
pub struct CompletionText<'a> {
    tokenizer: &'a Tokenizer,
    stream: TextStream<'a>,
    stops: StopStrings<'a>,
    text: String,
}

/// A completion that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The whole text, without the stop string.
    pub text: String,
    /// Length in bytes of what [`CompletionText::push`] has already returned.
    pub shown: usize,
    /// The stop string that ended it.
    pub stop: Option<String>,
}

impl<'a> CompletionText<'a> {
    /// Nothing written yet. Special tokens give no text.
    pub fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        let (stream, stops) = (tokenizer.stream(true), StopStrings::new(stops));
        Self { tokenizer, stream, stops, text: String::new() }
    }

    /// Takes the next id and returns the text that is certain to belong to the completion; `None` for an id that the
    /// tokenizer does not have: a model may have more rows in its embedding, and an untrained one draws them.
    ///
    /// # Errors
    /// As [`TextStream::push`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        if self.tokenizer.id_to_token(id).is_none() {
            return Ok(None);
        }
        let piece = self.stream.push(id)?;
        let text = self.stops.push(&piece);
        self.text.push_str(&text);
        Ok(Some(text))
    }

    /// Whether a stop string has ended the completion.
    pub fn stopped(&self) -> bool {
        self.stops.found().is_some()
    }

    /// The completion with what was held back.
    ///
    /// # Errors
    /// As [`TextStream::finish`].
    pub fn finish(self) -> Result<Written> {
        let Self { stream, mut stops, mut text, .. } = self;
        let shown = text.len();
        text.push_str(&stops.push(&stream.finish()?));
        let stop = stops.found().map(str::to_owned);
        text.push_str(&stops.finish());
        Ok(Written { text, shown, stop })
    }
}
