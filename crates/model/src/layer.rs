//! One decoder layer, forward and backward, derived by hand.
//!
//! `mid = x + o(attention(rope(qkv(norm(x)))))`, `y = mid + down(swiglu(gate_up(norm(mid))))`. The forward pass keeps
//! what the backward pass cannot cheaply compute again; normed inputs and the SwiGLU's output are computed twice.
//!
//! The residual stream (`x`, `mid`, `y`) and its gradient are f32 on every device: each layer adds a little to a sum that
//! grows, which 8 bits of mantissa would lose. What lies between two operations is as the device keeps activations.

use std::ops::Range;

use crate::adapter::Fused;
use crate::architecture::Architecture;
use crate::device::{Buffer, Device, Heads};
use crate::layout::LayerLayout;
use crate::linear::{GradientSink, Linear, PackedLinear, Reads};

/// A layer with everything that it reads.
pub(crate) struct Layer<'a, D: Device> {
    pub reads: Reads<'a, D>,
    pub index: usize,
    pub arch: &'a Architecture,
    pub layout: &'a LayerLayout,
    pub window: Option<usize>,
    pub packed: Option<&'a PackedLayer<D>>,
}

/// A layer's matrices arranged for generation.
pub(crate) struct PackedLayer<D: Device> {
    qkv: PackedLinear<D>,
    o: PackedLinear<D>,
    gate_up: PackedLinear<D>,
    down: PackedLinear<D>,
}

/// What the backward pass needs of a forward pass.
pub(crate) struct Saved<D: Device> {
    kept: Kept<D>,
    lse: D::Buf,
}

/// Intermediate values of a forward pass.
pub(crate) struct Kept<D: Device> {
    input_inv: D::Buf,
    /// Projections before the heads' norm, where there is one.
    raw_qkv: Option<D::Buf>,
    qkv: D::Buf,
    attention: D::Buf,
    mid: D::Buf,
    mid_inv: D::Buf,
    gate_up: D::Buf,
}

/// What attention begins with.
struct Projected<D: Device> {
    input_inv: D::Buf,
    raw_qkv: Option<D::Buf>,
    qkv: D::Buf,
}

/// What follows attention.
struct Finished<D: Device> {
    y: D::Buf,
    mid: D::Buf,
    mid_inv: D::Buf,
    gate_up: D::Buf,
}

