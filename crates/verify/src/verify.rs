//! The entry points: compare two answers, or grade a completion.

use crate::compare::{Comparer, Decision};
use crate::expr::Arena;
use crate::extract::{self, ExtractOptions, Extracted};
use crate::lex;
use crate::parse;
use crate::policy::{Conventions, Policy};
use crate::value::{Kind, Value};
use crate::verdict::{Certainty, How, Outcome, Rule, Verdict};
use crate::work::{Bounded, Stop, Work};

/// Longer answers are compared as strings only.
const MAX_BYTES: usize = 1 << 17;

/// Compares an answer with the reference answer. Symmetric in its two strings.
pub fn verify(gold: &str, answer: &str, policy: &Policy) -> Verdict {
    let mut work = Work::new(policy.work);
    let mut how = How {
        gold: Kind::Nothing,
        answer: Kind::Nothing,
        rule: Rule::Undecided,
        conventions: Conventions::default(),
    };
    // The pair is put in one order first, so that bounds are met at the same place in both directions.
    let swapped = (answer.len(), answer) < (gold.len(), gold);
    let (first, second) = if swapped { (answer, gold) } else { (gold, answer) };
    let outcome = match compare(first, second, policy, &mut work, &mut how) {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Budget,
    };
    if swapped {
        std::mem::swap(&mut how.gold, &mut how.answer);
    }
    Verdict { outcome, how, work: work.used() }
}

fn compare(gold: &str, answer: &str, policy: &Policy, work: &mut Work, how: &mut How) -> Bounded<Outcome> {
    let (gold, answer) = (bare(gold), bare(answer));
    if gold.is_empty() || answer.is_empty() {
        return Ok(Outcome::Unparsed);
    }
    if gold == answer {
        how.rule = Rule::Identical;
        (how.gold, how.answer) = (Kind::Text, Kind::Text);
        return Ok(Outcome::Equal(Certainty::Proof));
    }
    if gold.len() > MAX_BYTES || answer.len() > MAX_BYTES {
        return Err(Stop::Budget);
    }
    let mut arena = Arena::default();
    let a = parse::parse(gold, &mut arena, work)?;
    let b = parse::parse(answer, &mut arena, work)?;
    (how.gold, how.answer) = (a.kind(&arena), b.kind(&arena));
    let mut comparer = Comparer::new(&mut arena, work, policy);
    let decision = comparer.values(&a, &b)?;
    let (capped, conventions) = (comparer.capped, comparer.conventions);
    how.rule = comparer.rule;
    if !matches!(decision, Decision::Same(_)) && same_tokens(gold, answer, work)? {
        how.rule = Rule::SameForm;
        return Ok(Outcome::Equal(Certainty::Proof));
    }
    Ok(match decision {
        Decision::Same(certainty) => {
            how.conventions = conventions;
            Outcome::Equal(certainty)
        }
        Decision::Different => Outcome::NotEqual,
        Decision::Unknown if capped => Outcome::Budget,
        Decision::Unknown if unread(&a) || unread(&b) => Outcome::Unparsed,
        Decision::Unknown => Outcome::NotEqual,
    })
}

/// Whether two answers are the same signs in the same order, whatever they mean: only spaces at their ends differ.
fn same_tokens(a: &str, b: &str, work: &mut Work) -> Bounded<bool> {
    fn signs(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(u8::is_ascii_alphanumeric)
    }
    work.charge((a.len() + b.len()) as u32 / 16 + 1)?;
    if !signs(a).eq(signs(b)) {
        return Ok(false);
    }
    let mut literals = Vec::new();
    let (s, t) = (lex::lex(a, &mut literals, work)?, lex::lex(b, &mut literals, work)?);
    let text =
        |src: &str, t: &lex::Token| src.as_bytes().get(t.start as usize..t.end as usize).map(<[u8]>::to_vec);
    Ok(s.len() == t.len()
        && s.iter().zip(&t).all(|(x, y)| {
            let number = matches!((x.tok, y.tok), (lex::Tok::Num(_), lex::Tok::Num(_)));
            (x.tok == y.tok || number) && x.spaced == y.spaced && text(a, x) == text(b, y)
        }))
}

fn unread(v: &Value) -> bool {
    matches!(v, Value::Unread(_) | Value::Nothing)
}

/// The answer without a box around it, outer white space and math delimiters.
fn bare(text: &str) -> &str {
    let mut text = text;
    if let Some(span) = extract::single_box(text) {
        text = &text[span];
    }
    let text = text.trim();
    for phrase in ANNOUNCEMENTS {
        if let Some(head) = text.get(..phrase.len())
            && head.eq_ignore_ascii_case(phrase)
        {
            return text[phrase.len()..].trim_start_matches([':', ' ', '*', '\n']).trim_end();
        }
    }
    text
}

/// Beginnings that announce an answer and are no part of it.
const ANNOUNCEMENTS: [&str; 16] = [
    "the final answer is",
    "the answer is",
    "the correct answer is",
    "the correct option is",
    "the correct choice is",
    "final answer:",
    "**final answer:**",
    "**final answer**",
    "final answer is",
    "so the answer is",
    "thus the answer is",
    "thus, the answer is",
    "therefore, the answer is",
    "therefore the answer is",
    "answer:",
    "ans:",
];

/// What [`grade`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Grade {
    /// The answer's place in the completion and how it was found; `None` if there is none.
    pub extracted: Option<Extracted>,
    /// The comparison; `Unparsed` if no answer was found.
    pub verdict: Verdict,
}

/// Extracts the answer of a completion and compares it with the reference answer.
pub fn grade(completion: &str, gold: &str, options: &ExtractOptions, policy: &Policy) -> Grade {
    match extract::extract(completion, options) {
        Some(found) => {
            let verdict = verify(gold, &found.text(completion), policy);
            Grade { extracted: Some(found), verdict }
        }
        None => Grade { extracted: None, verdict: verify(gold, "", policy) },
    }
}
