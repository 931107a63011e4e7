//! The vocabulary: one token per word or number.

use gft_data::{SpecialTokens, Tokenizer, word_level};

/// Who has something.
pub(crate) const NAMES: [&str; 8] = ["tom", "ann", "bob", "eva", "max", "sue", "ida", "leo"];
/// Days of a problem.
pub(crate) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Numbers that have a word.
pub(crate) const NUMBERS: std::ops::RangeInclusive<i64> = 0..=60;
/// All other words: prompts, styles, other families.
const OTHERS: [&str; 44] = [
    "has", "gets", "loses", "how", "many", "?", "####", ".", "+", "-", "=", ";", "begin", "with", "adding",
    "gives", "taking", "leaves", "so", "let", "t", "be", "|", "up", "down", "now", "hence", "what", "is",
    "times", "solve", "x", "sort", "largest", "smallest", "of", "then", "<", "(", ")", ",", "keep", "and",
    "the",
];

/// Every word, the numbers first.
pub fn words() -> Vec<String> {
    let numbers = NUMBERS.map(|number| number.to_string());
    let others = NAMES.iter().chain(&DAYS).chain(&OTHERS).map(|word| (*word).to_owned());
    numbers.chain(others).collect()
}

/// The tokenizer of the world. A word that is not in it becomes the unknown token.
///
/// # Errors
/// None that a caller can cause.
pub fn tokenizer() -> gft_data::Result<Tokenizer> {
    let specials = SpecialTokens {
        eos: Some("<|endoftext|>".into()),
        pad: Some("<|pad|>".into()),
        unk: Some("<|unk|>".into()),
        ..SpecialTokens::default()
    };
    word_level(words(), specials)
}
