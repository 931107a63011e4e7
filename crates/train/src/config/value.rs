//! The types that a setting can have, from a file, from a flag, and back.

use std::path::Path;

use serde_json::Value;

/// One setting, for help, files and flags.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in files; flags write `-` for `_`.
    pub name: &'static str,
    /// The heading that it is printed under.
    pub group: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Other trainers' names for it.
    pub aliases: &'static [&'static str],
    /// Its type in words.
    pub kind: &'static str,
    /// Reads a flag's text; `None` when it is not of this type.
    pub parse: fn(&str) -> Option<Value>,
    /// Whether a value of a file is of this type.
    pub reads: fn(&Value) -> bool,
}

/// Paths as the text of a flag that takes a list: with commas between them, and a backslash before their own.
pub fn list_of_paths<P: AsRef<Path>>(paths: &[P]) -> String {
    let path = |path: &P| path.as_ref().display().to_string().replace(',', r"\,");
    paths.iter().map(path).collect::<Vec<_>>().join(",")
}

/// A type of setting.
pub trait Setting: Sized {
    /// The type in words.
    const KIND: &'static str;
    /// Reads a value of a file.
    fn read(value: &Value) -> Option<Self>;
    /// Writes it as a value.
    fn write(&self) -> Value;
    /// Reads a flag's text as a value.
    fn parse(text: &str) -> Option<Value>;
}

/// Settings whose flag is parsed with `FromStr` and whose value is `Into<Value>`.
macro_rules! plain {
    ($($type:ty, $kind:literal, $read:expr;)+) => {
        $(impl Setting for $type {
            const KIND: &'static str = $kind;

            fn read(value: &Value) -> Option<Self> {
                let read: fn(&Value) -> Option<Self> = $read;
                read(value)
            }

            fn write(&self) -> Value {
                Value::from(self.clone())
            }

            fn parse(text: &str) -> Option<Value> {
                // JSON has no NaN and no infinity: such a number becomes null, which is none.
                text.parse::<$type>().ok().map(Value::from).filter(|value| !value.is_null())
            }
        })+
    };
}

plain! {
    bool, "true or false", Value::as_bool;
    u64, "a whole number", whole;
    u32, "a whole number", |value| whole(value).and_then(|n| n.try_into().ok());
    usize, "a whole number", |value| whole(value).and_then(|n| n.try_into().ok());
    i64, "a whole number, -1 for none", |value| value.as_i64();
    f64, "a number", |value| value.as_f64().filter(|x| x.is_finite());
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64()
}

impl Setting for String {
    const KIND: &'static str = "a text";

    /// TRL's booleans for settings that have names (`scale_rewards = true`) are read as their text.
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    fn write(&self) -> Value {
        Value::from(self.as_str())
    }

    fn parse(text: &str) -> Option<Value> {
        Some(Value::from(text))
    }
}

impl Setting for Vec<String> {
    const KIND: &'static str = "a text or a list of texts";

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    }

    fn write(&self) -> Value {
        Value::from(self.clone())
    }

    /// Parts between commas; `\,` is a comma of a part, as in a file's name.
    fn parse(text: &str) -> Option<Value> {
        let mut parts = vec![String::new()];
        let mut rest = text;
        while let Some(at) = rest.find(',') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            if let Some(part) = parts.last_mut() {
                part.push_str(before.strip_suffix('\\').unwrap_or(before));
                if before.ends_with('\\') {
                    part.push(',');
                } else {
                    parts.push(String::new());
                }
            }
            rest = after;
        }
        if let Some(part) = parts.last_mut() {
            part.push_str(rest);
        }
        Some(Value::from(parts.iter().map(|part| part.trim()).collect::<Vec<_>>()))
    }
}

impl Setting for Vec<f64> {
    const KIND: &'static str = "a list of numbers";

    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(Value::as_f64).collect()
    }

    fn write(&self) -> Value {
        Value::from(self.clone())
    }

    fn parse(text: &str) -> Option<Value> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        numbers.map(Value::from)
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;

    fn read(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::read(value).map(Some) }
    }

    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, Setting::write)
    }

    fn parse(text: &str) -> Option<Value> {
        T::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_of_a_name_is_written_with_a_backslash() {
        let parse = |text| <Vec<String> as Setting>::parse(text).unwrap();
        assert_eq!(parse("a, b,c"), serde_json::json!(["a", "b", "c"]));
        assert_eq!(parse(r"rows\,1.jsonl,b"), serde_json::json!(["rows,1.jsonl", "b"]));
        assert_eq!(parse(r"a\,\,b"), serde_json::json!(["a,,b"]));
        assert_eq!(parse(""), serde_json::json!([""]));
        assert_eq!(parse(&list_of_paths(&["a,b", "c"])), serde_json::json!(["a,b", "c"]));
    }
}
