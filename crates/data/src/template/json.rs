//! The `tojson` filter as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`, no HTML escapes.

use super::python::float;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Error, ErrorKind};
use serde_json::Value;

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(value: &Jinja, kwargs: Kwargs) -> Result<String, Error> {
    let invalid = |m: String| Error::new(ErrorKind::InvalidOperation, m);
    if value.is_undefined() {
        return Err(invalid("tojson of an undefined value".into()));
    }
    let ensure_ascii = kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let indent = match kwargs.get::<Option<Jinja>>("indent")? {
        None => None,
        Some(v) if v.is_none() || v.is_undefined() => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(v.as_usize().ok_or_else(|| invalid(format!("tojson: indent {v}")))?),
        }),
    };
    let (mut comma, mut colon) = (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string());
    if let Some(separators) = kwargs.get::<Option<Jinja>>("separators")?.filter(|s| !s.is_none()) {
        (comma, colon) =
            (separators.get_item_by_index(0)?.to_string(), separators.get_item_by_index(1)?.to_string());
    }
    kwargs.assert_all_used()?;
    let value = serde_json::to_value(Serde(value).0).map_err(|e| invalid(format!("tojson: {e}")))?;
    let style = Style { indent, comma, colon, ensure_ascii, sort_keys };
    let mut out = String::new();
    style.write(&value, 0, &mut out);
    Ok(out)
}

struct Style {
    indent: Option<String>,
    comma: String,
    colon: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Number(n) => match n.as_f64() {
                Some(x) if n.is_f64() => out.push_str(&float(x)),
                _ => out.push_str(&n.to_string()),
            },
            Value::String(text) => self.write_string(text, out),
            Value::Array(list) => self.write_items(('[', ']'), list.iter(), depth, out, |item, out| {
                self.write(item, depth + 1, out);
            }),
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| *key);
                }
                self.write_items(('{', '}'), entries.into_iter(), depth, out, |(key, item), out| {
                    self.write_string(key, out);
                    out.push_str(&self.colon);
                    self.write(item, depth + 1, out);
                });
            }
        }
    }

    fn write_items<T>(
        &self,
        brackets: (char, char),
        items: impl Iterator<Item = T>,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String),
    ) {
        out.push(brackets.0);
        let mut any = false;
        for item in items {
            if any {
                out.push_str(&self.comma);
            }
            any = true;
            self.line(depth + 1, out);
            write(item, out);
        }
        if any {
            self.line(depth, out);
        }
        out.push(brackets.1);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    }

    fn write_string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' '
                    || (self.ensure_ascii && !c.is_ascii())
                    || (self.ensure_ascii && c == '\u{7f}') =>
                {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}
