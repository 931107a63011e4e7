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

    /// Given the gradient of the output, adds to those of `A`, `B` and `x`. With `low = s drop(x) A^T`:
    /// `dB = dy^T low`, `dlow = s dy B`, `dA = dlow^T drop(x)`, `dx += drop(dlow A)`.
    pub fn backward(&self, x: &D::Buf, dy: &D::Buf, dx: &mut D::Buf, grads: &mut GradientSink<'_, D>) {
        let Reads { device, rows, .. } = self.reads;
        let ranks = self.fused.ranks;
        let low = self.reduce(x);
        let mut d_low = device.alloc(low.len());
        for part in &self.fused.parts {
            let (rank, width) = (part.ranks.len(), part.out.len());
            let d_out = || dy.part(part.out.start..dy.len());
            let columns = part.ranks.start..low.len();
            let op = MatMul {
                m: width,
                n: rank,
                k: rows,
                transpose_a: true,
                transpose_b: false,
                accumulate: grads.accumulate,
            };
            let strides = Strides { a: self.output, b: ranks, out: rank };
            let to = grads.flat.part_mut(part.b.clone());
            device.matmul_within(op, strides, d_out(), low.part(columns.clone()), to);
            let op = MatMul {
                m: rows,
                n: rank,
                k: width,
                transpose_a: false,
                transpose_b: false,
                accumulate: false,
            };
            let strides = Strides { a: self.output, b: rank, out: ranks };
            let b = self.adapter.flat.part(part.b.clone());
            device.matmul_within(op, strides, d_out(), b, d_low.part_mut(columns));
        }
        self.scale(&mut d_low);
        if self.drops() {
            self.fused.parts.iter().for_each(|part| self.input_backward_dropped(part, x, &d_low, dx, grads));
        } else {
            self.input_backward(x, &d_low, dx, grads);
        }
    }

    /// `dA = dlow^T x` and `dx += dlow A` of all adapters at once.
    fn input_backward(&self, x: &D::Buf, d_low: &D::Buf, dx: &mut D::Buf, grads: &mut GradientSink<'_, D>) {
        let Reads { device, rows, .. } = self.reads;
        let (ranks, input) = (self.fused.ranks, self.input);
        let op = MatMul {
            m: ranks,
            n: input,
            k: rows,
            transpose_a: true,
            transpose_b: false,
            accumulate: grads.accumulate,
        };
        device.matmul(op, d_low.all(), x.all(), grads.flat.part_mut(self.fused.a.clone()));
        let op =
            MatMul { m: rows, n: input, k: ranks, transpose_a: false, transpose_b: false, accumulate: true };
        device.matmul(op, d_low.all(), self.adapter.flat.part(self.fused.a.clone()), dx.all_mut());
    }

    /// The same of one adapter, whose input was dropped in part.
    fn input_backward_dropped(
        &self,
        part: &AdapterPart,
        x: &D::Buf,
        d_low: &D::Buf,
        dx: &mut D::Buf,
        grads: &mut GradientSink<'_, D>,
    ) {
        let Reads { device, rows, .. } = self.reads;
        let (rank, input) = (part.ranks.len(), self.input);
        let d_low = || d_low.part(part.ranks.start..d_low.len());
        let dropped = self.dropped(part, x.all());
        let op = MatMul {
            m: rank,
            n: input,
            k: rows,
            transpose_a: true,
            transpose_b: false,
            accumulate: grads.accumulate,
        };
        let strides = Strides { a: self.fused.ranks, ..op.dense() };
        let to = grads.flat.part_mut(self.a_range(part));
        device.matmul_within(op, strides, d_low(), dropped.all(), to);
        drop(dropped);
        let mut through = device.alloc(rows * input);
        let op =
            MatMul { m: rows, n: input, k: rank, transpose_a: false, transpose_b: false, accumulate: false };
        let strides = Strides { a: self.fused.ranks, ..op.dense() };
        device.matmul_within(op, strides, d_low(), self.a(part), through.all_mut());
        device.add(self.dropped(part, through.all()).all(), dx.all_mut());
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
