//! The verifier: extracts answers from text, reads them, and compares them, in bounded work.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod braces;
mod compare;
mod exact;
mod expr;
mod extract;
mod finite;
mod lex;
mod literal;
mod modular;
mod numeric;
mod parse;
mod policy;
mod rational;
mod symbols;
mod units;
mod value;
mod verdict;
mod verify;
mod words;
mod work;

pub use extract::{ExtractOptions, Extracted, Source, extract, extract_bytes};
pub use policy::{Convention, Conventions, Policy};
pub use value::Kind;
pub use verdict::{Certainty, How, Outcome, Rule, Verdict};
pub use verify::{Grade, grade, verify};
