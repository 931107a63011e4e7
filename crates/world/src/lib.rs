//! A small world to experiment in: generated problems with answers that can be verified, and solutions in several styles.
//!
//! The target family is running totals ("tom has 23 mon gets 3 tue loses 5 how many ?"). A base model is trained on a
//! broad mixture ([`pretraining`]): several styles with slips, few long problems, and other [`Family`]s, whose loss after
//! fine-tuning is what forgetting means here. The [`target`] data has for each prompt an expert's solution, in a style
//! that the base has hardly seen, and teachers' solutions in other styles, some of them wrong.
//!
//! Everything is a function of a seed and a row's number: the same rows on every machine, in any order.

mod base;
mod dice;
mod error;
mod family;
mod mixture;
mod style;
mod totals;
mod words;

pub use base::{base_sha256, start, write_base};
pub use error::{Error, Result};
pub use family::Family;
pub use mixture::{MOST_DAYS_SEEN, Noise, Split, Target, held_out, pretraining, target};
pub use style::Style;
pub use totals::Totals;
pub use words::{tokenizer, words};
