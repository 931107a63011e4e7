//! The seam between the layer loop and the arithmetic.
//!
//! Everything above this trait knows shapes and order; everything below knows one machine. A device owns its buffers
//! and the form in which it wants a batch ([`Device::Plan`]); whatever crosses the seam by value is small and lives on
//! the host. Matrices are row-major; `T` is tokens of the batch, `H` the width of the residual stream.

pub mod cpu;
mod failure;
mod sampling;
mod values;

use std::ops::Range;

use crate::batch::Batch;
use crate::random::Stream;
pub use failure::DeviceError;
pub use sampling::{Draw, DrawRow, Sampling};
pub use values::{
    AdamWUpdate, Chain, ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, DeviceMemory, HalfFormat, Heads,
    KlDirection, MatMul, MemoryFormats, PAGE, Slot, Strides,
};

/// Storage of floats on a device: of 32 bits, but for [`Device::alloc_activation`].
pub trait Buffer: Send + Sync + Sized {
    /// Elements.
    fn len(&self) -> usize;

    /// Whether there are no elements.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole buffer, to read.
    fn all(&self) -> View<'_, Self> {
        View { buffer: self, range: 0..self.len() }
    }

    /// A part of the buffer, to read.
    fn part(&self, range: Range<usize>) -> View<'_, Self> {
        View { buffer: self, range }
    }

    /// The whole buffer, to write.
    fn all_mut(&mut self) -> ViewMut<'_, Self> {
        let range = 0..self.len();
        ViewMut { buffer: self, range }
    }

    /// A part of the buffer, to write.
    fn part_mut(&mut self, range: Range<usize>) -> ViewMut<'_, Self> {
        ViewMut { buffer: self, range }
    }
}

/// A part of a buffer, to read.
pub struct View<'a, B> {
    /// The buffer.
    pub buffer: &'a B,
    /// Which of its elements.
    pub range: Range<usize>,
}

/// A part of a buffer, to write.
pub struct ViewMut<'a, B> {
    /// The buffer.
    pub buffer: &'a mut B,
    /// Which of its elements.
    pub range: Range<usize>,
}

/// A part of a storage of 16-bit floats, to read.
pub struct HalfView<'a, H> {
    /// The storage.
    pub buffer: &'a H,
    /// Which of its elements.
    pub range: Range<usize>,
}

/// The arithmetic of a decoder on one machine.
///
/// Operations return nothing, because a device may still be computing when they return. What went wrong is kept and said by
/// [`Device::status`]; whoever takes numbers from a device asks for it before using them.
pub trait Device: Send + Sync {
    /// Storage.
    type Buf: Buffer;
    /// Storage of weights that stay in the 16 bits that they have on disk, because they are not trained.
    type Half: Send + Sync;
    /// A weight matrix arranged for many products with few rows.
    type Packed: Send + Sync;
    /// Pages of keys and values of every layer.
    type Cache: Send + Sync;
    /// A batch in the form in which this device wants it.
    type Plan: Send + Sync;

    /// The first failure, if there was one; from then on operations do nothing and reads give NaN. A failure of work that is
    /// still under way shows after the next read at the latest.
    ///
    /// # Errors
    /// The failure. A processor has none.
    fn status(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// What distinguishes this device's rounding from the processor's f32, where something does: numbers of devices that
    /// say different things are not compared bit for bit.
    fn arithmetic(&self) -> Option<&'static str> {
        None
    }

    /// The device's own memory; `None` where it computes in the host's.
    fn memory(&self) -> Option<DeviceMemory> {
        None
    }

    /// Elements of logits that are worked on together.
    fn logits_at_once(&self) -> usize {
        // 8 MiB: they stay in a processor's last-level cache.
        1 << 21
    }

