//! Where each parameter lies in the flat buffers, and what it is called on disk.
//!
//! Weights, gradients and optimizer moments are each one flat buffer in this order. The query, key and value
//! projections of a layer lie one after another, as do gate and up, so that each group is one matrix product.

use std::ops::Range;

use crate::architecture::Architecture;

/// One tensor of the model as files name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name in transformers' checkpoints.
    pub name: String,
    /// Shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Place in the flat buffers.
    pub range: Range<usize>,
    /// Whether the tensor is a matrix: norms and biases are conventionally not decayed.
    pub is_matrix: bool,
}

/// Places of one decoder layer's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerLayout {
    /// RMSNorm before attention, `[H]`.
    pub input_norm: Range<usize>,
    /// Query, key and value projections, `[(heads + 2 kv_heads) * head_dim, H]`.
    pub qkv: Range<usize>,
    /// Their biases.
    pub qkv_bias: Option<Range<usize>>,
    /// RMSNorm over each query head and over each key head, `[2, head_dim]`.
    pub qk_norm: Option<Range<usize>>,
    /// Output projection, `[H, heads * head_dim]`.
    pub o: Range<usize>,
    /// Its bias.
    pub o_bias: Option<Range<usize>>,
    /// RMSNorm before the SwiGLU, `[H]`.
    pub post_norm: Range<usize>,
    /// Gate and up projections, `[2 ffn, H]`.
    pub gate_up: Range<usize>,
    /// Their biases.
    pub gate_up_bias: Option<Range<usize>>,
    /// Down projection, `[H, ffn]`.
    pub down: Range<usize>,
    /// Its bias.
    pub down_bias: Option<Range<usize>>,
}

/// Places of all parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Every tensor, in the order of the flat buffers.
    pub parameters: Vec<Parameter>,
    /// Token embedding, `[V, H]`.
    pub embed: Range<usize>,
    /// The decoder layers.
    pub layers: Vec<LayerLayout>,
    /// RMSNorm before the head, `[H]`.
    pub final_norm: Range<usize>,
    /// Head, `[V, H]`: the embedding itself where the model ties them.
    pub head: Range<usize>,
    /// Elements in all.
    pub len: usize,
}

impl Layout {
    /// Lays the parameters of an architecture out.
    pub fn new(arch: &Architecture) -> Self {
        let mut cursor = Cursor::default();
        let embed = cursor.place("model.embed_tokens.weight".into(), &[arch.vocab, arch.hidden]);
        let layers = (0..arch.layers).map(|layer| cursor.layer(arch, layer)).collect();
        let final_norm = cursor.place("model.norm.weight".into(), &[arch.hidden]);
        let head = if arch.tied {
            embed.clone()
        } else {
            cursor.place("lm_head.weight".into(), &[arch.vocab, arch.hidden])
        };
        Layout { embed, layers, final_norm, head, len: cursor.len, parameters: cursor.parameters }
    }
}

#[derive(Default)]
struct Cursor {
    parameters: Vec<Parameter>,
    len: usize,
}

impl Cursor {
    fn place(&mut self, name: String, shape: &[usize]) -> Range<usize> {
        let range = self.len..self.len + shape.iter().product::<usize>();
        self.len = range.end;
        let is_matrix = shape.len() > 1;
        self.parameters.push(Parameter { name, shape: shape.to_vec(), range: range.clone(), is_matrix });
        range
    }

    /// Places several tensors one after another and returns the range of them all.
    fn fuse(&mut self, tensors: &[(String, Vec<usize>)]) -> Range<usize> {
        let start = self.len;
        for (name, shape) in tensors {
            self.place(name.clone(), shape);
        }
        start..self.len
    }

    fn layer(&mut self, arch: &Architecture, layer: usize) -> LayerLayout {
        let (hidden, ffn, dim) = (arch.hidden, arch.ffn, arch.head_dim);
        let (q, kv) = (arch.heads * dim, arch.kv_heads * dim);
        let name = |suffix: &str| format!("model.layers.{layer}.{suffix}");
        let attention = [("q", q), ("k", kv), ("v", kv)];
        let mlp = [("gate", ffn), ("up", ffn)];
        LayerLayout {
            input_norm: self.place(name("input_layernorm.weight"), &[hidden]),
            qkv: self.fuse(
                &attention
                    .map(|(p, width)| (name(&format!("self_attn.{p}_proj.weight")), vec![width, hidden])),
            ),
            qkv_bias: arch.qkv_bias.then(|| {
                self.fuse(
                    &attention.map(|(p, width)| (name(&format!("self_attn.{p}_proj.bias")), vec![width])),
                )
            }),
            qk_norm: arch.qk_norm.then(|| {
                self.fuse(&["q", "k"].map(|p| (name(&format!("self_attn.{p}_norm.weight")), vec![dim])))
            }),
            o: self.place(name("self_attn.o_proj.weight"), &[hidden, q]),
            o_bias: arch.o_bias.then(|| self.place(name("self_attn.o_proj.bias"), &[hidden])),
            post_norm: self.place(name("post_attention_layernorm.weight"), &[hidden]),
            gate_up: self
                .fuse(&mlp.map(|(p, width)| (name(&format!("mlp.{p}_proj.weight")), vec![width, hidden]))),
            gate_up_bias: arch.mlp_bias.then(|| {
                self.fuse(&mlp.map(|(p, width)| (name(&format!("mlp.{p}_proj.bias")), vec![width])))
            }),
            down: self.place(name("mlp.down_proj.weight"), &[hidden, ffn]),
            down_bias: arch.mlp_bias.then(|| self.place(name("mlp.down_proj.bias"), &[hidden])),
        }
    }
}
