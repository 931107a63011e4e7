//! One decoder layer, forward and backward, derived by hand.
//!
//! `mid = x + o(attention(rope(qkv(norm(x)))))`, `y = mid + down(swiglu(gate_up(norm(mid))))`. The forward pass keeps
//! what the backward pass cannot cheaply compute again; normed inputs and the SwiGLU's output are computed twice.

use std::ops::Range;

use crate::architecture::Architecture;
use crate::device::{Buffer, Device, Heads, MatMul, View};
use crate::layout::LayerLayout;

/// A layer with everything that it reads.
pub(crate) struct Layer<'a, D: Device> {
    pub device: &'a D,
    pub arch: &'a Architecture,
    pub layout: &'a LayerLayout,
    pub window: Option<usize>,
    pub params: &'a D::Buf,
    /// Weights arranged for generation; their rows' results do not depend on each other.
    pub packed: Option<&'a PackedLayer<D>>,
    /// Tokens, T.
    pub rows: usize,
}

/// A layer's matrices arranged for generation.
pub(crate) struct PackedLayer<D: Device> {
    qkv: D::Packed,
    o: D::Packed,
    gate_up: D::Packed,
    down: D::Packed,
}

/// A product with a weight `[output, input]` and its bias.
struct Linear<'a, D: Device> {
    weight: &'a Range<usize>,
    bias: &'a Option<Range<usize>>,
    input: usize,
    output: usize,
    packed: Option<&'a D::Packed>,
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

/// Gradients of all parameters, and whether matrices are still to be overwritten rather than added to.
pub(crate) struct GradientSink<'a, D: Device> {
    pub flat: &'a mut D::Buf,
    pub accumulate: bool,
}

