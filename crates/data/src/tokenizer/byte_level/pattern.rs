//! Patterns for words in an engine that never looks back.
//!
//! The patterns of current tokenizers end in `|\s+(?!\S)|\s+`: spaces before a word, all but the last. Because of the
//! look-ahead the library's engine goes through the alternatives one by one. The same matches come from three patterns
//! without it, of which the first that matches counts, as in an alternation:
//!
//! 1. the other alternatives, or spaces up to the end of the text;
//! 2. two spaces or more, of which the last is given back;
//! 3. spaces.
//!
//! A run of spaces is taken whole by 1 at the end of the text, and without its last space by 2 elsewhere; a single one
//! that stands before a word by 3. That is what the look-ahead says. Both engines read a pattern by the same parser and
//! the same Unicode tables; what they might read differently is not taken ([`reads_alike`]).

use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::{Anchored, Input};
use std::ops::Range;

const SPACES: &str = r"|\s+(?!\S)|\s+";
/// Which of the three patterns gives its last character back.
const GIVES_BACK: usize = 1;

/// A pattern of this form.
pub(super) struct WordPattern(Regex);

impl WordPattern {
    /// `None` for a pattern that is not of this form.
    pub fn of(pattern: &str) -> Option<Self> {
        let others = pattern.strip_suffix(SPACES).filter(|others| reads_alike(others))?;
        // Enough for all states that text in several scripts visits.
        let config = Config::new().hybrid_cache_capacity(8 << 20);
        let patterns = [&format!(r"{others}|\s+\z"), r"\s+\s", r"\s+"];
        let regex = Regex::builder().configure(config).build_many(&patterns).ok()?;
        // An empty match would be at home between all characters.
        (!regex.is_match("")).then_some(Self(regex))
    }

    /// What this needs while it searches.
    pub fn engine(&self) -> Cache {
        self.0.create_cache()
    }

    /// Gives `found` the matches in order.
    pub fn find<E>(
        &self,
        engine: &mut Cache,
        text: &str,
        mut found: impl FnMut(Range<usize>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        while at < text.len() {
            // Nearly always a match begins where the last one ended.
            let here = Input::new(text).range(at..).anchored(Anchored::Yes);
            let (start, pattern, mut end) = match self.0.search_half_with(engine, &here) {
                Some(half) => (at, half.pattern(), half.offset()),
                None => match self.0.search_with(engine, &Input::new(text).range(at..)) {
                    Some(found) => (found.start(), found.pattern(), found.end()),
                    None => break,
                },
            };
            if pattern.as_usize() == GIVES_BACK {
                end -= text[start..end].chars().next_back().map_or(0, char::len_utf8);
            }
            found(start..end)?;
            at = end;
        }
        Ok(())
    }
}

/// Whether both engines surely read a pattern alike: characters, classes, groups without or regardless of case, and
/// greedy repetition. Left out are look-around, references, possessive and lazy repetition, anchors, nested classes.
fn reads_alike(pattern: &str) -> bool {
    let mut rest = pattern.chars().peekable();
    let (mut in_class, mut depth) = (false, 0_u32);
    let mut after_repetition = false;
    while let Some(c) = rest.next() {
        let mut repetition = false;
        match c {
            '\\' => match rest.next() {
                Some('p' | 'P') if rest.next_if_eq(&'{').is_some() => {
                    if !rest.by_ref().take_while(|&c| c != '}').all(|c| c.is_ascii_alphabetic()) {
                        return false;
                    }
                }
                Some('r' | 'n' | 't' | 's' | 'S' | 'd') => {}
                // `\<` and `\>` are the edges of words.
                Some(c) if c.is_ascii_punctuation() && c != '<' && c != '>' => {}
                _ => return false,
            },
            '[' if in_class => return false,
            ']' if in_class => in_class = false,
            '&' | '-' | '~' if in_class && rest.peek() == Some(&c) => return false,
            _ if in_class => {}
            '[' => {
                in_class = true;
                rest.next_if_eq(&'^');
                if rest.peek() == Some(&']') {
                    return false;
                }
            }
            '(' => {
                let flags: String = rest.by_ref().take_while(|&c| c != ':').collect();
                if flags != "?" && flags != "?i" {
                    return false;
                }
                depth += 1;
            }
            ')' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            '{' => {
                let counts: String = rest.by_ref().take_while(|&c| c != '}').collect();
                let is_count = |n: &str| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit());
                if !counts.split(',').all(is_count) || after_repetition {
                    return false;
                }
                repetition = true;
            }
            '*' | '+' | '?' => {
                if after_repetition {
                    return false;
                }
                repetition = true;
            }
            '^' | '$' | '.' | '}' | ']' => return false,
            _ => {}
        }
        after_repetition = repetition;
    }
    !in_class && depth == 0
}
