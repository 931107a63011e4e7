//! The tokenizer of a model folder: ids, byte offsets, special tokens and the ids that end a turn.
//!
//! Special tokens are never added by the tokenizer itself: the chat template writes them, and adding them again
//! is how a prompt ends up with two BOS tokens.

mod byte_level;
mod stream;
mod train;
mod word_level;
mod write;

use crate::{DataError, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::AddedToken;

use byte_level::ByteLevelBpe;

pub use stream::TextStream;
pub use train::train_bpe;
pub use word_level::word_level;
pub use write::write_tokenizer_folder;

/// The special tokens by role, as strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begin of sequence.
    pub bos: Option<String>,
    /// End of sequence.
    pub eos: Option<String>,
    /// Padding.
    pub pad: Option<String>,
    /// Unknown.
    pub unk: Option<String>,
    /// All others, such as the marks of a chat format.
    pub additional: Vec<String>,
}

impl SpecialTokens {
    /// Every special token once, in the order bos, eos, pad, unk, additional.
    pub fn all(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let named = [&self.bos, &self.eos, &self.pad, &self.unk].into_iter().flatten();
        for token in named.chain(&self.additional) {
            if !all.contains(&token.as_str()) {
                all.push(token);
            }
        }
        all
    }
}

/// Text as token ids with the bytes of the text that each token covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids `[T]`.
    pub ids: Vec<u32>,
    /// Byte range of the input text per token `[T]`; the parts of a character split over several tokens share its range.
    pub bytes: Vec<Range<usize>>,
}

/// A loaded tokenizer. Cheap to share behind an `Arc`, all methods take `&self`.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    pub(crate) inner: tokenizers::Tokenizer,
    /// The quick way to the same ids, for tokenizers that have one.
    byte_level: Option<Arc<ByteLevelBpe>>,
    folder: Option<PathBuf>,
    specials: SpecialTokens,
    stop_ids: Vec<u32>,
    config: Map<String, Value>,
}

impl Tokenizer {
    /// Loads `tokenizer.json`, and where present `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json` (else `config.json`) from a model folder.
    ///
    /// # Errors
    /// A missing or malformed file, a special token that is not in the vocabulary, or a stop id out of range; the
    /// message names the file.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            return Err(DataError::file(
                &path,
                "no such file: the folder needs a fast tokenizer; in Python, \
                 AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes it",
            ));
        }
        let bytes = std::fs::read(&path).map_err(DataError::io(&path, "read"))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|e| DataError::file(&path, format!("not a tokenizer file: {e}")))?;
        // Kept in some files by their last user; both would change ids silently.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| DataError::file(&path, e.to_string()))?;

        let config_path = folder.join("tokenizer_config.json");
        let config = read_object(&config_path)?.unwrap_or_default();
        add_declared_tokens(&mut inner, &config, &config_path)?;
        let map = read_object(&folder.join("special_tokens_map.json"))?.unwrap_or_default();
        let specials = special_tokens(&config, &map);

        let folder_path = Some(folder.to_path_buf());
        let byte_level = ByteLevelBpe::of(&inner).map(Arc::new);
        let mut tokenizer =
            Self { inner, byte_level, folder: folder_path, specials, stop_ids: Vec::new(), config };
        for token in tokenizer.specials.all() {
            if tokenizer.token_to_id(token).is_none() {
                return Err(DataError::file(
                    &config_path,
                    format!("special token {token:?} is not in the vocabulary of tokenizer.json"),
                ));
            }
        }
        tokenizer.stop_ids = tokenizer.find_stop_ids(folder)?;
        Ok(tokenizer)
    }

    /// Wraps a tokenizer built in memory. The special tokens must be in its vocabulary.
    ///
    /// # Errors
    /// A special token that the vocabulary lacks.
    pub fn from_parts(inner: tokenizers::Tokenizer, specials: SpecialTokens) -> Result<Self> {
        let byte_level = ByteLevelBpe::of(&inner).map(Arc::new);
        let mut tokenizer =
            Self { inner, byte_level, folder: None, specials, stop_ids: Vec::new(), config: Map::new() };
        for token in tokenizer.specials.all() {
            if tokenizer.token_to_id(token).is_none() {
                return Err(DataError::Tokenizer(format!(
                    "special token {token:?} is not in the vocabulary"
                )));
            }
        }
        tokenizer.stop_ids = tokenizer.eos_id().into_iter().collect();
        Ok(tokenizer)
    }

    /// The ids of `text`, without special tokens around it; special tokens written in the text become their ids.
    ///
    /// # Errors
    /// Only if the tokenizer's own pipeline fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let failed = |e: tokenizers::Error| DataError::Tokenizer(e.to_string());
        if let Some(byte_level) = &self.byte_level
            && let Some(ids) = byte_level.ids(&self.inner, text).map_err(failed)?
        {
            return Ok(ids);
        }
        Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// As [`Self::encode`], with the byte range of `text` that each token covers.
    ///
    /// # Errors
    /// Only if the tokenizer's own pipeline fails.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Encoded> {
        let failed = |e: tokenizers::Error| DataError::Tokenizer(e.to_string());
        if let Some(byte_level) = &self.byte_level
            && let Some(encoded) = byte_level.ids_and_ranges(&self.inner, text).map_err(failed)?
        {
            return Ok(encoded);
        }
        let encoding = self.inner.encode(text, false).map_err(failed)?;
        let bytes = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok(Encoded { ids: encoding.get_ids().to_vec(), bytes })
    }

    /// The text of `ids`; with `skip_special_tokens` the special ones are left out.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        // The library leaves unknown ids out without a word.
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(DataError::Tokenizer(format!(
                "id {id} is not in the vocabulary of {}",
                self.vocab_size()
            )));
        }
        self.inner.decode(ids, skip_special_tokens).map_err(|e| DataError::Tokenizer(e.to_string()))
    }

    /// A decoder that takes one id at a time and gives text as soon as it is whole characters.
    pub fn stream(&self, skip_special_tokens: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special_tokens)
    }

    /// The id of a token given as it stands in the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id as it stands in the vocabulary (byte-level alphabets are not decoded).
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether `id` is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().get(&id).is_some_and(|t| t.special)
    }

    /// Number of tokens, added ones included. A model's embedding may have more rows than this.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The special tokens by role.
    pub fn specials(&self) -> &SpecialTokens {
        &self.specials
    }

    /// Begin-of-sequence id.
    pub fn bos_id(&self) -> Option<u32> {
        self.specials.bos.as_deref().and_then(|t| self.token_to_id(t))
    }

    /// End-of-sequence id of the tokenizer; generation may stop at more, see [`Self::stop_ids`].
    pub fn eos_id(&self) -> Option<u32> {
        self.specials.eos.as_deref().and_then(|t| self.token_to_id(t))
    }

    /// Padding id.
    pub fn pad_id(&self) -> Option<u32> {
        self.specials.pad.as_deref().and_then(|t| self.token_to_id(t))
    }

    /// Unknown-token id.
    pub fn unk_id(&self) -> Option<u32> {
        self.specials.unk.as_deref().and_then(|t| self.token_to_id(t))
    }

    /// The ids at which generation ends, ascending: those of the generation config and the tokenizer's EOS.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The BOS id if this tokenizer puts one before a text on its own when asked for special tokens.
    ///
    /// # Errors
    /// Only if the tokenizer's own pipeline fails.
    pub fn leading_bos(&self) -> Result<Option<u32>> {
        let Some(bos) = self.bos_id() else { return Ok(None) };
        let encoding = self.inner.encode_fast("a", true).map_err(|e| DataError::Tokenizer(e.to_string()))?;
        Ok((encoding.get_ids().first() == Some(&bos)).then_some(bos))
    }

    /// The folder this was loaded from.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// `tokenizer_config.json` as read (empty if there was none).
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    fn find_stop_ids(&self, folder: &Path) -> Result<Vec<u32>> {
        let mut ids: BTreeSet<u32> = self.eos_id().into_iter().collect();
        for name in ["generation_config.json", "config.json"] {
            let path = folder.join(name);
            let Some(object) = read_object(&path)? else { continue };
            match object.get("eos_token_id") {
                None | Some(Value::Null) => continue,
                Some(value) => ids.extend(eos_ids(value, &path)?),
            }
            break;
        }
        Ok(ids.into_iter().collect())
    }
}

