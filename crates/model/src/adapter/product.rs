//! What the adapters of one product add to it, and their gradients.

use super::{Adapter, AdapterPart, FusedAdapter};
use crate::device::{Buffer, Device, MatMul, Strides, View};
use crate::linear::{GradientSink, Reads};
use crate::random::Stream;

/// The adapters of a product `[T, input] -> [T, output]`.
pub(crate) struct LowRank<'a, D: Device> {
    pub reads: Reads<'a, D>,
    pub adapter: &'a Adapter<D>,
    pub fused: &'a FusedAdapter,
    pub packed: Option<&'a PackedLowRank<D>>,
    pub input: usize,
    pub output: usize,
    /// Where dropout draws from; `None` outside of training.
    pub dropout: Option<Stream>,
}

/// All `A`, and each `B`, arranged for generation.
pub(crate) struct PackedLowRank<D: Device> {
    a: D::Packed,
    b: Vec<D::Packed>,
}

/// `op` of a row-major `a [m, k]` with a `b` stored `[n, k]`.
fn times_transposed(m: usize, n: usize, k: usize, accumulate: bool) -> MatMul {
    MatMul { m, n, k, transpose_a: false, transpose_b: true, accumulate }
}

/// `op` of a row-major `a [m, k]` with a `b` stored `[k, n]`.
fn times(m: usize, n: usize, k: usize, accumulate: bool) -> MatMul {
    MatMul { m, n, k, transpose_a: false, transpose_b: false, accumulate }
}

/// `op` of an `a` stored `[k, m]` with a `b` stored `[k, n]`.
fn transposed_times(m: usize, n: usize, k: usize, accumulate: bool) -> MatMul {
    MatMul { m, n, k, transpose_a: true, transpose_b: false, accumulate }
}

