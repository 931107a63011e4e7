//! Finds the final answer in a completion.

use crate::braces;
use std::borrow::Cow;
use std::ops::Range;

/// Where an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The last `\boxed{}` or `\fbox{}`, or several side by side.
    Boxed,
    /// A phrase such as "the final answer is".
    Phrase,
    /// A line that starts with `A:` or follows `####`.
    Marker,
    /// The last number of the text.
    LastNumber,
}

/// Which sources may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Boxes.
    pub boxed: bool,
    /// Phrases and `A:` lines.
    pub phrase: bool,
    /// `####`.
    pub marker: bool,
    /// The last number, if nothing else is found.
    pub last_number: bool,
    /// Only this many bytes at the end are read.
    pub window: usize,
}

impl Default for ExtractOptions {
    fn default() -> ExtractOptions {
        ExtractOptions { boxed: true, phrase: true, marker: true, last_number: false, window: 1 << 20 }
    }
}

/// An answer in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Byte range of the answer (from the first to the last box, if there are several).
    pub span: Range<usize>,
    /// The answers, more than one if boxes stand side by side.
    pub parts: Vec<Range<usize>>,
    /// How it was found.
    pub how: Source,
}

impl Extracted {
    /// The answer as text; several boxes become a list.
    pub fn text<'a>(&self, source: &'a str) -> Cow<'a, str> {
        let get = |r: &Range<usize>| source.get(r.clone()).unwrap_or("");
        match self.parts.as_slice() {
            [one] => Cow::Borrowed(get(one)),
            parts => Cow::Owned(parts.iter().map(get).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Finds the answer in bytes that need not be UTF-8; the span counts bytes of the lossy text, which is returned.
pub fn extract_bytes<'a>(bytes: &'a [u8], options: &ExtractOptions) -> (Cow<'a, str>, Option<Extracted>) {
    let text = String::from_utf8_lossy(bytes);
    let found = extract(&text, options);
    (text, found)
}

/// Finds the final answer: boxes first, then a phrase, then `####`, then, if allowed, the last number.
pub fn extract(text: &str, options: &ExtractOptions) -> Option<Extracted> {
    let mut start = text.len().saturating_sub(options.window);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let tail = &text[start..];
    let shift = |r: Range<usize>| r.start + start..r.end + start;
    if options.boxed {
        let boxes = last_boxes(tail);
        if let (Some(first), Some(last)) = (boxes.first(), boxes.last()) {
            let span = shift(first.start..last.end);
            return Some(Extracted {
                span,
                parts: boxes.into_iter().map(shift).collect(),
                how: Source::Boxed,
            });
        }
    }
    let single = |r: Range<usize>, how| {
        let r = shift(r);
        Some(Extracted { span: r.clone(), parts: vec![r], how })
    };
    if options.phrase
        && let Some(r) = phrase(tail)
    {
        return single(r, Source::Phrase);
    }
    if options.marker
        && let Some(r) = marker(tail)
    {
        return single(r, Source::Marker);
    }
    if options.last_number
        && let Some(r) = last_number(tail)
    {
        return single(r, Source::LastNumber);
    }
    None
}

/// Contents of one box at `at`, where a box command starts: the range inside the braces and the end of the box.
fn box_at(text: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let rest = &text[at..];
    let name = [&b"\\boxed"[..], b"\\fbox", b"\x08oxed"].into_iter().find(|n| rest.starts_with(n))?;
    let mut open = at + name.len();
    while text.get(open) == Some(&b' ') {
        open += 1;
    }
    match text.get(open)? {
        b'{' => {
            let close = braces::closing(text, open)?;
            Some((open + 1..close, close + 1))
        }
        // `\boxed 5`: up to the end of the mathematics.
        b'0'..=b'9' | b'-' => {
            let len = text[open..].iter().take_while(|b| !matches!(b, b'$' | b'\n' | b' ' | b'\\')).count();
            (name.len() < open - at).then_some((open..open + len, open + len))
        }
        _ => None,
    }
}

/// The last balanced box, with the boxes that stand directly before it.
fn last_boxes(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut end_of_last = 0usize;
    let mut at = 0;
    // A box that is not closed costs a scan to the end; few such scans are allowed.
    let mut unclosed = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'\\' | 0x08) {
            at += 1;
            continue;
        }
        match box_at(bytes, at) {
            Some((inner, end)) => {
                let between = &text[end_of_last.min(at)..at];
                if !adjacent(between) {
                    found.clear();
                }
                if found.len() < 64 {
                    found.push(trimmed(text, inner));
                }
                end_of_last = end;
                at = end;
            }
            None => {
                if bytes[at..].starts_with(b"\\boxed") || bytes[at..].starts_with(b"\\fbox") {
                    unclosed += 1;
                    if unclosed > 16 {
                        break;
                    }
                }
                at += 1;
            }
        }
    }
    found
}

