//! How Python writes values: what a template prints must not depend on the language that renders it.

use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};
use std::fmt::Write;

/// The formatter of `{{ value }}`: Python's `str`.
pub(super) fn format(out: &mut Output, _state: &mut State, value: &Jinja) -> Result<(), Error> {
    out.write_str(&text(value)?).map_err(|e| Error::new(ErrorKind::WriteFailure, e.to_string()))
}

/// The `string` filter.
pub(super) fn string(value: &Jinja) -> Result<String, Error> {
    text(value)
}

/// Jinja2's test `iterable`: whether Python's `iter` takes the value.
pub(super) fn is_iterable(value: &Jinja) -> bool {
    !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) && value.try_iter().is_ok()
}

/// Jinja2's test `sequence`: whether the value has a length and items; text and mappings have both.
pub(super) fn is_sequence(value: &Jinja) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

/// Python's `str(value)`; undefined is empty as in Jinja2.
fn text(value: &Jinja) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String => Ok(value.to_string()),
        _ => {
            let mut out = String::new();
            repr(value, &mut out)?;
            Ok(out)
        }
    }
}

/// Python's `repr(value)`.
fn repr(value: &Jinja, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(x) => out.push_str(&float(x)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::String => repr_string(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.push(open);
            let count = value.len().unwrap_or(0);
            for (i, item) in value.try_iter()?.enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                repr(&item, out)?;
            }
            if value.is_tuple() && count == 1 {
                out.push(',');
            }
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                repr(&key, out)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// A Python string literal: single quotes unless the text has some and no double ones.
fn repr_string(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' || ('\u{7f}'..'\u{a0}').contains(&c) || c == '\u{ad}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// Python's `repr` of a float: the shortest digits that read back, exponents below -4 and from 16 on.
pub(super) fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&power) {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", power.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// A point in time, given by the caller and kept with the run, so that a rendering can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year, from 1.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Date {
    /// Midnight of a day, `None` if there is no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(if year.is_multiple_of(100) { 400 } else { 4 });
        let days = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        let valid = year >= 1 && day >= 1 && day <= days;
        valid.then_some(Self { year, month, day, hour: 0, minute: 0, second: 0 })
    }

    /// Days from Monday, 0 to 6 (Zeller's rule in Sakamoto's form).
    fn weekday(&self) -> usize {
        const SHIFT: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = usize::from(self.year) - usize::from(self.month < 3);
        let sunday =
            year + year / 4 - year / 100 + year / 400 + SHIFT[self.month_index()] + usize::from(self.day);
        (sunday + 6) % 7
    }

    fn month_index(&self) -> usize {
        usize::from(self.month.clamp(1, 12) - 1)
    }

    fn year_day(&self) -> usize {
        let before = (1..self.month).map(|m| (28..=31).rev().find(|&d| Self::new(self.year, m, d).is_some()));
        before.map(|d| usize::from(d.unwrap_or(0))).sum::<usize>() + usize::from(self.day)
    }

    /// C's `strftime` in the C locale, for the directives that name a date or a time of day.
    pub(super) fn format(&self, format: &str) -> Result<String, String> {
        let (month, day) = (MONTHS[self.month_index()], DAYS[self.weekday()]);
        let hour12 = (self.hour + 11) % 12 + 1;
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next();
            let bare = directive == Some('-');
            if bare {
                directive = chars.next();
            }
            let two = |n: u8| if bare { n.to_string() } else { format!("{n:02}") };
            out.push_str(&match directive {
                Some('Y') => format!("{:04}", self.year),
                Some('y') => two((self.year % 100) as u8),
                Some('m') => two(self.month),
                Some('d') => two(self.day),
                Some('e') => format!("{:2}", self.day),
                Some('B') => month.into(),
                Some('b' | 'h') => month[..3].into(),
                Some('A') => day.into(),
                Some('a') => day[..3].into(),
                Some('H') => two(self.hour),
                Some('I') => two(hour12),
                Some('M') => two(self.minute),
                Some('S') => two(self.second),
                Some('p') => if self.hour < 12 { "AM" } else { "PM" }.into(),
                Some('j') if bare => self.year_day().to_string(),
                Some('j') => format!("{:03}", self.year_day()),
                Some('F') => format!("{:04}-{:02}-{:02}", self.year, self.month, self.day),
                Some('T') => format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
                Some('%') => "%".into(),
                other => {
                    let name = other.map(String::from).unwrap_or_default();
                    return Err(format!("strftime_now: the directive %{name} of {format:?} is not known"));
                }
            });
        }
        Ok(out)
    }
}
