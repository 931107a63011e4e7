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
    pub plan: &'a D::Plan,
    /// Tokens, T.
    pub rows: usize,
}

/// What the backward pass needs of a forward pass.
pub(crate) struct Saved<D: Device> {
    input_inv: D::Buf,
    /// Projections before the heads' norm, where there is one.
    raw_qkv: Option<D::Buf>,
    qkv: D::Buf,
    attention: D::Buf,
    lse: D::Buf,
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

    /// `out (+)= x weight^T + bias`.
    fn project(
        &self,
        x: &D::Buf,
        weight: &Range<usize>,
        bias: &Option<Range<usize>>,
        [input, output]: [usize; 2],
        out: &mut D::Buf,
        accumulate: bool,
    ) {
        let op =
            MatMul { m: self.rows, n: output, k: input, transpose_a: false, transpose_b: true, accumulate };
        self.device.matmul(op, x.all(), self.param(weight), out.all_mut());
        if let Some(bias) = bias {
            self.device.add_bias(self.param(bias), out.all_mut());
        }
    }

    /// The layer's output, and what its backward pass needs besides `x`.
    pub fn forward(&self, x: &D::Buf) -> (D::Buf, Saved<D>) {
        let (device, arch, layout, rows) = (self.device, self.arch, self.layout, self.rows);
        let (hidden, ffn, heads) = (arch.hidden, arch.ffn, self.heads());

        let mut normed = device.alloc(rows * hidden);
        let mut input_inv = device.alloc(rows);
        device.rms_norm(
            x.all(),
            self.param(&layout.input_norm),
            arch.rms_eps,
            normed.all_mut(),
            input_inv.all_mut(),
        );
        let mut qkv = device.alloc(rows * heads.width());
        self.project(&normed, &layout.qkv, &layout.qkv_bias, [hidden, heads.width()], &mut qkv, false);
        let raw_qkv = layout.qk_norm.as_ref().map(|norm| {
            let mut raw = device.alloc(qkv.len());
            device.copy(qkv.all(), raw.all_mut());
            device.head_norm(heads, self.param(norm), arch.rms_eps, qkv.all_mut());
            raw
        });
        device.rotate(self.plan, heads, false, qkv.all_mut());

        let mut attention = device.alloc(rows * arch.attention_width());
        let mut lse = device.alloc(rows * heads.heads);
        device.attention(self.plan, heads, self.window, qkv.all(), attention.all_mut(), lse.all_mut());
        let mut mid = device.alloc(rows * hidden);
        device.copy(x.all(), mid.all_mut());
        self.project(&attention, &layout.o, &layout.o_bias, [arch.attention_width(), hidden], &mut mid, true);

        let mut mid_inv = device.alloc(rows);
        device.rms_norm(
            mid.all(),
            self.param(&layout.post_norm),
            arch.rms_eps,
            normed.all_mut(),
            mid_inv.all_mut(),
        );
        let mut gate_up = device.alloc(rows * 2 * ffn);
        self.project(&normed, &layout.gate_up, &layout.gate_up_bias, [hidden, 2 * ffn], &mut gate_up, false);
        let mut act = device.alloc(rows * ffn);
        device.swiglu(ffn, gate_up.all(), act.all_mut());
        let mut y = device.alloc(rows * hidden);
        device.copy(mid.all(), y.all_mut());
        self.project(&act, &layout.down, &layout.down_bias, [ffn, hidden], &mut y, true);
        (y, Saved { input_inv, raw_qkv, qkv, attention, lse, mid, mid_inv, gate_up })
    }

    /// Gradient of [`Layer::project`]: adds to those of weight and bias, and returns that of `x`.
    fn project_backward(
        &self,
        x: &D::Buf,
        dy: &D::Buf,
        weight: &Range<usize>,
        bias: &Option<Range<usize>>,
        [input, output]: [usize; 2],
        grads: &mut GradientSink<'_, D>,
    ) -> D::Buf {
        let device = self.device;
        let to_weight = MatMul {
            m: output,
            n: input,
            k: self.rows,
            transpose_a: true,
            transpose_b: false,
            accumulate: grads.accumulate,
        };
        device.matmul(to_weight, dy.all(), x.all(), grads.flat.part_mut(weight.clone()));
        if let Some(bias) = bias {
            device.bias_backward(dy.all(), grads.flat.part_mut(bias.clone()));
        }
        let to_input = MatMul {
            m: self.rows,
            n: input,
            k: output,
            transpose_a: false,
            transpose_b: false,
            accumulate: false,
        };
        let mut dx = device.alloc(self.rows * input);
        device.matmul(to_input, dy.all(), self.param(weight), dx.all_mut());
        dx
    }

    /// Recomputes a normed input and returns it.
    fn normed(&self, x: &D::Buf, weight: &Range<usize>) -> D::Buf {
        let mut normed = self.device.alloc(x.len());
        let mut inv = self.device.alloc(self.rows);
        self.device.rms_norm(x.all(), self.param(weight), self.arch.rms_eps, normed.all_mut(), inv.all_mut());
        normed
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
    pub fn backward(&self, x: &D::Buf, saved: Saved<D>, d: &mut D::Buf, grads: &mut GradientSink<'_, D>) {
        self.mlp_backward(&saved.mid, &saved.mid_inv, saved.gate_up, d, grads);

        let (device, arch, layout, heads) = (self.device, self.arch, self.layout, self.heads());
        let shape = [arch.attention_width(), arch.hidden];
        let d_attention = self.project_backward(&saved.attention, d, &layout.o, &layout.o_bias, shape, grads);
        let mut d_qkv = device.alloc(self.rows * heads.width());
        device.attention_backward(
            self.plan,
            heads,
            self.window,
            saved.qkv.all(),
            saved.attention.all(),
            saved.lse.all(),
            d_attention.all(),
            d_qkv.all_mut(),
        );
        device.rotate(self.plan, heads, true, d_qkv.all_mut());
        if let (Some(norm), Some(raw)) = (&layout.qk_norm, &saved.raw_qkv) {
            device.head_norm_backward(
                heads,
                raw.all(),
                self.param(norm),
                arch.rms_eps,
                d_qkv.all_mut(),
                grads.flat.part_mut(norm.clone()),
            );
        }
        let normed = self.normed(x, &layout.input_norm);
        let shape = [arch.hidden, heads.width()];
        let d_normed = self.project_backward(&normed, &d_qkv, &layout.qkv, &layout.qkv_bias, shape, grads);
        self.norm_backward(x, &layout.input_norm, &saved.input_inv, &d_normed, d, grads);
    }

    fn mlp_backward(
        &self,
        mid: &D::Buf,
        mid_inv: &D::Buf,
        mut gate_up: D::Buf,
        d: &mut D::Buf,
        grads: &mut GradientSink<'_, D>,
    ) {
        let (device, layout, ffn, hidden) = (self.device, self.layout, self.arch.ffn, self.arch.hidden);
        let mut act = device.alloc(self.rows * ffn);
        device.swiglu(ffn, gate_up.all(), act.all_mut());
        let d_act = self.project_backward(&act, d, &layout.down, &layout.down_bias, [ffn, hidden], grads);
        drop(act);
        device.swiglu_backward(ffn, d_act.all(), gate_up.all_mut());
        drop(d_act);
        let normed = self.normed(mid, &layout.post_norm);
        let shape = [hidden, 2 * ffn];
        let d_normed =
            self.project_backward(&normed, &gate_up, &layout.gate_up, &layout.gate_up_bias, shape, grads);
        self.norm_backward(mid, &layout.post_norm, mid_inv, &d_normed, d, grads);
    }
}
