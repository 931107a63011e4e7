//! Byte-level BPE with a cache of words in front of the library: the same ids and byte ranges, most of the work left out.
//!
//! A text of such a tokenizer is cut three times: at its added tokens, by the rules that end words, and each word by the
//! merges. The last step depends on the word alone, and few words make up most of a text. So the first two steps are
//! done here on the plain text, and the third is asked of the library once for each distinct word.
//!
//! Known exactly, and so taken here: a BPE model without dropout; a pre-tokenizer of [`Stage`]s that ends in `ByteLevel`
//! without a prefix space; no normalizer or NFC; truncation and padding off. That is GPT-2, Llama 3, Qwen, SmolLM,
//! Mistral-Nemo, DeepSeek and their like. Everything else goes through the library, whole texts at a time:
//!
//! - other tokenizers (SentencePiece pieces, WordPiece, Unigram, other pre-tokenizers and normalizers);
//! - a text with an added token that takes spaces with it or must be a word of its own;
//! - byte ranges where the post-processor trims them, or where NFC might have moved them.

mod added;
mod cache;
mod pattern;
mod stage;

use super::Encoded;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use tokenizers::tokenizer::{NormalizedString, Normalizer};
use tokenizers::{ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use added::{AddedTokens, Piece};
use cache::WordCache;
use stage::{Engine, Stage};

/// A tokenizer of this kind, taken apart. Shared between threads; no result depends on what a cache holds.
pub(super) struct ByteLevelBpe {
    added: AddedTokens,
    stages: Vec<Stage>,
    nfc: bool,
    /// Whether the post-processor leaves the byte ranges as they are.
    ranges_stay: bool,
    /// Those not in use. One is taken for each text, so there are as many as threads ever encoded at the same time.
    idle: Mutex<Vec<Workspace>>,
}

/// What a thread needs while it encodes.
struct Workspace {
    words: WordCache,
    engines: Vec<Engine>,
}

/// Tokens as they are found; byte ranges only where they are wanted.
struct Tokens {
    ids: Vec<u32>,
    bytes: Option<Vec<Range<usize>>>,
}

impl Tokens {
    fn push(&mut self, id: u32, bytes: Range<usize>) {
        self.ids.push(id);
        if let Some(all) = &mut self.bytes {
            all.push(bytes);
        }
    }
}

impl ByteLevelBpe {
    /// Takes a tokenizer apart, `None` if any part of it is not known exactly here.
    pub fn of(library: &tokenizers::Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = library.get_model() else { return None };
        let merges_are_fixed = model.dropout.is_none_or(|p| p == 0.0);
        let words_are_plain = model.continuing_subword_prefix.is_none() && model.end_of_word_suffix.is_none();
        let lengths_stay = library.get_truncation().is_none() && library.get_padding().is_none();
        if !merges_are_fixed || !words_are_plain || !lengths_stay || library.get_encode_special_tokens() {
            return None;
        }
        let nfc = match library.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let ranges_stay = match library.get_post_processor() {
            None => true,
            Some(processor) => ranges_stay(processor)?,
        };
        let stages = stages(library.get_pre_tokenizer()?)?;
        let added = AddedTokens::of(library)?;
        Some(Self { added, stages, nfc, ranges_stay, idle: Mutex::default() })
    }

    /// The ids of `text`, `None` if only the library knows them.
    ///
    /// # Errors
    /// What the library's model says of a word.
    pub fn ids(&self, library: &tokenizers::Tokenizer, text: &str) -> tokenizers::Result<Option<Vec<u32>>> {
        // Four bytes to a token are usual for prose in the language that a tokenizer was made for.
        let tokens = Tokens { ids: Vec::with_capacity(text.len() / 4 + 1), bytes: None };
        Ok(self.tokens(library, text, tokens)?.map(|tokens| tokens.ids))
    }

    /// The ids of `text` with their byte ranges, `None` if only the library knows them.
    ///
    /// # Errors
    /// As [`Self::ids`].
    pub fn ids_and_ranges(
        &self,
        library: &tokenizers::Tokenizer,
        text: &str,
    ) -> tokenizers::Result<Option<Encoded>> {
        if !self.ranges_stay || (self.nfc && !text.is_ascii()) {
            return Ok(None);
        }
        let tokens = Tokens { ids: Vec::new(), bytes: Some(Vec::new()) };
        let tokens = self.tokens(library, text, tokens)?;
        Ok(tokens.map(|tokens| Encoded { ids: tokens.ids, bytes: tokens.bytes.unwrap_or_default() }))
    }

    fn tokens(
        &self,
        library: &tokenizers::Tokenizer,
        text: &str,
        mut tokens: Tokens,
    ) -> tokenizers::Result<Option<Tokens>> {
        let Some(pieces) = self.added.raw.split(text) else { return Ok(None) };
        let mut workspace = self.take();
        let mut known = Ok(true);
        for piece in pieces {
            match piece {
                Piece::Token(id, bytes) => tokens.push(id, bytes),
                Piece::Text(bytes) => {
                    let (piece, start) = (&text[bytes.clone()], bytes.start);
                    known = self.piece(library, piece, start, &mut workspace, &mut tokens);
                    if !matches!(known, Ok(true)) {
                        break;
                    }
                }
            }
        }
        self.give_back(workspace);
        Ok(known?.then_some(tokens))
    }

    /// The tokens of what lies between added tokens; false if only the library knows them.
    fn piece(
        &self,
        library: &tokenizers::Tokenizer,
        piece: &str,
        start: usize,
        workspace: &mut Workspace,
        tokens: &mut Tokens,
    ) -> tokenizers::Result<bool> {
        let normal;
        let piece = if self.nfc && !piece.is_ascii() {
            let mut whole = NormalizedString::from(piece);
            tokenizers::normalizers::NFC.normalize(&mut whole)?;
            normal = whole.get().to_string();
            normal.as_str()
        } else {
            piece
        };
        let Some(pieces) = self.added.normal.split(piece) else { return Ok(false) };
        let Workspace { words, engines } = workspace;
        for part in pieces {
            match part {
                Piece::Token(id, bytes) => tokens.push(id, start + bytes.start..start + bytes.end),
                Piece::Text(bytes) => {
                    let at = start + bytes.start;
                    stage::cut(&self.stages, engines, &piece[bytes], at, &mut |word, at| {
                        words.tokens(library.get_model(), word, |id, bytes| {
                            tokens.push(id, at + bytes.start..at + bytes.end);
                        })
                    })?;
                }
            }
        }
        Ok(true)
    }

    fn take(&self) -> Workspace {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Workspace {
            words: WordCache::default(),
            engines: self.stages.iter().map(|_| None).collect(),
        })
    }

    fn give_back(&self, workspace: Workspace) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
    }
}

