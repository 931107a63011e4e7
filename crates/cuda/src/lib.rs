//! A CUDA card behind the engine's seam: [`Cuda`] implements [`gft_model::Device`].
//!
//! The room's order, bottom up: [`backend`] says what is asked of a machine; [`driver`] is the machine that has a card, with
//! the driver, NVRTC and cuBLASLt found when the program runs; `pool` and `memory` keep what is idle; `device` and its
//! neighbours turn each operation of the seam into launches by the table in `kernels/README.md`.
//!
//! The kernels' sources also run on the host, thread by thread: the tests hold every operation, and whole policies, against
//! the CPU device that way.

mod attention;
pub mod backend;
mod cache;
mod casts;
mod device;
pub mod driver;
mod launch;
mod memory;
mod optimizer;
mod parts;
mod plan;
mod pool;
mod products;
mod rows;
mod sampling;
mod seam;
mod steps;
mod uploads;
mod vocabulary;

pub use cache::CudaCache;
pub use device::{Cuda, formats};
pub use driver::{Card, Unavailable, cards, open};
pub use memory::{CudaBuffer, CudaHalves};
pub use plan::CudaPlan;
pub use products::CudaPacked;

/// In which numbers products are computed and activations are kept. Weights, their gradients, moments, the residual stream,
/// statistics, logits and all arithmetic between products are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 throughout, without TF32: what is compared with the CPU.
    F32,
    /// Operands of products rounded to bf16, sums in f32: also those of attention where heads are 64 or 128 wide; activations of
    /// training, and keys and values of generation, are kept in bf16, and f32 weights once more in bf16, where there is memory
    /// for it.
    #[default]
    Bf16,
}
