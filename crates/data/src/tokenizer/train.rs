//! Training a byte-level BPE vocabulary, for models that are made from nothing (the demo, the tests).

use super::{SpecialTokens, Tokenizer};
use crate::{DataError, Result};
use tokenizers::AddedToken;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;

/// Where words end before merges are looked for: contractions, letters with one sign before them, single digits,
/// punctuation, line ends, spaces. This is the rule of the GPT-2 family as Qwen uses it.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Trains a byte-level BPE tokenizer of at most `vocab_size` tokens, special tokens included (they get the first ids).
///
/// The alphabet is all 256 bytes, so every text has ids and comes back from them unchanged. The same texts in the same
/// order give the same vocabulary.
///
/// # Errors
/// A `vocab_size` that cannot hold the alphabet and the special tokens.
pub fn train_bpe<I, S>(texts: I, vocab_size: usize, specials: SpecialTokens) -> Result<Tokenizer>
where
    I: Iterator<Item = S> + Send,
    S: AsRef<str> + Send,
{
    let failed = |e: tokenizers::Error| DataError::Tokenizer(format!("training failed: {e}"));
    let least = 256 + specials.all().len();
    if vocab_size < least {
        return Err(DataError::Argument(format!(
            "vocab_size {vocab_size} is too small: 256 bytes and {} special tokens need {least}",
            specials.all().len()
        )));
    }
    let split = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Isolated, false)
        .map_err(failed)?;
    let bytes = ByteLevel::new(false, false, false);
    let mut inner = tokenizers::Tokenizer::new(BPE::default());
    inner.with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])));
    inner.with_decoder(Some(bytes));
    inner.with_post_processor(Some(bytes));

    let added: Vec<AddedToken> =
        specials.all().into_iter().map(|t| AddedToken::from(t, true).normalized(false)).collect();
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(added)
        .build()
        .into();
    inner.train(&mut trainer, texts).map_err(failed)?;
    Tokenizer::from_parts(inner, specials)
}