impl fmt::Debug for ByteLevelBpe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteLevelBpe").field("stages", &self.stages.len()).finish_non_exhaustive()
    }
}

/// Whether a post-processor that adds no special tokens leaves byte ranges alone, `None` if it is one that might do more.
fn ranges_stay(processor: &PostProcessorWrapper) -> Option<bool> {
    match processor {
        PostProcessorWrapper::ByteLevel(bytes) => Some(!bytes.trim_offsets),
        PostProcessorWrapper::Template(template) => {
            // The text once and nothing else but special tokens, which are not added here.
            let pieces = serde_json::to_value(&template.single).ok()?;
            let mut texts = pieces.as_array()?.iter().filter_map(|piece| piece.get("Sequence"));
            (texts.next()?.get("id")? == "A" && texts.next().is_none()).then_some(true)
        }
        PostProcessorWrapper::Sequence(all) => {
            let mut stay = true;
            for processor in all.as_ref() {
                stay &= ranges_stay(processor)?;
            }
            Some(stay)
        }
        _ => None,
    }
}

/// The stages of a pre-tokenizer that ends in `ByteLevel`, `None` if there is one that is not known here.
fn stages(pre_tokenizer: &PreTokenizerWrapper) -> Option<Vec<Stage>> {
    let (last, first) = match pre_tokenizer {
        PreTokenizerWrapper::Sequence(all) => all.as_ref().split_last()?,
        one => (one, [].as_slice()),
    };
    let PreTokenizerWrapper::ByteLevel(bytes) = last else { return None };
    if bytes.add_prefix_space {
        return None;
    }
    let mut stages = first.iter().map(Stage::of).collect::<Option<Vec<_>>>()?;
    if bytes.use_regex {
        stages.push(Stage::gpt2()?);
    }
    Some(stages)
}

#[cfg(test)]
mod tests;
