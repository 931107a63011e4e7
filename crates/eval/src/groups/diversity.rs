//! How differently a group's completions say what they say.

use std::hash::{DefaultHasher, Hash, Hasher};

use gft_verify::{Policy, verify};

use crate::Verdict;

/// Words of an n-gram.
pub const NGRAM: usize = 4;

/// Hashes of a text's n-grams of words (distinct-n of Li et al., arXiv 1510.03055). A text of fewer words is one n-gram.
pub fn ngrams(text: &str) -> Vec<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let hash = |words: &[&str]| {
        let mut hasher = DefaultHasher::new();
        words.hash(&mut hasher);
        hasher.finish()
    };
    match words.len() {
        0 => Vec::new(),
        n if n < NGRAM => vec![hash(&words)],
        _ => words.windows(NGRAM).map(hash).collect(),
    }
}

/// Distinct final answers; two are one where the verifier says so. A completion without an answer has none.
pub fn distinct_answers<'a>(
    answers: impl Iterator<Item = (Option<Verdict>, Option<&'a str>)>,
    policy: &Policy,
) -> u64 {
    let (mut right, mut others): (bool, Vec<&str>) = (false, Vec::new());
    for (verdict, answer) in answers {
        match (verdict, answer) {
            (Some(Verdict::Right), _) => right = true,
            (_, Some(answer)) => {
                let known =
                    others.iter().any(|other| *other == answer || verify(other, answer, policy).is_equal());
                if !known {
                    others.push(answer);
                }
            }
            (_, None) => {}
        }
    }
    others.len() as u64 + u64::from(right)
}
