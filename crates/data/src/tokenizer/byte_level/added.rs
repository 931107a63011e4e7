//! Where the added tokens stand in a text: the longest of the leftmost ones, as the library looks for them.

use aho_corasick::{AhoCorasick, MatchKind};
use std::ops::Range;

/// The added tokens of a tokenizer.
pub(super) struct AddedTokens {
    /// Looked for in the text as it is given.
    pub raw: Finder,
    /// Looked for in what lies between those, after the normalizer.
    pub normal: Finder,
}

/// A set of added tokens.
pub(super) struct Finder {
    /// `None` for an empty set.
    automaton: Option<AhoCorasick>,
    /// By pattern: its id, `None` if the library alone knows what such a token takes with it.
    ids: Vec<Option<u32>>,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes without an added token; never empty.
    Text(Range<usize>),
    /// An added token.
    Token(u32, Range<usize>),
}

impl AddedTokens {
    /// `None` if the tokens cannot be looked for.
    pub fn of(library: &tokenizers::Tokenizer) -> Option<Self> {
        let (mut raw, mut normal) = (Vec::new(), Vec::new());
        for (&id, token) in library.get_added_vocabulary().get_added_tokens_decoder() {
            let plain = !(token.lstrip || token.rstrip || token.single_word);
            if token.normalized {
                // The library keeps such a token as its normalizer writes it.
                let content = library.get_added_vocabulary().simple_id_to_token(id)?;
                normal.push((content, plain.then_some(id)));
            } else {
                raw.push((token.content.clone(), plain.then_some(id)));
            }
        }
        Some(Self { raw: Finder::new(raw)?, normal: Finder::new(normal)? })
    }
}

impl Finder {
    fn new(tokens: Vec<(String, Option<u32>)>) -> Option<Self> {
        let automaton = if tokens.is_empty() {
            None
        } else {
            let contents = tokens.iter().map(|(content, _)| content);
            Some(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(contents).ok()?)
        };
        Some(Self { automaton, ids: tokens.into_iter().map(|(_, id)| id).collect() })
    }

    /// The text in order, `None` if it has a token that only the library can cut out.
    pub fn split(&self, text: &str) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut end = 0;
        for found in self.automaton.iter().flat_map(|automaton| automaton.find_iter(text)) {
            let id = self.ids[found.pattern().as_usize()]?;
            if end < found.start() {
                pieces.push(Piece::Text(end..found.start()));
            }
            pieces.push(Piece::Token(id, found.range()));
            end = found.end();
        }
        if end < text.len() {
            pieces.push(Piece::Text(end..text.len()));
        }
        Some(pieces)
    }
}
