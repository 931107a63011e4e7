//! The mathematics of post-training, on plain slices: no tensors, no engine, no input or output.
//!
//! Every method here is one formula with one number per token,
//!
//! ```text
//! loss = - sum_t  sg(g_t) log p_t / N,        g_t = A c_t
//! ```
//!
//! where `sg` stops the gradient, `A` is the advantage of the token's row ([`advantages`]), `c_t` the
//! coefficient of its rule ([`Rule`]) and `N` the global denominator ([`Denominator`]). A model therefore
//! needs to offer only the log-probabilities of a batch and a backward pass that is seeded with one number
//! per token; SFT, DFT, GFT and GRPO differ in a few values of a [`Method`], not in code paths.
//!
//! # The stages of a step
//!
//! | stage | call | in -> out |
//! |---|---|---|
//! | 1 | [`Method::advantages`] | rewards and sources of each group -> one `f64` per row |
//! | 2 | [`Method::count_row`], [`Method::denominators`] | rows and tokens of the whole step -> `N` |
//! | 3 | [`Method::row_seeds`] | one row's log-probabilities -> `d loss / d log p_t` and its share of the loss |
//! | 4 | [`decide`] | loss and gradient norm -> accept, skip or abort |
//! | 5 | [`Schedule::learning_rate`] | step -> learning rate |
//!
//! [`evaluate`] runs stages 1 to 3 on a whole step. The index of methods with citations, equations and the
//! papers' settings is the crate's README.
//!
//! # Conventions
//!
//! Log-probabilities and entropies are in nats, `f32`, one per target token `[T]`; everything between them
//! and the `f32` seeds is `f64`. Rewards are `Option<f64>`, where `None` means unscorable. Bad numbers are
//! typed errors ([`Error`]) that name their place, never zeros.

mod advantage;
mod describe;
mod error;
mod evaluate;
mod group;
mod guard;
mod kl;
mod method;
mod mixing;
mod names;
mod normaliser;
mod overlong;
mod presets;
mod ratio;
mod rule;
mod schedule;
mod seeds;
mod source;
mod summary;
mod treatment;

pub use advantage::{AdvantageConfig, Baseline, GroupAdvantages, Scale, Singleton, advantages};
pub use error::Error;
pub use evaluate::{Completion, Evaluation, GroupEvaluation, RowEvaluation, Step, evaluate};
pub use group::{EQUAL_WITHIN, Group, GroupStatistics, MAX_REWARD, Reward};
pub use guard::{CEILING, Decision, GuardConfig, GuardHistory, Reason, SpikeRule, decide};
pub use kl::{KlEstimator, KlPenalty};
pub use method::{Denominators, KeepGroups, Method, Parts, Row, RowLoss};
pub use mixing::{ChordMu, HptChoice, hpt_gate, idft_ramp};
pub use normaliser::{Count, CountedRows, Counts, Denominator, Normaliser};
pub use overlong::{SoftOverlong, overlong_filter};
pub use ratio::LOG_RATIO_LIMIT;
pub use rule::{Boundary, LOGPROB_FLOOR, Mark, Rule, Token, TokenPoint};
pub use schedule::{Decay, Schedule, Warmup};
pub use seeds::{TokenInputs, token_seeds};
pub use source::{BySource, Source};
pub use summary::{RatioSummary, TokenSummary, frac_reward_zero_std};
pub use treatment::{Signal, Signs, Treatment};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
