//! Text on its way into a page.

use serde::Serialize;

/// Text as HTML text or as a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// A value as JSON inside of a script element: no `<`, so that no text can end the element, and none of the line
/// separators that old scripts take for line ends.
pub(crate) fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".into());
    text.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(
            escape("<img src=x onerror=\"a('b')\">&"),
            "&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt;&amp;"
        );
        let inside = json(&"</script><script>alert(1)</script><!--\u{2028}");
        assert!(!inside.contains('<') && !inside.contains('\u{2028}'), "{inside}");
        assert_eq!(
            serde_json::from_str::<String>(&inside).unwrap(),
            "</script><script>alert(1)</script><!--\u{2028}"
        );
    }
}
