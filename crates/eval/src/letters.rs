//! Which choice an answer names: by its letter, or by what the choice says.

use gft_reward::Verifier;
use gft_verify::verify;

/// The letter of the choice that `answer`, taken out of `text`, names. Where the verifier may fall back on a text's last
/// number, the last letter that stands alone serves in the same way.
pub(crate) fn letter(
    text: &str,
    answer: Option<&str>,
    choices: &[String],
    verifier: &Verifier,
) -> Option<String> {
    let letters: Vec<char> = ('A'..='Z').take(choices.len()).collect();
    let named =
        answer.and_then(|answer| leading(answer, &letters).or_else(|| said(answer, choices, verifier)));
    let last = || if verifier.extract.last_number { last_alone(text, &letters) } else { None };
    named.or_else(last).map(String::from)
}

/// `B`, `(b)`, `B) 12`, `\text{B}`: a letter with nothing of a word behind it.
fn leading(answer: &str, letters: &[char]) -> Option<char> {
    let mut rest = answer.trim();
    for command in ["\\text", "\\textbf", "\\mathrm", "\\mathbf", "\\rm", "\\bf"] {
        if let Some(inner) = rest.strip_prefix(command)
            && inner.starts_with(['{', ' '])
        {
            rest = inner;
        }
    }
    let rest = rest.trim_start_matches(['{', '(', '[', '$', '*', ' ']);
    let mut chars = rest.chars();
    let letter = chars.next()?.to_ascii_uppercase();
    let behind = chars.as_str();
    let alone = !behind.starts_with(|c: char| c.is_alphanumeric() || c == '^' || c == '_' || c == '\\');
    // A small letter before a word is an article or a variable: `a dog`, `b + 1`.
    let plain = rest.starts_with(|c: char| c.is_ascii_uppercase());
    let closed = behind.is_empty() || behind.starts_with([')', '}', ']', '.', ':', '*', ',']);
    (letters.contains(&letter) && alone && (closed || plain)).then_some(letter)
}

/// The one choice that says what the answer says.
fn said(answer: &str, choices: &[String], verifier: &Verifier) -> Option<char> {
    let same = |choice: &String| verify(choice, answer, &verifier.policy).is_equal();
    let mut found = ('A'..='Z').zip(choices).filter(|(_, choice)| same(choice));
    let (letter, _) = found.next()?;
    found.next().is_none().then_some(letter)
}

/// The last capital letter that is a word of its own.
fn last_alone(text: &str, letters: &[char]) -> Option<char> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let mut alone = words.filter_map(|word| {
        let mut chars = word.chars();
        chars.next().filter(|letter| chars.next().is_none() && letters.contains(letter))
    });
    alone.next_back()
}