    /// A buffer with unspecified contents.
    fn alloc(&self, len: usize) -> Self::Buf;
    /// A buffer with unspecified contents for what lives between two operations of a training pass: a device whose products
    /// take operands of fewer bits may keep it in those. Copies to and from other buffers round and widen.
    ///
    /// What may be kept so: outputs of norms, projections, attention and SwiGLU, and their gradients. The residual stream,
    /// its gradient, statistics, logits and all that is trained are of f32.
    fn alloc_activation(&self, len: usize) -> Self::Buf {
        self.alloc(len)
    }
    /// `x` as [`Device::alloc_activation`] keeps it, for several products that read it; `None` where it is so already.
    fn activation_of(&self, x: View<'_, Self::Buf>) -> Option<Self::Buf> {
        let _ = x;
        None
    }
    /// A buffer of zeros.
    fn zeros(&self, len: usize) -> Self::Buf;
    /// Copies from the host.
    fn write(&self, source: &[f32], to: ViewMut<'_, Self::Buf>);
    /// Copies to the host.
    fn read(&self, from: View<'_, Self::Buf>, target: &mut [f32]);
    /// Copies within the device.
    fn copy(&self, from: View<'_, Self::Buf>, to: ViewMut<'_, Self::Buf>);
    /// Sets every element to zero.
    fn fill_zero(&self, x: ViewMut<'_, Self::Buf>);
    /// Brings a batch and its rotations (cosine and sine `[T, dim / 2]`) over.
    fn plan(&self, batch: &Batch, cos: Vec<f32>, sin: Vec<f32>) -> Self::Plan;

    /// 16-bit storage of zeros.
    fn halves(&self, format: HalfFormat, len: usize) -> Self::Half;
    /// Copies bit patterns of the storage's format from the host to `[at, at + bits.len())`.
    fn write_half(&self, bits: &[u16], at: usize, to: &mut Self::Half);
    /// Widens to f32, exactly, and copies to the host.
    fn read_half(&self, from: HalfView<'_, Self::Half>, target: &mut [f32]);

    /// Matrix product.
    fn matmul(
        &self,
        op: MatMul,
        a: View<'_, Self::Buf>,
        b: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    ) {
        self.matmul_within(op, op.dense(), a, b, out);
    }
    /// Matrix product of columns of wider matrices; each view begins at the first element of its part.
    fn matmul_within(
        &self,
        op: MatMul,
        strides: Strides,
        a: View<'_, Self::Buf>,
        b: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    );
    /// [`Device::matmul`] whose right operand is part of a policy's weights, which change far less often than they are used: a
    /// device that computes in other numbers may keep them in those beside.
    fn matmul_weight(
        &self,
        op: MatMul,
        a: View<'_, Self::Buf>,
        weight: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    ) {
        self.matmul(op, a, weight, out);
    }
    /// Matrix product with a right operand of 16 bits, widened to f32 on the way.
    fn matmul_half(
        &self,
        op: MatMul,
        a: View<'_, Self::Buf>,
        b: HalfView<'_, Self::Half>,
        out: ViewMut<'_, Self::Buf>,
    );
    /// `out = onto + a op(weight)`, as [`Device::matmul_weight`], whatever `op` says of adding: what a layer adds to the residual
    /// stream, without a copy of the stream before where a device's products can add to another matrix.
    fn matmul_weight_onto(
        &self,
        op: MatMul,
        a: View<'_, Self::Buf>,
        weight: View<'_, Self::Buf>,
        onto: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    );
    /// The same as [`Device::matmul_half`].
    fn matmul_half_onto(
        &self,
        op: MatMul,
        a: View<'_, Self::Buf>,
        b: HalfView<'_, Self::Half>,
        onto: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    );
    /// Arranges a weight `[n, k]` for [`Device::linear`].
    fn pack(&self, weight: View<'_, Self::Buf>, n: usize, k: usize) -> Self::Packed;
    /// The same of a weight of 16 bits, which it stays.
    fn pack_half(&self, weight: HalfView<'_, Self::Half>, n: usize, k: usize) -> Self::Packed;
    /// `out [rows, n] (+)= x [rows, k] weight^T`; a row's result does not depend on the other rows.
    fn linear(
        &self,
        weight: &Self::Packed,
        rows: usize,
        accumulate: bool,
        x: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    ) {
        self.linear_within(weight, rows, None, accumulate, x, out);
    }
    /// `out = onto + x weight^T`, as [`Device::linear`].
    fn linear_onto(
        &self,
        weight: &Self::Packed,
        rows: usize,
        x: View<'_, Self::Buf>,
        onto: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    ) {
        let ViewMut { buffer, range } = out;
        self.copy(onto, ViewMut { buffer, range: range.clone() });
        self.linear(weight, rows, true, x, ViewMut { buffer, range });
    }
    /// [`Device::linear`] where the rows of `x` and of `out` are `(x, out)` apart: both may be columns of wider matrices.
    fn linear_within(
        &self,
        weight: &Self::Packed,
        rows: usize,
        apart: Option<(usize, usize)>,
        accumulate: bool,
        x: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    );
    /// Sets elements to zero with probability `drop` and multiplies the others by `1 / (1 - drop)`; element `i` is decided by
    /// the stream's `i`-th number.
    fn dropout(&self, stream: Stream, drop: f64, x: ViewMut<'_, Self::Buf>);
    /// `x[t, j] *= factor` for `j` in `columns`, rows of width `width`.
    fn scale_columns(&self, width: usize, columns: Range<usize>, factor: f32, x: ViewMut<'_, Self::Buf>);
    /// `x += y`.
    fn add(&self, y: View<'_, Self::Buf>, x: ViewMut<'_, Self::Buf>);
    /// Adds `bias [n]` to each row of `x [rows, n]`.
    fn add_bias(&self, bias: View<'_, Self::Buf>, x: ViewMut<'_, Self::Buf>);
    /// Adds the sum of the rows of `dy [rows, n]` to `dbias [n]`.
    fn bias_backward(&self, dy: View<'_, Self::Buf>, dbias: ViewMut<'_, Self::Buf>);

    /// `dtable[token[t]] += dy[t]`.
    fn embed_backward(&self, plan: &Self::Plan, dy: View<'_, Self::Buf>, dtable: ViewMut<'_, Self::Buf>);
    /// `out[i] = x[rows[i]]`, rows of width `width`.
    fn gather_rows(&self, x: View<'_, Self::Buf>, rows: &[u32], width: usize, out: ViewMut<'_, Self::Buf>);
    /// [`Device::gather_rows`] from a table of 16 bits.
    fn gather_half(
        &self,
        table: HalfView<'_, Self::Half>,
        rows: &[u32],
        width: usize,
        out: ViewMut<'_, Self::Buf>,
    );
    /// `out[rows[i]] = x[i]`, other rows of `out` untouched; `rows` are distinct.
    fn scatter_rows(&self, x: View<'_, Self::Buf>, rows: &[u32], width: usize, out: ViewMut<'_, Self::Buf>);

    /// `y = x * inv * weight` with `inv[t] = 1 / sqrt(mean(x[t]^2) + eps)`.
    fn rms_norm(
        &self,
        x: View<'_, Self::Buf>,
        weight: View<'_, Self::Buf>,
        eps: f32,
        y: ViewMut<'_, Self::Buf>,
        inv: ViewMut<'_, Self::Buf>,
    );
    /// Adds the gradient of [`Device::rms_norm`] to `dx` and `dweight`.
    fn rms_norm_backward(
        &self,
        x: View<'_, Self::Buf>,
        weight: View<'_, Self::Buf>,
        inv: View<'_, Self::Buf>,
        dy: View<'_, Self::Buf>,
        dx: ViewMut<'_, Self::Buf>,
        dweight: ViewMut<'_, Self::Buf>,
    );
    /// RMSNorm of each query and key head of `qkv`, in place (Qwen3); `weights [2, dim]` of queries and keys.
    fn head_norm(&self, heads: Heads, weights: View<'_, Self::Buf>, eps: f32, qkv: ViewMut<'_, Self::Buf>);
    /// Gradient of [`Device::head_norm`]: `raw` is its input; `dqkv` is replaced in place; `dweights` is added to.
    fn head_norm_backward(
        &self,
        heads: Heads,
        raw: View<'_, Self::Buf>,
        weights: View<'_, Self::Buf>,
        eps: f32,
        dqkv: ViewMut<'_, Self::Buf>,
        dweights: ViewMut<'_, Self::Buf>,
    );
    /// Rotates queries and keys of `qkv` in place (backwards where `inverse`: the gradient).
    fn rotate(&self, plan: &Self::Plan, heads: Heads, inverse: bool, qkv: ViewMut<'_, Self::Buf>);
    /// Causal attention over each segment and its ancestors: `out [T, heads * dim]`, `lse [heads, T]`.
    fn attention(
        &self,
        plan: &Self::Plan,
        heads: Heads,
        window: Option<usize>,
        qkv: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
        lse: ViewMut<'_, Self::Buf>,
    );
    /// Gradient of [`Device::attention`] with respect to `qkv`, overwriting `dqkv`.
    #[allow(clippy::too_many_arguments)]
    fn attention_backward(
        &self,
        plan: &Self::Plan,
        heads: Heads,
        window: Option<usize>,
        qkv: View<'_, Self::Buf>,
        out: View<'_, Self::Buf>,
        lse: View<'_, Self::Buf>,
        dout: View<'_, Self::Buf>,
        dqkv: ViewMut<'_, Self::Buf>,
    );
    /// From here to the next result that is read, a step of generation: the same operations are asked for again and again, with
    /// other numbers. A device may prepare them as a whole.
    fn begin_step(&self) {}
    /// A cache without pages.
    fn cache(&self, layers: usize, heads: Heads) -> Self::Cache;
    /// Makes room for pages `0..pages`; what others hold stays.
    fn reserve_pages(&self, cache: &mut Self::Cache, pages: usize);
    /// Stores keys and values of row `i` of `qkv` at `slots[i]`.
    fn store(&self, cache: &mut Self::Cache, layer: usize, qkv: View<'_, Self::Buf>, slots: &[Slot]);
    /// Attention of the query in row `i` of `qkv` over `chains[i]`, its own token included: `out [rows, heads * dim]`.
    fn cached_attention(
        &self,
        cache: &Self::Cache,
        layer: usize,
        window: Option<usize>,
        chains: &[Chain],
        qkv: View<'_, Self::Buf>,
        out: ViewMut<'_, Self::Buf>,
    );
    /// Rotates row `i` by row `i` of the tables (`[rows, dim / 2]`, on the host); see [`Device::rotate`].
    fn rotate_rows(&self, heads: Heads, cos: &[f32], sin: &[f32], qkv: ViewMut<'_, Self::Buf>);
    /// `act[t, j] = silu(gate_up[t, j]) * gate_up[t, ffn + j]`.
    fn swiglu(&self, ffn: usize, gate_up: View<'_, Self::Buf>, act: ViewMut<'_, Self::Buf>);
    /// Gradient of [`Device::swiglu`]: `act` holds that of its output and is replaced by the output, `gate_up` by its gradient.
    fn swiglu_backward(&self, ffn: usize, act: ViewMut<'_, Self::Buf>, gate_up: ViewMut<'_, Self::Buf>);

    /// Statistics of a chunk of logits `[rows, vocab]`.
    fn chunk_stats(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        logits: View<'_, Self::Buf>,
        reference: Option<View<'_, Self::Buf>>,
    ) -> ChunkStats;
    /// The gradient of the loss with respect to a chunk of logits, as [`Device::alloc_activation`] keeps it for the products that
    /// read it; `None` where it takes the logits' place, which are else unspecified.
    fn chunk_backward(
        &self,
        want: ChunkWant,
        targets: ChunkTargets<'_>,
        stats: &ChunkStats,
        seeds: &ChunkSeeds,
        logits: ViewMut<'_, Self::Buf>,
        reference: Option<View<'_, Self::Buf>>,
    ) -> Option<Self::Buf>;

    /// Draws a token from each row of `logits [rows, vocab]`, which are unspecified afterwards.
    ///
    /// Devices draw the same token from the same logits, but where the random number is within rounding of the border between
    /// two tokens (a device may take probabilities below 2^-62 for 0); of equally likely ones the lower id comes first. Numbers of a row without a distribution (of `-inf`
    /// alone, or with NaN or `+inf`) are NaN.
    fn draw(&self, sampling: &Sampling, rows: &[DrawRow<'_>], logits: ViewMut<'_, Self::Buf>) -> Vec<Draw>;

    /// Sum of squares, accumulated in f64 in an order that does not depend on the number of threads.
    fn sum_squares(&self, x: View<'_, Self::Buf>) -> f64;
    /// AdamW on a run of parameters, in place.
    fn adamw(
        &self,
        update: AdamWUpdate,
        grads: View<'_, Self::Buf>,
        params: ViewMut<'_, Self::Buf>,
        m: ViewMut<'_, Self::Buf>,
        v: ViewMut<'_, Self::Buf>,
    );
}