/// `eos_token_id`: one id or a list of ids.
fn eos_ids(value: &Value, path: &Path) -> Result<Vec<u32>> {
    let one = |v: &Value| {
        v.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
            DataError::file(path, format!("eos_token_id must be a token id or a list of them, not {v}"))
        })
    };
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

/// Reads a JSON object, `None` if the file does not exist.
pub(crate) fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DataError::io(path, "read")(e)),
    };
    let object = serde_json::from_slice(&bytes)
        .map_err(|e| DataError::file(path, format!("not a JSON object: {e}")))?;
    Ok(Some(object))
}

/// A special token is written as a string or as an object with `content`.
fn token_text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Object(object) => object.get("content")?.as_str().map(str::to_string),
        _ => None,
    }
}

/// Roles from `tokenizer_config.json`, then from `special_tokens_map.json`. An explicit null in the first counts.
fn special_tokens(config: &Map<String, Value>, map: &Map<String, Value>) -> SpecialTokens {
    let role =
        |name: &str| token_text(if config.contains_key(name) { config.get(name) } else { map.get(name) });
    let mut additional = Vec::new();
    for object in [config, map] {
        // Current transformers write `extra_special_tokens`, earlier ones `additional_special_tokens`.
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            let Some(Value::Array(list)) = object.get(key) else { continue };
            for text in list.iter().filter_map(|v| token_text(Some(v))) {
                if !additional.contains(&text) {
                    additional.push(text);
                }
            }
        }
    }
    SpecialTokens {
        bos: role("bos_token"),
        eos: role("eos_token"),
        pad: role("pad_token"),
        unk: role("unk_token"),
        additional,
    }
}

/// Adds what `added_tokens_decoder` declares and `tokenizer.json` lacks, as transformers does.
fn add_declared_tokens(
    inner: &mut tokenizers::Tokenizer,
    config: &Map<String, Value>,
    path: &Path,
) -> Result<()> {
    let Some(Value::Object(declared)) = config.get("added_tokens_decoder") else { return Ok(()) };
    let mut missing: Vec<(u32, AddedToken)> = Vec::new();
    for (id, token) in declared {
        let id: u32 = id
            .parse()
            .map_err(|_| DataError::file(path, format!("added_tokens_decoder: {id:?} is not a token id")))?;
        let token: AddedToken = serde_json::from_value(token.clone())
            .map_err(|e| DataError::file(path, format!("added_tokens_decoder: token {id}: {e}")))?;
        if inner.token_to_id(&token.content).is_none() {
            missing.push((id, token));
        }
    }
    missing.sort_by_key(|(id, _)| *id);
    for (id, token) in missing {
        let content = token.content.clone();
        let added = if token.special { inner.add_special_tokens([token]) } else { inner.add_tokens([token]) };
        added.map_err(|e| DataError::file(path, format!("added_tokens_decoder: token {id}: {e}")))?;
        let got = inner.token_to_id(&content);
        if got != Some(id) {
            return Err(DataError::file(
                path,
                format!(
                    "added_tokens_decoder gives {content:?} the id {id}, tokenizer.json would give {got:?}"
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
