//! A vocabulary of whole words, for generated languages whose words are known beforehand.

use super::{SpecialTokens, Tokenizer};
use crate::{DataError, Result};
use tokenizers::AddedToken;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

/// A tokenizer with one token for each of `words`, which white space separates. Special tokens get the first ids; what
/// is in neither becomes the unknown token, which `specials` must name.
///
/// White space is not kept: decoding puts one space between tokens.
///
/// # Errors
/// No unknown token; a word that is empty, has white space in it, or comes twice.
pub fn word_level(words: impl IntoIterator<Item = String>, specials: SpecialTokens) -> Result<Tokenizer> {
    let failed = |e: tokenizers::Error| DataError::Tokenizer(e.to_string());
    let Some(unk) = specials.unk.clone() else {
        return Err(DataError::Argument("a vocabulary of words needs an unknown token".into()));
    };
    let mut vocab = tokenizers::models::bpe::Vocab::new();
    let all = specials.all().into_iter().map(str::to_owned).chain(words);
    for (id, word) in all.enumerate() {
        if word.is_empty() || word.contains(char::is_whitespace) {
            return Err(DataError::Argument(format!("{word:?} is not one word")));
        }
        if vocab.insert(word.clone(), id as u32).is_some() {
            return Err(DataError::Argument(format!("the word {word:?} comes twice")));
        }
    }
    let model = WordLevel::builder().vocab(vocab).unk_token(unk).build().map_err(failed)?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(WhitespaceSplit));
    let added: Vec<AddedToken> =
        specials.all().into_iter().map(|t| AddedToken::from(t, true).normalized(false)).collect();
    inner.add_special_tokens(added).map_err(failed)?;
    Tokenizer::from_parts(inner, specials)
}
