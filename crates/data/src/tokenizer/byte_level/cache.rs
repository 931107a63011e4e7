//! Words and their tokens, as the library's model gave them once.

use std::collections::HashMap;
use std::ops::Range;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{Model, OffsetType, PreTokenizedString, PreTokenizer};
use tokenizers::{Encoding, ModelWrapper};

/// Longer words are seldom seen twice.
const MAX_WORD: usize = 256;
/// When this much is held, no more words are taken in; they are then asked for each time.
const MAX_BYTES: usize = 8 << 20;
/// What a word costs beside its letters and tokens: the table's entry with room to spare, and the allocation.
const ENTRY_BYTES: usize = 80;

/// A bounded map from words to tokens. What it holds changes how long an answer takes, never the answer.
pub(super) struct WordCache {
    words: HashMap<Box<str>, Known, ahash::RandomState>,
    /// Tokens of all words that are more than one: id and byte range within the word.
    tokens: Vec<(u32, u16, u16)>,
    bytes: usize,
    max_bytes: usize,
}

/// The tokens of a word.
#[derive(Clone, Copy)]
enum Known {
    /// One that covers it.
    One(u32),
    /// These of `WordCache::tokens`.
    Several { start: u32, end: u32 },
}

impl Default for WordCache {
    fn default() -> Self {
        Self::bounded(MAX_BYTES)
    }
}

impl WordCache {
    pub(super) fn bounded(max_bytes: usize) -> Self {
        // Fixed keys: nothing here may depend on a random number.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Self { words: HashMap::with_hasher(hasher), tokens: Vec::new(), bytes: 0, max_bytes }
    }

    /// Gives `push` the tokens of `word` in order, with their byte ranges within the word.
    ///
    /// # Errors
    /// What the model says of the word.
    pub fn tokens(
        &mut self,
        model: &ModelWrapper,
        word: &str,
        mut push: impl FnMut(u32, Range<usize>),
    ) -> tokenizers::Result<()> {
        match self.words.get(word) {
            Some(&Known::One(id)) => push(id, 0..word.len()),
            Some(&Known::Several { start, end }) => {
                for &(id, start, end) in &self.tokens[start as usize..end as usize] {
                    push(id, start.into()..end.into());
                }
            }
            None => {
                let encoding = by_library(model, word)?;
                for (&id, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
                    push(id, start..end);
                }
                self.take_in(word, &encoding);
            }
        }
        Ok(())
    }

    /// Bytes held, of at most those allowed.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.bytes
    }

    fn take_in(&mut self, word: &str, encoding: &Encoding) {
        let bytes = ENTRY_BYTES + word.len() + encoding.len() * size_of::<(u32, u16, u16)>();
        if word.len() > MAX_WORD || self.bytes + bytes > self.max_bytes {
            return;
        }
        self.bytes += bytes;
        let known = match (encoding.get_ids(), encoding.get_offsets()) {
            (&[id], &[range]) if range == (0, word.len()) => Known::One(id),
            (ids, ranges) => {
                // In bounds: a word has at most 256 bytes, the cache 8 MiB.
                let start = self.tokens.len() as u32;
                let tokens = ids.iter().zip(ranges);
                self.tokens.extend(tokens.map(|(&id, &(start, end))| (id, start as u16, end as u16)));
                Known::Several { start, end: self.tokens.len() as u32 }
            }
        };
        self.words.insert(word.into(), known);
    }
}

/// The library's own way from a word to its tokens: bytes as characters, merges, ranges brought back to the word.
fn by_library(model: &ModelWrapper, word: &str) -> tokenizers::Result<Encoding> {
    let mut pieces = PreTokenizedString::from(word);
    ByteLevel::new(false, false, false).pre_tokenize(&mut pieces)?;
    pieces.tokenize(|piece| model.tokenize(piece.get()))?;
    pieces.into_encoding(None, 0, OffsetType::Byte)
}