/// Whether what stands between two boxes only joins them.
fn adjacent(between: &str) -> bool {
    if between.len() > 40
        || between.contains('\n') && between.trim().is_empty() && between.matches('\n').count() > 1
    {
        return false;
    }
    let rest = between.replace("\\text", " ").replace("\\quad", " ").replace("\\,", " ").replace("\\;", " ");
    // `x = ` in front of the second box names what is in it.
    let rest = rest.replace(" =", "=");
    rest.split(|c: char| !c.is_alphanumeric() && !matches!(c, '=' | '+' | '-' | '.' | ':' | '\\' | '_'))
        .all(|w| matches!(w, "" | "and" | "or") || w.strip_suffix('=').is_some_and(names))
}

/// Whether a word is a letter, or a letter with an index.
fn names(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(char::is_alphabetic)
        && matches!(chars.as_str().as_bytes(), [] | [b'_', _] | [b'1'..=b'9'])
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let inner = text.get(range.clone()).unwrap_or("");
    let start = range.start + (inner.len() - inner.trim_start().len());
    start..start + inner.trim().len()
}

/// The content of the only box of a text that is an answer itself.
pub(crate) fn single_box(text: &str) -> Option<Range<usize>> {
    if !text.contains("oxed") && !text.contains("\\fbox") {
        return None;
    }
    let boxes = last_boxes(text);
    match boxes.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    }
}

/// Phrases that announce the final answer, most telling first; matched without case.
const PHRASES: [&str; 12] = [
    "final answer is",
    "final answer:",
    "the answer is",
    "answer is:",
    "hence ans",
    "therefore ans",
    "answer:",
    "answer :",
    "answer is",
    "correct option is",
    "correct choice is",
    "ans:",
];

/// What follows the last phrase, up to the end of its line or sentence.
fn phrase(text: &str) -> Option<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let mut best: Option<(usize, usize)> = None;
    for p in PHRASES {
        if let Some(at) = lower.rfind(p) {
            let end = at + p.len();
            if best.is_none_or(|b| end > b.1) {
                best = Some((at, end));
            }
        }
    }
    if let Some(at) = last_line_marker(text)
        && best.is_none_or(|b| at > b.1)
    {
        best = Some((at, at));
    }
    let (_, end) = best?;
    let skip =
        text[end..].len() - text[end..].trim_start_matches([' ', ':', '*', '\n', '\t', '\r', '=']).len();
    let start = end + skip;
    let line = text[start..].lines().next().unwrap_or("");
    let range = trimmed(text, start..start + sentence(line));
    (!range.is_empty()).then_some(range)
}

/// Start of the answer of the last line of the form `A: 18`.
fn last_line_marker(text: &str) -> Option<usize> {
    let at = text.rfind("\nA:").map(|i| i + 3).or_else(|| text.starts_with("A:").then_some(2))?;
    // A whole paragraph behind the mark is an explanation, not an answer.
    let line = text[at..].lines().next().unwrap_or("");
    (line.trim().len() <= 60).then_some(at)
}

/// Length of the first sentence: up to a full stop that is not in a number, or a mark that closes emphasis.
fn sentence(line: &str) -> usize {
    let bytes = line.as_bytes();
    let mut end = bytes.len();
    for i in 0..bytes.len() {
        let stop = bytes[i] == b'.'
            && bytes.get(i + 1).is_none_or(|b| b.is_ascii_whitespace())
            && !(i >= 1
                && bytes[i - 1].is_ascii_alphabetic()
                && i >= 2
                && matches!(bytes[i - 2], b'.' | b' '));
        if stop {
            end = i;
            break;
        }
    }
    let line = &line[..end];
    line.trim_end_matches(['.', '*', ' ', '\r']).len()
}

/// What follows the last `####`, to the end of its line.
fn marker(text: &str) -> Option<Range<usize>> {
    let at = text.rfind("####")? + 4;
    let line = text[at..].lines().next().unwrap_or("");
    let range = trimmed(text, at..at + line.len());
    (!range.is_empty()).then_some(range)
}

/// The last number of the text, with its sign, separators and fraction.
fn last_number(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let last = bytes.iter().rposition(u8::is_ascii_digit)?;
    let part = |i: usize| {
        bytes[i].is_ascii_digit()
            || (matches!(bytes[i], b'.' | b',' | b'/')
                && i > 0
                && bytes[i - 1].is_ascii_digit()
                && bytes.get(i + 1).is_some_and(u8::is_ascii_digit))
            || (bytes[i] == b'.' && bytes.get(i + 1).is_some_and(u8::is_ascii_digit))
    };
    let mut start = last;
    while start > 0 && part(start - 1) {
        start -= 1;
    }
    if start > 0 && bytes[start - 1] == b'-' && !(start > 1 && bytes[start - 2].is_ascii_alphanumeric()) {
        start -= 1;
    }
    let end = if bytes.get(last + 1) == Some(&b'%') { last + 2 } else { last + 1 };
    Some(start..end)
}
