//! The policy engine: model folders in and out, token statistics with a seeded backward pass, and generation.
//!
//! The model offers training one differentiable thing: statistics of the target tokens of a packed [`Batch`]
//! (log-probability; on request entropy and the KL divergence to a reference) and a backward pass seeded with one
//! number per token and statistic. No objective ever sees a tensor, and nothing of size tokens x vocabulary is stored.
//!
//! The room's order, bottom up: [`device`] does the arithmetic behind one seam; [`architecture`], [`layout`] and
//! [`folder`] say what a model is and where its weights lie; `linear`, `layer` and `head` derive forward and backward by hand,
//! with low-rank [`adapter`]s where only those are trained;
//! [`policy`] owns the weights, `pass` runs
//! them forward and backward over a batch; [`optimizer`] updates; [`generate`] samples; [`footprint`] counts the memory of a device.

pub mod adapter;
pub mod architecture;
pub mod batch;
pub mod device;
pub mod error;
pub mod folder;
pub mod footprint;
pub mod generate;
mod head;
pub mod init;
mod layer;
pub mod layout;
mod linear;
mod math;
pub mod optimizer;
mod pass;
pub mod policy;
pub mod random;
pub mod rope;
mod statistics;
mod vectorized;
mod weights;

pub use adapter::{Adapter, LoraConfig};
pub use architecture::{Architecture, Dtype, Family};
pub use batch::Batch;
pub use device::{Device, cpu::Cpu};
pub use error::{ModelError, Result};
pub use folder::ModelFolder;
pub use policy::{Gradients, Policy};
