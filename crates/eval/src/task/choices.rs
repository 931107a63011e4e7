//! Choices as benchmarks write them: a list, a list with letters, or one text with letters.

use serde_json::Value;

/// What the choices say, in the order of their letters; `None` where fewer than two are found.
pub(super) fn read(value: &Value) -> Option<Vec<String>> {
    let choices = match value {
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, choice)| {
                let text = choice.as_str().map_or_else(|| choice.to_string(), str::to_owned);
                without_letter(&text, index).trim().to_owned()
            })
            .collect(),
        Value::String(text) => {
            let (brackets, stops) = (split(text, ')'), split(text, '.'));
            if brackets.len() >= stops.len() { brackets } else { stops }
        }
        _ => return None,
    };
    (choices.len() >= 2 && choices.len() <= 26).then_some(choices)
}

fn letter_of(index: usize) -> char {
    char::from(b'A' + (index % 26) as u8)
}

/// `A)36` without its letter.
fn without_letter(text: &str, index: usize) -> &str {
    let letter = letter_of(index);
    let trimmed = text.trim_start().trim_start_matches('(');
    match trimmed.strip_prefix(letter).and_then(|rest| rest.strip_prefix([')', '.', ':'])) {
        Some(rest) => rest,
        None => text,
    }
}

/// `A) -10 B) 0 C) 10`: each letter in turn, with its mark behind it, begins a choice.
fn split(text: &str, mark: char) -> Vec<String> {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut from = 0;
    for index in 0..26 {
        let mark = format!("{}{mark}", letter_of(index));
        let at = text[from..].match_indices(&mark).map(|(at, _)| from + at).find(|&at| {
            text[..at].chars().next_back().is_none_or(|before| before.is_whitespace() || before == '(')
        });
        let Some(at) = at else { break };
        starts.push((at, at + mark.len()));
        from = at + mark.len();
    }
    let ends = starts.iter().skip(1).map(|(begin, _)| *begin).chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|((_, begin), end)| text[*begin..end].trim_end_matches('(').trim().to_owned())
        .collect()
}

/// The choices on one line, with their letters.
pub(super) fn listed(choices: &[String]) -> String {
    let listed = choices.iter().enumerate().map(|(index, choice)| format!("({}) {choice}", letter_of(index)));
    listed.collect::<Vec<_>>().join(" ")
}

/// A reference answer, a letter or an index from 0, as a letter.
pub(super) fn letter(gold: &str, choices: &[String]) -> Result<String, String> {
    let gold = gold.trim();
    let letter = match gold.parse::<usize>() {
        Ok(index) if index < choices.len() => Some(letter_of(index)),
        Ok(_) => None,
        Err(_) => {
            let mut chars = gold.trim_matches(['(', ')']).chars();
            let letter = chars.next().map(|c| c.to_ascii_uppercase());
            letter.filter(|l| chars.next().is_none() && (0..choices.len()).any(|i| letter_of(i) == *l))
        }
    };
    letter
        .map(String::from)
        .ok_or_else(|| format!("the answer {gold:?} is none of the {} choices", choices.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_write_them() {
        let expected = ["-10", "0", "10 (ten)"];
        for value in [
            json!(["-10", "0", "10 (ten)"]),
            json!(["A)-10", "B)0", "C) 10 (ten)"]),
            json!("A) -10 B) 0 C) 10 (ten)"),
            json!("A. -10 B. 0 C. 10 (ten)"),
            json!("(A) -10 (B) 0 (C) 10 (ten)"),
        ] {
            assert_eq!(read(&value).unwrap(), expected, "{value}");
        }
        assert_eq!(read(&json!("f(A) is 3")), None);
        assert_eq!(read(&json!(["one"])), None);
    }

    #[test]
    fn letters_of_answers() {
        let choices: Vec<String> = (0..4).map(|i| i.to_string()).collect();
        assert_eq!(letter("2", &choices).unwrap(), "C");
        assert_eq!(letter("b", &choices).unwrap(), "B");
        assert_eq!(letter("(D)", &choices).unwrap(), "D");
        for wrong in ["4", "E", "AB", ""] {
            assert!(letter(wrong, &choices).is_err(), "{wrong}");
        }
    }
}