impl<D: Device> LowRank<'_, D> {
    /// Arranges the matrices for generation.
    pub fn pack(&self) -> PackedLowRank<D> {
        let (device, flat) = (self.reads.device, &self.adapter.flat);
        let b = |part: &AdapterPart| device.pack(flat.part(part.b.clone()), part.out.len(), part.ranks.len());
        PackedLowRank {
            a: device.pack(flat.part(self.fused.a.clone()), self.fused.ranks, self.input),
            b: self.fused.parts.iter().map(b).collect(),
        }
    }

    /// Adds `s drop(x) A^T B^T` of each adapter to its columns of `out`.
    pub fn add(&self, x: &D::Buf, out: &mut D::Buf) {
        let Reads { device, rows, .. } = self.reads;
        let low = self.reduce(x);
        for (index, part) in self.fused.parts.iter().enumerate() {
            let from = low.part(part.ranks.start..low.len());
            let to = part.out.start..out.len();
            if let Some(packed) = self.packed {
                let apart = Some((self.fused.ranks, self.output));
                device.linear_within(&packed.b[index], rows, apart, true, from, out.part_mut(to));
                continue;
            }
            let op = times_transposed(rows, part.out.len(), part.ranks.len(), true);
            let strides = Strides { a: self.fused.ranks, b: part.ranks.len(), out: self.output };
            let b = self.adapter.flat.part(part.b.clone());
            device.matmul_within(op, strides, from, b, out.part_mut(to));
        }
    }

    /// `s drop(x) A^T` of all adapters, `[T, ranks]`.
    fn reduce(&self, x: &D::Buf) -> D::Buf {
        let Reads { device, rows, .. } = self.reads;
        let ranks = self.fused.ranks;
        let mut low = device.alloc(rows * ranks);
        match self.packed {
            Some(packed) => device.linear(&packed.a, rows, false, x.all(), low.all_mut()),
            None if self.drops() => {
                for part in &self.fused.parts {
                    let x = self.dropped(part, x.all());
                    let op = times_transposed(rows, part.ranks.len(), self.input, false);
                    let strides = Strides { out: ranks, ..op.dense() };
                    let columns = part.ranks.start..low.len();
                    device.matmul_within(op, strides, x.all(), self.a(part), low.part_mut(columns));
                }
            }
            None => {
                let op = times_transposed(rows, ranks, self.input, false);
                let a = self.adapter.flat.part(self.fused.a.clone());
                device.matmul(op, x.all(), a, low.all_mut());
            }
        }
        self.scale(&mut low);
        low
    }

    /// Given the gradient of the output, adds to that of `x`, and returns `dlow`. With `low = s drop(x) A^T`:
    /// `dlow = s dy B`, `dx += drop(dlow A)`.
    pub fn input_backward(&self, dy: &D::Buf, dx: &mut D::Buf) -> D::Buf {
        let Reads { device, rows, .. } = self.reads;
        let (ranks, input) = (self.fused.ranks, self.input);
        let mut d_low = device.alloc(rows * ranks);
        for part in &self.fused.parts {
            let (rank, width) = (part.ranks.len(), part.out.len());
            let op = times(rows, rank, width, false);
            let strides = Strides { a: self.output, b: rank, out: ranks };
            let b = self.adapter.flat.part(part.b.clone());
            let to = d_low.part_mut(part.ranks.start..rows * ranks);
            device.matmul_within(op, strides, dy.part(part.out.start..dy.len()), b, to);
        }
        self.scale(&mut d_low);
        if !self.drops() {
            let a = self.adapter.flat.part(self.fused.a.clone());
            device.matmul(times(rows, input, ranks, true), d_low.all(), a, dx.all_mut());
            return d_low;
        }
        for part in &self.fused.parts {
            let mut through = device.alloc(rows * input);
            let op = times(rows, input, part.ranks.len(), false);
            let strides = Strides { a: ranks, ..op.dense() };
            let d_low = d_low.part(part.ranks.start..d_low.len());
            device.matmul_within(op, strides, d_low, self.a(part), through.all_mut());
            device.add(self.dropped(part, through.all()).all(), dx.all_mut());
        }
        d_low
    }

    /// Adds to the gradients of `A` and `B`: `dA = dlow^T drop(x)`, `dB = dy^T low`.
    pub fn weight_backward(&self, x: &D::Buf, dy: &D::Buf, d_low: &D::Buf, grads: &mut GradientSink<'_, D>) {
        let Reads { device, rows, .. } = self.reads;
        let (ranks, accumulate) = (self.fused.ranks, grads.accumulate);
        let low = self.reduce(x);
        for part in &self.fused.parts {
            let (rank, width) = (part.ranks.len(), part.out.len());
            let op = transposed_times(width, rank, rows, accumulate);
            let strides = Strides { a: self.output, b: ranks, out: rank };
            let low = low.part(part.ranks.start..low.len());
            let to = grads.flat.part_mut(part.b.clone());
            device.matmul_within(op, strides, dy.part(part.out.start..dy.len()), low, to);
        }
        if !self.drops() {
            let op = transposed_times(ranks, self.input, rows, accumulate);
            device.matmul(op, d_low.all(), x.all(), grads.flat.part_mut(self.fused.a.clone()));
            return;
        }
        for part in &self.fused.parts {
            let dropped = self.dropped(part, x.all());
            let op = transposed_times(part.ranks.len(), self.input, rows, accumulate);
            let strides = Strides { a: ranks, ..op.dense() };
            let to = grads.flat.part_mut(self.a_range(part));
            device.matmul_within(op, strides, d_low.part(part.ranks.start..d_low.len()), dropped.all(), to);
        }
    }

    /// Whether inputs are dropped.
    fn drops(&self) -> bool {
        self.dropout.is_some() && self.adapter.config.dropout > 0.0
    }

    /// `x` with some elements zero and the others larger by `1 / (1 - p)`; which ones depends on the stream and the
    /// adapter alone, so that the backward pass drops the same.
    fn dropped(&self, part: &AdapterPart, x: View<'_, D::Buf>) -> D::Buf {
        let device = self.reads.device;
        let mut kept = device.alloc(x.range.len());
        device.copy(x, kept.all_mut());
        if let Some(stream) = self.dropout {
            let stream = stream.child(part.out.start as u64);
            device.dropout(stream, self.adapter.config.dropout, kept.all_mut());
        }
        kept
    }

    fn a_range(&self, part: &AdapterPart) -> std::ops::Range<usize> {
        let start = self.fused.a.start;
        start + part.ranks.start * self.input..start + part.ranks.end * self.input
    }

    fn a(&self, part: &AdapterPart) -> View<'_, D::Buf> {
        self.adapter.flat.part(self.a_range(part))
    }

    /// Each adapter's columns times its factor.
    fn scale(&self, low: &mut D::Buf) {
        for part in &self.fused.parts {
            let columns = part.ranks.clone();
            self.reads.device.scale_columns(self.fused.ranks, columns, part.scale, low.all_mut());
        }
    }
}
