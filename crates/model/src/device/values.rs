//! What crosses the seam by value: shapes of operations, places in the cache, numbers of a chunk. Small, and on the host.

/// A matrix product `out = op(a) op(b)`, or `out += op(a) op(b)`, of row-major matrices.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    /// Rows of `out`.
    pub m: usize,
    /// Columns of `out`.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// `a` is stored `[k, m]`.
    pub transpose_a: bool,
    /// `b` is stored `[n, k]`, as a weight `[out, in]` is.
    pub transpose_b: bool,
    /// Adds to `out` instead of overwriting it.
    pub accumulate: bool,
}

impl MatMul {
    /// Distances between the operands' rows, as stored, where each is a whole matrix.
    pub fn dense(&self) -> Strides {
        Strides {
            a: if self.transpose_a { self.m } else { self.k },
            b: if self.transpose_b { self.k } else { self.n },
            out: self.n,
        }
    }
}

/// Distances between consecutive rows, as stored, of a product's operands: longer than the rows where an operand is
/// some columns of a wider matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// Of `a`.
    pub a: usize,
    /// Of `b`.
    pub b: usize,
    /// Of `out`.
    pub out: usize,
}

/// A 16-bit floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfFormat {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

/// Widths of the fused projection `[T, (heads + 2 kv_heads) * dim]`: queries, then keys, then values.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub dim: usize,
}

impl Heads {
    /// Width of a row of the fused projection.
    pub fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }
}

/// Rows of a chunk of logits and the targets of each: row `i` has `tokens[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Copy, Debug)]
pub struct ChunkTargets<'a> {
    /// `[rows + 1]`, from 0.
    pub offsets: &'a [usize],
    /// Target tokens.
    pub tokens: &'a [u32],
}

impl ChunkTargets<'_> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }
}

/// Which of the two KL divergences over the whole vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KlDirection {
    /// `KL(reference || policy)`, as ASFT has it (arXiv 2509.23753).
    ReferenceToPolicy,
    /// `KL(policy || reference)`, as RLHF penalties have it.
    PolicyToReference,
}

/// Statistics of the rows of a chunk of logits; log-probabilities stand per target, the others per row.
#[derive(Clone, Debug, Default)]
pub struct ChunkStats {
    /// Log of the sum of exponentials of the tempered logits, per row.
    pub lse: Vec<f32>,
    /// The same of the reference's logits.
    pub reference_lse: Vec<f32>,
    /// Log-probability, per target.
    pub logprobs: Vec<f32>,
    /// Entropy in nats, per row; empty unless asked for.
    pub entropy: Vec<f32>,
    /// KL divergence in nats, per row; empty unless asked for.
    pub kl: Vec<f32>,
}

/// Gradient of the loss with respect to the statistics of a chunk; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct ChunkSeeds {
    /// Per target.
    pub logprobs: Vec<f32>,
    /// Per row.
    pub entropy: Vec<f32>,
    /// Per row.
    pub kl: Vec<f32>,
}

/// What is computed of a chunk of logits.
#[derive(Clone, Copy, Debug)]
pub struct ChunkWant {
    /// Logits are divided by this.
    pub temperature: f32,
    /// Compute the entropy.
    pub entropy: bool,
    /// Compute this KL divergence to the reference's logits.
    pub kl: Option<KlDirection>,
}

/// One AdamW update (arXiv 1711.05101): all that it needs but the buffers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWUpdate {
    /// Learning rate.
    pub lr: f32,
    /// `1 - beta1`, rounded once: `1.0 - 0.999f32` is off by 1e-5 of itself.
    pub one_minus_beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// `1 - beta2`, rounded once.
    pub one_minus_beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// `1 - beta1^t`.
    pub bias_correction1: f32,
    /// `1 - beta2^t`.
    pub bias_correction2: f32,
    /// Factor on the gradient (from clipping).
    pub gradient_scale: f32,
}

/// Tokens of one page of a key-value cache.
pub const PAGE: usize = 64;

/// Place of one token in a paged cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which page.
    pub page: u32,
    /// Which of its [`PAGE`] tokens.
    pub offset: u32,
}

/// The tokens that a query sees: runs of the first `len` tokens of pages, in the order of their positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `(page, tokens of it)`, each at most [`PAGE`].
    pub runs: Vec<(u32, u32)>,
}

impl Chain {
    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.runs.iter().map(|(_, len)| *len as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// How a device that has memory of its own keeps what a run needs there: what its use is predicted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFormats {
    /// Whether products round operands of f32 to 16 bits: weights once after each update, others for each product.
    pub rounds: bool,
    /// Bytes of a number of an activation of training ([`crate::Device::alloc_activation`]).
    pub activation: u64,
    /// Widths of heads whose attention is of 16 bits; other ones' reads and writes f32, converted beside where activations
    /// are kept otherwise.
    pub attention: &'static [usize],
    /// Bytes of a number of the key-value cache.
    pub cached: u64,
    /// Elements of logits that are worked on together.
    pub logits_at_once: usize,
    /// Rows that products of generation are filled up to.
    pub fixed_rows: usize,
    /// Elements of a 16-bit weight that are widened together, where products are of f32.
    pub widened: u64,
    /// Bytes that the device's libraries take and that [`DeviceMemory::room`] has among the free ones: all, where the device is
    /// not open yet; else those that come later.
    pub libraries: u64,
}

/// A device's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// The device, as its errors name it.
    pub device: String,
    /// How numbers are kept.
    pub formats: MemoryFormats,
    /// Bytes that nobody uses and bytes in all; `None` where the device is not there.
    pub room: Option<(u64, u64)>,
}