impl<D: Device> Layer<'_, D> {
    fn heads(&self) -> Heads {
        Heads { heads: self.arch.heads, kv_heads: self.arch.kv_heads, dim: self.arch.head_dim }
    }

    fn linear<'a>(
        &'a self,
        product: Fused,
        (weight, bias): (&'a Range<usize>, &'a Option<Range<usize>>),
        (input, output): (usize, usize),
        packed: impl FnOnce(&'a PackedLayer<D>) -> &'a PackedLinear<D>,
    ) -> Linear<'a, D> {
        let adapters = self.reads.adapter.and_then(|adapter| adapter.layout.of(self.index, product));
        let (reads, packed) = (self.reads, self.packed.map(packed));
        let place = 4 * self.index as u64 + product as u64;
        Linear { reads, weight, bias, input, output, adapters, packed, place }
    }

    fn qkv(&self) -> Linear<'_, D> {
        let (weight, sizes) = (&self.layout.qkv, (self.arch.hidden, self.heads().width()));
        self.linear(Fused::Qkv, (weight, &self.layout.qkv_bias), sizes, |packed| &packed.qkv)
    }

    fn o(&self) -> Linear<'_, D> {
        let (weight, sizes) = (&self.layout.o, (self.arch.attention_width(), self.arch.hidden));
        self.linear(Fused::O, (weight, &self.layout.o_bias), sizes, |packed| &packed.o)
    }

    fn gate_up(&self) -> Linear<'_, D> {
        let (weight, sizes) = (&self.layout.gate_up, (self.arch.hidden, 2 * self.arch.ffn));
        self.linear(Fused::GateUp, (weight, &self.layout.gate_up_bias), sizes, |packed| &packed.gate_up)
    }

    fn down(&self) -> Linear<'_, D> {
        let (weight, sizes) = (&self.layout.down, (self.arch.ffn, self.arch.hidden));
        self.linear(Fused::Down, (weight, &self.layout.down_bias), sizes, |packed| &packed.down)
    }

    /// Room for what lives between two operations: of f32 in generation, whose products take nothing else.
    fn activation(&self, len: usize) -> D::Buf {
        let device = self.reads.device;
        if self.packed.is_some() { device.alloc(len) } else { device.alloc_activation(len) }
    }

    /// Arranges the layer's matrices for generation.
    pub fn pack(&self) -> PackedLayer<D> {
        PackedLayer {
            qkv: self.qkv().pack(),
            o: self.o().pack(),
            gate_up: self.gate_up().pack(),
            down: self.down().pack(),
        }
    }

    /// The layer's output over a packed batch, and what its backward pass needs besides `x`.
    pub fn forward(&self, plan: &D::Plan, x: &D::Buf) -> (D::Buf, Saved<D>) {
        let (device, heads) = (self.reads.device, self.heads());
        let mut lse = device.alloc(self.reads.rows * heads.heads);
        let (y, kept) = self.forward_with(x, |qkv, attention| {
            device.rotate(plan, heads, false, qkv.all_mut());
            device.attention(plan, heads, self.window, qkv.all(), attention.all_mut(), lse.all_mut());
        });
        (y, Saved { kept, lse })
    }

    /// The layer's output where `attend` rotates the projections and mixes the tokens.
    pub fn forward_with(
        &self,
        x: &D::Buf,
        attend: impl FnOnce(&mut D::Buf, &mut D::Buf),
    ) -> (D::Buf, Kept<D>) {
        let Projected { input_inv, raw_qkv, mut qkv } = self.project(x);
        let mut attention = self.activation(self.reads.rows * self.arch.attention_width());
        attend(&mut qkv, &mut attention);
        let Finished { y, mid, mid_inv, gate_up } = self.finish(x, &attention);
        (y, Kept { input_inv, raw_qkv, qkv, attention, mid, mid_inv, gate_up })
    }

    /// The layer's output at the tokens `ends` alone, which is all that is read of a last layer in generation: of the others only
    /// keys and values are, which `attend` stores. `at_ends` is this layer with as many rows.
    pub fn forward_at(
        &self,
        x: &D::Buf,
        attend: impl FnOnce(&mut D::Buf, &mut D::Buf),
        ends: &[u32],
        at_ends: &Self,
    ) -> D::Buf {
        let (device, arch) = (self.reads.device, self.arch);
        let Projected { mut qkv, .. } = self.project(x);
        let mut attention = self.activation(self.reads.rows * arch.attention_width());
        attend(&mut qkv, &mut attention);
        let [x, attention] = [(x, arch.hidden), (&attention, arch.attention_width())].map(|(all, width)| {
            let mut rows = device.alloc(ends.len() * width);
            device.gather_rows(all.all(), ends, width, rows.all_mut());
            rows
        });
        at_ends.finish(&x, &attention).y
    }

    /// Queries, keys and values before their rotation.
    fn project(&self, x: &D::Buf) -> Projected<D> {
        let (device, heads) = (self.reads.device, self.heads());
        let (normed, input_inv) = self.norm(x, &self.layout.input_norm);
        let mut qkv = self.activation(self.reads.rows * heads.width());
        self.qkv().forward(&normed, None, &mut qkv);
        let raw_qkv = self.layout.qk_norm.as_ref().map(|norm| {
            let mut raw = self.activation(qkv.len());
            device.copy(qkv.all(), raw.all_mut());
            device.head_norm(heads, self.reads.weights.vector(norm), self.arch.rms_eps, qkv.all_mut());
            raw
        });
        Projected { input_inv, raw_qkv, qkv }
    }

    /// The output of `x` and what its tokens' attention gathered.
    fn finish(&self, x: &D::Buf, attention: &D::Buf) -> Finished<D> {
        let (device, rows, hidden, ffn) =
            (self.reads.device, self.reads.rows, self.arch.hidden, self.arch.ffn);
        let mut mid = device.alloc(rows * hidden);
        self.o().forward(attention, Some(x), &mut mid);
        let (normed, mid_inv) = self.norm(&mid, &self.layout.post_norm);
        let mut gate_up = self.activation(rows * 2 * ffn);
        self.gate_up().forward(&normed, None, &mut gate_up);
        let mut act = self.activation(rows * ffn);
        device.swiglu(ffn, gate_up.all(), act.all_mut());
        let mut y = device.alloc(rows * hidden);
        self.down().forward(&act, Some(&mid), &mut y);
        Finished { y, mid, mid_inv, gate_up }
    }

    /// RMSNorm of `x`, and the inverse root mean square of each row.
    fn norm(&self, x: &D::Buf, weight: &Range<usize>) -> (D::Buf, D::Buf) {
        let mut normed = self.activation(x.len());
        let mut inv = self.reads.device.alloc(self.reads.rows);
        self.reads.device.rms_norm(
            x.all(),
            self.reads.weights.vector(weight),
            self.arch.rms_eps,
            normed.all_mut(),
            inv.all_mut(),
        );
        (normed, inv)
    }

    fn norm_backward(
        &self,
        x: &D::Buf,
        weight: &Range<usize>,
        inv: &D::Buf,
        dy: &D::Buf,
        dx: &mut D::Buf,
        grads: &mut GradientSink<'_, D>,
    ) {
        self.reads.device.rms_norm_backward(
            x.all(),
            self.reads.weights.vector(weight),
            inv.all(),
            dy.all(),
            dx.all_mut(),
            grads.vector(weight),
        );
    }

    /// Turns `d`, the gradient of the layer's output, into that of its input `x`.
    pub fn backward(
        &self,
        plan: &D::Plan,
        x: &D::Buf,
        saved: Saved<D>,
        d: &mut D::Buf,
        grads: &mut GradientSink<'_, D>,
    ) {
        let Saved { kept, lse } = saved;
        self.mlp_backward(&kept.mid, &kept.mid_inv, kept.gate_up, d, grads);

        let (device, arch, layout, heads) = (self.reads.device, self.arch, self.layout, self.heads());
        let rounded = device.activation_of(d.all());
        let d_attention = self.o().backward(&kept.attention, rounded.as_ref().unwrap_or(d), grads);
        drop(rounded);
        let mut d_qkv = self.activation(self.reads.rows * heads.width());
        device.attention_backward(
            plan,
            heads,
            self.window,
            kept.qkv.all(),
            kept.attention.all(),
            lse.all(),
            d_attention.all(),
            d_qkv.all_mut(),
        );
        drop(d_attention);
        device.rotate(plan, heads, true, d_qkv.all_mut());
        if let (Some(norm), Some(raw)) = (&layout.qk_norm, &kept.raw_qkv) {
            device.head_norm_backward(
                heads,
                raw.all(),
                self.reads.weights.vector(norm),
                arch.rms_eps,
                d_qkv.all_mut(),
                grads.vector(norm),
            );
        }
        let (normed, _) = self.norm(x, &layout.input_norm);
        let d_normed = self.qkv().backward(&normed, &d_qkv, grads);
        self.norm_backward(x, &layout.input_norm, &kept.input_inv, &d_normed, d, grads);
    }

    fn mlp_backward(
        &self,
        mid: &D::Buf,
        mid_inv: &D::Buf,
        mut gate_up: D::Buf,
        d: &mut D::Buf,
        grads: &mut GradientSink<'_, D>,
    ) {
        let (device, ffn) = (self.reads.device, self.arch.ffn);
        // Several products read the gradient of what they add to the residual stream.
        let rounded = device.activation_of(d.all());
        let of_output = rounded.as_ref().unwrap_or(d);
        let (mut act, d_low) = self.down().input_backward(of_output);
        // Its gradient becomes the SwiGLU's output.
        device.swiglu_backward(ffn, act.all_mut(), gate_up.all_mut());
        self.down().trained_backward(&act, of_output, d_low, grads);
        drop((act, rounded));
        let (normed, _) = self.norm(mid, &self.layout.post_norm);
        let d_normed = self.gate_up().backward(&normed, &gate_up, grads);
        self.norm_backward(mid, &self.layout.post_norm, mid_inv, &d_normed, d, grads);
    }
}
