//! The rules that end words, on plain text.

use super::pattern::WordPattern;
use regex_automata::meta;
use std::ops::Range;
use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;

/// The pattern that `ByteLevel` brings along.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// One pre-tokenizer that cuts text without dropping any.
pub(super) enum Stage {
    /// `Split` by a pattern whose matches a fast engine finds.
    Words(WordPattern),
    /// `Split` by any other pattern, with the library's engine.
    Pattern(Split),
    /// `Digits`, each by itself or in runs.
    Digits { each: bool },
}

/// What an engine remembers between searches; nothing before the first.
pub(super) type Engine = Option<meta::Cache>;

impl Stage {
    /// `None` for what is not known here.
    pub fn of(pre_tokenizer: &PreTokenizerWrapper) -> Option<Self> {
        match pre_tokenizer {
            PreTokenizerWrapper::Split(split)
                if split.behavior == SplitDelimiterBehavior::Isolated && !split.invert =>
            {
                let words = match &split.pattern {
                    SplitPattern::Regex(pattern) => WordPattern::of(pattern),
                    SplitPattern::String(_) => None,
                };
                Some(words.map_or_else(|| Self::Pattern(split.clone()), Self::Words))
            }
            PreTokenizerWrapper::Digits(digits) => Some(Self::Digits { each: digits.individual_digits }),
            _ => None,
        }
    }

    /// The stage of a `ByteLevel` that uses its own pattern.
    pub fn gpt2() -> Option<Self> {
        WordPattern::of(GPT2).map(Self::Words)
    }

    /// Gives `out` the parts of `text` in order. They may be empty.
    fn parts<E>(
        &self,
        engine: &mut Engine,
        text: &str,
        mut out: impl FnMut(Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut end = 0;
        let mut found = |part: Range<usize>| {
            out(end..part.start)?;
            end = part.end;
            out(part)
        };
        match self {
            Self::Words(words) => {
                words.find(engine.get_or_insert_with(|| words.engine()), text, &mut found)?;
            }
            Self::Pattern(split) => {
                split.regex.find_iter(text).try_for_each(|(start, end)| found(start..end))?;
            }
            Self::Digits { each: true } => {
                text.match_indices(char::is_numeric).try_for_each(|(at, c)| found(at..at + c.len()))?;
            }
            Self::Digits { each: false } => runs_of_digits(text).try_for_each(found)?,
        }
        out(end..text.len())
    }
}

fn runs_of_digits(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(char::is_numeric)?;
        let len = text[start..].find(|c: char| !c.is_numeric());
        rest = len.map_or(text.len(), |len| start + len);
        Some(start..rest)
    })
}

/// Cuts `text`, which begins at byte `at` of something larger, by all stages and gives `out` the words in order.
pub(super) fn cut<E>(
    stages: &[Stage],
    engines: &mut [Engine],
    text: &str,
    at: usize,
    out: &mut impl FnMut(&str, usize) -> Result<(), E>,
) -> Result<(), E> {
    if text.is_empty() {
        return Ok(());
    }
    match (stages.split_first(), engines.split_first_mut()) {
        (Some((stage, stages)), Some((engine, engines))) => {
            stage.parts(engine, text, |part| cut(stages, engines, &text[part.clone()], at + part.start, out))
        }
        _ => out(text, at),
    }
}