impl<D: Device> Layer<'_, D> {
    fn heads(&self) -> Heads {
        Heads { heads: self.arch.heads, kv_heads: self.arch.kv_heads, dim: self.arch.head_dim }
    }

    fn param(&self, range: &Range<usize>) -> View<'_, D::Buf> {
        self.params.part(range.clone())
    }

    fn qkv(&self) -> Linear<'_, D> {
        let (input, output) = (self.arch.hidden, self.heads().width());
        let packed = self.packed.map(|packed| &packed.qkv);
        Linear { weight: &self.layout.qkv, bias: &self.layout.qkv_bias, input, output, packed }
    }

    fn o(&self) -> Linear<'_, D> {
        let (input, output) = (self.arch.attention_width(), self.arch.hidden);
        let packed = self.packed.map(|packed| &packed.o);
        Linear { weight: &self.layout.o, bias: &self.layout.o_bias, input, output, packed }
    }

    fn gate_up(&self) -> Linear<'_, D> {
        let (input, output) = (self.arch.hidden, 2 * self.arch.ffn);
        let packed = self.packed.map(|packed| &packed.gate_up);
        Linear { weight: &self.layout.gate_up, bias: &self.layout.gate_up_bias, input, output, packed }
    }

    fn down(&self) -> Linear<'_, D> {
        let (input, output) = (self.arch.ffn, self.arch.hidden);
        let packed = self.packed.map(|packed| &packed.down);
        Linear { weight: &self.layout.down, bias: &self.layout.down_bias, input, output, packed }
    }

    /// Arranges the layer's matrices for generation.
    pub fn pack(&self) -> PackedLayer<D> {
        let pack =
            |linear: Linear<'_, D>| self.device.pack(self.param(linear.weight), linear.output, linear.input);
        PackedLayer {
            qkv: pack(self.qkv()),
            o: pack(self.o()),
            gate_up: pack(self.gate_up()),
            down: pack(self.down()),
        }
    }

    /// `out (+)= x weight^T + bias`.
    fn project(&self, linear: &Linear<'_, D>, x: &D::Buf, accumulate: bool, out: &mut D::Buf) {
        match linear.packed {
            Some(packed) => self.device.linear(packed, self.rows, accumulate, x.all(), out.all_mut()),
            None => {
                let op = MatMul {
                    m: self.rows,
                    n: linear.output,
                    k: linear.input,
                    transpose_a: false,
                    transpose_b: true,
                    accumulate,
                };
                self.device.matmul(op, x.all(), self.param(linear.weight), out.all_mut());
            }
        }
        if let Some(bias) = linear.bias {
            self.device.add_bias(self.param(bias), out.all_mut());
        }
    }

    /// The layer's output over a packed batch, and what its backward pass needs besides `x`.
    pub fn forward(&self, plan: &D::Plan, x: &D::Buf) -> (D::Buf, Saved<D>) {
        let (device, heads) = (self.device, self.heads());
        let mut lse = device.alloc(self.rows * heads.heads);
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
        let (device, arch, layout, rows) = (self.device, self.arch, self.layout, self.rows);
        let (hidden, ffn, heads) = (arch.hidden, arch.ffn, self.heads());

        let (normed, input_inv) = self.norm(x, &layout.input_norm);
        let mut qkv = device.alloc(rows * heads.width());
        self.project(&self.qkv(), &normed, false, &mut qkv);
        let raw_qkv = layout.qk_norm.as_ref().map(|norm| {
            let mut raw = device.alloc(qkv.len());
            device.copy(qkv.all(), raw.all_mut());
            device.head_norm(heads, self.param(norm), arch.rms_eps, qkv.all_mut());
            raw
        });
        let mut attention = device.alloc(rows * arch.attention_width());
        attend(&mut qkv, &mut attention);
        let mut mid = device.alloc(rows * hidden);
        device.copy(x.all(), mid.all_mut());
        self.project(&self.o(), &attention, true, &mut mid);

        let (normed, mid_inv) = self.norm(&mid, &layout.post_norm);
        let mut gate_up = device.alloc(rows * 2 * ffn);
        self.project(&self.gate_up(), &normed, false, &mut gate_up);
        let mut act = device.alloc(rows * ffn);
        device.swiglu(ffn, gate_up.all(), act.all_mut());
        let mut y = device.alloc(rows * hidden);
        device.copy(mid.all(), y.all_mut());
        self.project(&self.down(), &act, true, &mut y);
        (y, Kept { input_inv, raw_qkv, qkv, attention, mid, mid_inv, gate_up })
    }

    /// RMSNorm of `x`, and the inverse root mean square of each row.
    fn norm(&self, x: &D::Buf, weight: &Range<usize>) -> (D::Buf, D::Buf) {
        let mut normed = self.device.alloc(x.len());
        let mut inv = self.device.alloc(self.rows);
        self.device.rms_norm(x.all(), self.param(weight), self.arch.rms_eps, normed.all_mut(), inv.all_mut());
        (normed, inv)
    }

    /// Gradient of [`Layer::project`]: adds to those of weight and bias, and returns that of `x`.
    fn project_backward(
        &self,
        linear: &Linear<'_, D>,
        x: &D::Buf,
        dy: &D::Buf,
        grads: &mut GradientSink<'_, D>,
    ) -> D::Buf {
        let (device, Linear { weight, bias, input, output, .. }) = (self.device, linear);
        let to_weight = MatMul {
            m: *output,
            n: *input,
            k: self.rows,
            transpose_a: true,
            transpose_b: false,
            accumulate: grads.accumulate,
        };
        device.matmul(to_weight, dy.all(), x.all(), grads.flat.part_mut((*weight).clone()));
        if let Some(bias) = bias {
            device.bias_backward(dy.all(), grads.flat.part_mut(bias.clone()));
        }
        let to_input = MatMul {
            m: self.rows,
            n: *input,
            k: *output,
            transpose_a: false,
            transpose_b: false,
            accumulate: false,
        };
        let mut dx = device.alloc(self.rows * input);
        device.matmul(to_input, dy.all(), self.param(weight), dx.all_mut());
        dx
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
        self.device.rms_norm_backward(
            x.all(),
            self.param(weight),
            inv.all(),
            dy.all(),
            dx.all_mut(),
            grads.flat.part_mut(weight.clone()),
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

        let (device, arch, layout, heads) = (self.device, self.arch, self.layout, self.heads());
        let d_attention = self.project_backward(&self.o(), &kept.attention, d, grads);
        let mut d_qkv = device.alloc(self.rows * heads.width());
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
        device.rotate(plan, heads, true, d_qkv.all_mut());
        if let (Some(norm), Some(raw)) = (&layout.qk_norm, &kept.raw_qkv) {
            device.head_norm_backward(
                heads,
                raw.all(),
                self.param(norm),
                arch.rms_eps,
                d_qkv.all_mut(),
                grads.flat.part_mut(norm.clone()),
            );
        }
        let (normed, _) = self.norm(x, &layout.input_norm);
        let d_normed = self.project_backward(&self.qkv(), &normed, &d_qkv, grads);
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
        let (device, ffn) = (self.device, self.arch.ffn);
        let mut act = device.alloc(self.rows * ffn);
        device.swiglu(ffn, gate_up.all(), act.all_mut());
        let d_act = self.project_backward(&self.down(), &act, d, grads);
        drop(act);
        device.swiglu_backward(ffn, d_act.all(), gate_up.all_mut());
        drop(d_act);
        let (normed, _) = self.norm(mid, &self.layout.post_norm);
        let d_normed = self.project_backward(&self.gate_up(), &normed, &gate_up, grads);
        self.norm_backward(mid, &self.layout.post_norm, mid_inv, &d_normed, d, grads);
    }
}
