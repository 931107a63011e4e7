//! The policy engine: model folders in and out, token statistics with a seeded backward pass, and generation.
//!
//! The model offers training one differentiable thing: statistics of the target tokens of a packed [`Batch`]
//! (log-probability; on request entropy and the KL divergence to a reference) and a backward pass seeded with one
//! number per token and statistic. No objective ever sees a tensor, and nothing of size tokens x vocabulary is stored.
//!
//! The room's order, bottom up: [`device`] does the arithmetic behind one seam; [`architecture`], [`layout`] and
//! [`folder`] say what a model is and where its weights lie; `layer` and `head` derive forward and backward by hand;
//! [`policy`] strings them together; [`optimizer`] updates; [`generate`] samples.

pub mod architecture;
pub mod batch;
pub mod device;
pub mod error;
pub mod folder;
pub mod generate;
mod head;
pub mod init;
mod layer;
pub mod layout;
mod math;
pub mod optimizer;
pub mod policy;
pub mod random;
pub mod rope;
mod vectorized;

pub use architecture::{Architecture, Dtype, Family};
pub use batch::Batch;
pub use device::{Device, cpu::Cpu};
pub use error::{ModelError, Result};
pub use folder::ModelFolder;
pub use policy::{Gradients, Policy};
