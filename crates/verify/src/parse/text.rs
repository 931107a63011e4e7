//! Running text: its normal form, and phrases that mean something mathematical.

use super::Reader;
use crate::lex::Tok;
use crate::value::Value;
use crate::work::Bounded;

/// An ellipsis in the normal form of a text, however it was written.
pub(super) const ELLIPSIS: &str = "\u{2026}";

/// Words in front of a number that change what it says.
pub(super) fn changes_meaning(word: &str) -> bool {
    matches!(
        word,
        "not"
            | "no"
            | "non"
            | "without"
            | "never"
            | "least"
            | "most"
            | "less"
            | "more"
            | "fewer"
            | "greater"
            | "under"
            | "over"
            | "below"
            | "above"
            | "between"
            | "half"
            | "twice"
            | "double"
            | "triple"
            | "base"
            | "neither"
            | "infinitely"
    ) || month(word)
}

/// A month's name: with the day it is a date, and the day alone says another thing.
fn month(word: &str) -> bool {
    matches!(
        word,
        "january"
            | "february"
            | "march"
            | "april"
            | "may"
            | "june"
            | "july"
            | "august"
            | "september"
            | "october"
            | "november"
            | "december"
    )
}

/// Words after which a value is announced, so that the words before it say nothing else.
pub(super) fn announces(word: &str) -> bool {
    matches!(
        word,
        "is" | "are"
            | "be"
            | "equals"
            | "equal"
            | "answer"
            | "answers"
            | "approximately"
            | "about"
            | "exactly"
            | "roughly"
            | "around"
            | "solution"
            | "solutions"
            | "result"
            | "value"
            | "to"
            | "thus"
            | "so"
            | "therefore"
            | "hence"
            | "either"
            | "was"
            | "were"
            | "have"
            | "has"
            | "get"
            | "total"
            | "only"
            | "interval"
            | "range"
            | "domain"
            | "both"
    )
}

impl Reader<'_> {
    /// Whether the range is only words, and what they mean.
    pub(super) fn whole_text(&mut self, lo: usize, hi: usize) -> Option<Value> {
        if self.tok(lo) != Some(Tok::Word) && !(lo..hi).all(|i| self.tok(i) == Some(Tok::Word)) {
            return None;
        }
        // "Yes, it is": the clause behind the comma repeats the answer.
        if matches!(self.text_of(lo).as_str(), "yes" | "no")
            && self.tok(lo + 1) == Some(Tok::Comma)
            && (lo + 2..hi)
                .all(|i| self.tok(i) == Some(Tok::Word) && !matches!(self.text_of(i).as_str(), "yes" | "no"))
        {
            return meaning(&self.text_of(lo));
        }
        let words = (lo..hi).all(|i| {
            matches!(self.tok(i), Some(Tok::Word | Tok::Minus | Tok::Prime | Tok::Or | Tok::And | Tok::In))
        });
        let listed = (lo..hi).any(|i| matches!(self.tok(i), Some(Tok::Comma | Tok::Num(_))));
        let infinite = (lo..hi).any(|i| self.tok(i) == Some(Tok::Infinity));
        if infinite || (words && self.lettered_list(lo, hi)) {
            return None;
        }
        if !words && (listed || !(lo..hi).all(|i| self.p.tokens[i].text)) {
            return None;
        }
        meaning(&self.normal_text(lo, hi))
    }

    /// Single letters with "and" or "or" between: a list of choices.
    fn lettered_list(&self, lo: usize, hi: usize) -> bool {
        let joins = |i: &usize| matches!(self.tok(*i), Some(Tok::And | Tok::Or));
        let letter = |i: usize| self.p.tokens[i].end - self.p.tokens[i].start == 1;
        hi - lo >= 3 && (lo..hi).any(|i| joins(&i)) && (lo..hi).filter(|i| !joins(i)).all(letter)
    }

    /// Text for a range that the grammar could not read.
    pub(super) fn as_text(&mut self, lo: usize, hi: usize) -> Bounded<Value> {
        let text = self.normal_text(lo, hi);
        self.p.work.charge(text.len() as u32 / 4)?;
        if let Some(v) = meaning(&text) {
            return Ok(v);
        }
        let words = (lo..hi).filter(|i| self.tok(*i) == Some(Tok::Word)).count();
        if words * 2 >= hi - lo {
            return Ok(Value::Text(text));
        }
        Ok(Value::Unread(text))
    }

    /// Lower case, one space between words, no mark-up.
    pub(super) fn normal_text(&self, lo: usize, hi: usize) -> String {
        let mut text = String::new();
        for token in &self.p.tokens[lo..hi] {
            let raw = &self.p.src[token.start as usize..token.end as usize];
            let piece = match String::from_utf8_lossy(raw) {
                sign if sign == "△" => "triangle".into(),
                _ if token.tok == Tok::Dots => ELLIPSIS.into(),
                sign if sign == "∠" || sign == "\\measuredangle" => "angle".into(),
                other => other,
            };
            let word = token.tok == Tok::Word;
            let letters = word || raw.first().is_some_and(u8::is_ascii_alphabetic);
            if matches!(token.tok, Tok::LBrace | Tok::RBrace | Tok::Comma | Tok::Overline) {
                continue;
            }
            let after_letter = text.ends_with(char::is_alphabetic);
            if !text.is_empty() && (token.spaced || (letters != after_letter) || (word && after_letter)) {
                text.push(' ');
            }
            for c in piece.chars().filter(|c| !matches!(c, '\\' | '.' | '{' | '}' | '$' | ' ')) {
                text.extend(c.to_lowercase());
            }
        }
        text
    }
}

/// Phrases with a mathematical meaning; other words are text.
fn meaning(text: &str) -> Option<Value> {
    let text = text.strip_prefix("it is ").unwrap_or(text);
    let text = text.strip_prefix("a ").or_else(|| text.strip_prefix("an ")).unwrap_or(text);
    let trimmed = text
        .strip_prefix("the ")
        .or_else(|| text.strip_prefix("there are "))
        .or_else(|| text.strip_prefix("there is "))
        .unwrap_or(text);
    Some(match trimmed {
        "yes" | "true" => Value::Truth(true),
        "no" | "false" => Value::Truth(false),
        "no solution" | "no solutions" | "none" | "no real solution" | "no real solutions" | "empty set"
        | "null set" | "no such" | "no values" | "no roots" | "no real roots" => Value::Empty,
        "all real numbers"
        | "set of all real numbers"
        | "every real number"
        | "reals"
        | "set of real numbers"
        | "all reals"
        | "all real"
        | "any real number"
        | "real numbers"
        | "all real numbers x" => Value::Reals,
        "dne" | "undefined" | "not defined" => Value::Text("undefined".into()),
        _ if trimmed.ends_with("does not exist") || trimmed.ends_with(" is undefined") => {
            Value::Text("undefined".into())
        }
        "infinitely many" | "infinitely many solutions" | "infinite" | "infinitely" => {
            Value::Text("infinitely many".into())
        }
        _ => {
            let wordy = trimmed.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '-' || c == '\'');
            if !wordy || trimmed.is_empty() {
                return None;
            }
            Value::Text(trimmed.to_string())
        }
    })
}
