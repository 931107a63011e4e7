//! What supervised fine-tuning does to a model on given data, measured: the three pathologies that group fine-tuning
//! (arXiv 2604.14258) starts from.
//!
//! SFT is a policy gradient whose reward is 1 for the one reference and 0 for everything else, and whose weight is 1
//! over the probability of what is rewarded. Hence [`Weights`] and [`GradientShares`] (a few improbable tokens get most
//! of the weight), [`Sparsity`] (the reward is almost never met) and [`Paths`] (one solution crowds out the others).

mod error;
mod examples;
mod gradients;
mod paths;
mod probe;
mod weights;

pub use error::{Error, Result};
pub use examples::{Example, Examples};
pub use gradients::{GradientShares, Stratum, gradient_norms, gradient_shares};
pub use paths::{Paths, ShortRun, short_run};
pub use probe::{Probe, Sparsity};
pub use weights::{Bin, EDGES, Quantiles, Weights};
