//! `{% generation %}` blocks: the parts of a template that the model writes.
//!
//! minijinja has no custom tags, so the tag becomes an `if` that prints a mark, with the whitespace control where it
//! was; the marks are cut out of the rendered text and their places kept.

use super::Marked;
use std::ops::Range;

/// Name of the template variable printed at the start of a block.
pub(super) const OPEN: &str = "__generation_open";
/// Name of the template variable printed at the end of a block.
pub(super) const CLOSE: &str = "__generation_close";

/// Replaces generation tags; the second value says whether there were any.
pub(super) fn rewrite(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let (mut rest, mut found) = (source, false);
    while let Some(start) = source_tag(rest) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        // In a comment or an expression a tag means nothing.
        if !rest.starts_with("{%") {
            let end =
                if rest.starts_with("{#") { rest.find("#}").map(|i| i + 2) } else { tag_end(rest, "}}") };
            let end = end.unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let Some(end) = tag_end(rest, "%}") else { break };
        let tag = &rest[..end];
        let inner = &tag[2..tag.len() - 2];
        let (left, inner) = inner.strip_prefix(['-', '+']).map_or(("", inner), |i| (&tag[2..3], i));
        let (right, inner) =
            inner.strip_suffix(['-', '+']).map_or(("", inner), |i| (&tag[tag.len() - 3..tag.len() - 2], i));
        match inner.trim() {
            name @ ("generation" | "endgeneration") => {
                let mark = if name == "generation" { OPEN } else { CLOSE };
                out.push_str(&format!("{{%{left} if true %}}{{{{ {mark} }}}}{{% endif {right}%}}"));
                found = true;
            }
            "raw" => {
                let stop = rest.find("endraw").map_or(rest.len(), |i| i + "endraw".len());
                out.push_str(&rest[..stop]);
                rest = &rest[stop..];
                continue;
            }
            _ => out.push_str(tag),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    (out, found)
}

/// Byte place of the next block tag, comment or expression.
fn source_tag(text: &str) -> Option<usize> {
    ["{%", "{#", "{{"].into_iter().filter_map(|open| text.find(open)).min()
}

/// Byte length of the tag at the start of `text` with its closing `close`, string literals skipped.
fn tag_end(text: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[i..].starts_with(close) => return Some(i + close.len()),
            None => {}
        }
    }
    None
}

/// Two private-use characters that do not occur in `taken`.
pub(super) fn free_marks(taken: &str) -> Option<(char, char)> {
    let mut free = ('\u{E000}'..='\u{F8FF}').filter(|c| !taken.contains(*c));
    Some((free.next()?, free.next()?))
}

/// Takes the marks out of a rendered text.
pub(super) fn cut(text: &str, open: char, close: char) -> Result<Marked, String> {
    let mut clean = String::with_capacity(text.len());
    let mut generated: Vec<Range<usize>> = Vec::new();
    let mut start = None;
    for c in text.chars() {
        if c == open {
            if start.replace(clean.len()).is_some() {
                return Err("a {% generation %} block opens inside another".into());
            }
        } else if c == close {
            let start = start.take().ok_or("an {% endgeneration %} without its {% generation %}")?;
            generated.push(start..clean.len());
        } else {
            clean.push(c);
        }
    }
    match start {
        Some(_) => Err("a {% generation %} block is not closed".into()),
        None => Ok(Marked { text: clean, generated }),
    }
}
