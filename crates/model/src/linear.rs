//! One linear layer, or several that share their input: the product with the weights, its bias, its adapters, and the
//! gradients of each.

use std::ops::Range;

use crate::adapter::{Adapter, FusedAdapter, LowRank, PackedLowRank};
use crate::device::{Buffer, Device, MatMul, ViewMut};
use crate::random::Stream;
use crate::weights::Weights;

/// What a layer's products read: the device, the weights and the adapters.
pub(crate) struct Reads<'a, D: Device> {
    pub device: &'a D,
    pub weights: &'a Weights<D>,
    pub adapter: Option<&'a Adapter<D>>,
    /// Where the adapters' dropout draws from; `None` outside of training.
    pub dropout: Option<Stream>,
    /// Tokens, T.
    pub rows: usize,
}

impl<D: Device> Clone for Reads<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Reads<'_, D> {}

/// A product with a weight `[output, input]`.
pub(crate) struct Linear<'a, D: Device> {
    pub reads: Reads<'a, D>,
    pub weight: &'a Range<usize>,
    pub bias: &'a Option<Range<usize>>,
    pub input: usize,
    pub output: usize,
    pub adapters: Option<&'a FusedAdapter>,
    /// The same arranged for generation; a row's result does not depend on the other rows.
    pub packed: Option<&'a PackedLinear<D>>,
    /// Which product of the model it is.
    pub place: u64,
}

/// A product's matrices arranged for generation.
pub(crate) struct PackedLinear<D: Device> {
    weight: D::Packed,
    adapters: Option<PackedLowRank<D>>,
}

/// Gradients of everything that is trained, and whether matrices are still to be overwritten rather than added to.
pub(crate) struct GradientSink<'a, D: Device> {
    pub flat: &'a mut D::Buf,
    pub accumulate: bool,
    /// Where gradients of norms go that are not trained, because only adapters are.
    pub unused: Option<D::Buf>,
}

impl<D: Device> GradientSink<'_, D> {
    /// Where the gradient of a norm goes.
    pub fn vector(&mut self, range: &Range<usize>) -> ViewMut<'_, D::Buf> {
        match &mut self.unused {
            Some(unused) => unused.part_mut(0..range.len()),
            None => self.flat.part_mut(range.clone()),
        }
    }
}

impl<'a, D: Device> Linear<'a, D> {
    fn low_rank(&self) -> Option<LowRank<'a, D>> {
        let (fused, adapter) = self.adapters.zip(self.reads.adapter)?;
        Some(LowRank {
            reads: self.reads,
            adapter,
            fused,
            packed: self.packed.and_then(|packed| packed.adapters.as_ref()),
            input: self.input,
            output: self.output,
            dropout: self.reads.dropout.map(|stream| stream.child(self.place)),
        })
    }

    /// Arranges the matrices for generation.
    pub fn pack(&self) -> PackedLinear<D> {
        let weight = self.reads.weights.matrix(self.weight);
        PackedLinear {
            weight: weight.pack(self.reads.device, self.output, self.input),
            adapters: self.low_rank().map(|low_rank| low_rank.pack()),
        }
    }

    /// `out = x weight^T + bias`, and what the adapters add; `onto` as well, where that is given.
    pub fn forward(&self, x: &D::Buf, onto: Option<&D::Buf>, out: &mut D::Buf) {
        let Reads { device, weights, rows, .. } = self.reads;
        let (matrix, to) = (weights.matrix(self.weight), out.all_mut());
        let op = MatMul {
            m: rows,
            n: self.output,
            k: self.input,
            transpose_a: false,
            transpose_b: true,
            accumulate: false,
        };
        match (self.packed, onto) {
            (Some(packed), None) => device.linear(&packed.weight, rows, false, x.all(), to),
            (Some(packed), Some(onto)) => device.linear_onto(&packed.weight, rows, x.all(), onto.all(), to),
            (None, None) => matrix.multiply(device, op, x.all(), to),
            (None, Some(onto)) => matrix.multiply_onto(device, op, x.all(), onto.all(), to),
        }
        if let Some(bias) = self.bias {
            device.add_bias(weights.vector(bias), out.all_mut());
        }
        if let Some(low_rank) = self.low_rank() {
            low_rank.add(x, out);
        }
    }

    /// Gradient of [`Linear::forward`]: adds to those of what is trained, and returns that of `x`.
    pub fn backward(&self, x: &D::Buf, dy: &D::Buf, grads: &mut GradientSink<'_, D>) -> D::Buf {
        let (dx, d_low) = self.input_backward(dy);
        self.trained_backward(x, dy, d_low, grads);
        dx
    }

    /// The gradient of `x`, and what [`Linear::trained_backward`] needs of it: the adapters' part before their `A`.
    pub fn input_backward(&self, dy: &D::Buf) -> (D::Buf, Option<D::Buf>) {
        let Reads { device, weights, rows, .. } = self.reads;
        let to_input = MatMul {
            m: rows,
            n: self.input,
            k: self.output,
            transpose_a: false,
            transpose_b: false,
            accumulate: false,
        };
        let mut dx = device.alloc_activation(rows * self.input);
        weights.matrix(self.weight).multiply(device, to_input, dy.all(), dx.all_mut());
        let d_low = self.low_rank().map(|low_rank| low_rank.input_backward(dy, &mut dx));
        (dx, d_low)
    }

    /// Adds to the gradients of what is trained: the weight and the bias, or the adapters.
    pub fn trained_backward(
        &self,
        x: &D::Buf,
        dy: &D::Buf,
        d_low: Option<D::Buf>,
        grads: &mut GradientSink<'_, D>,
    ) {
        if self.reads.adapter.is_none() {
            self.weight_backward(x, dy, grads);
        }
        if let Some((low_rank, d_low)) = self.low_rank().zip(d_low) {
            low_rank.weight_backward(x, dy, &d_low, grads);
        }
    }

    /// Adds to the gradients of the weight and the bias.
    fn weight_backward(&self, x: &D::Buf, dy: &D::Buf, grads: &mut GradientSink<'_, D>) {
        let device = self.reads.device;
        let to_weight = MatMul {
            m: self.output,
            n: self.input,
            k: self.reads.rows,
            transpose_a: true,
            transpose_b: false,
            accumulate: grads.accumulate,
        };
        device.matmul(to_weight, dy.all(), x.all(), grads.flat.part_mut(self.weight.clone()));
        if let Some(bias) = self.bias {
            device.bias_backward(dy.all(), grads.flat.part_mut(bias.clone()));
        }
    }
}
