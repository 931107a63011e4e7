//! Which linear layers have adapters, and where their matrices lie in the flat buffer.
//!
//! The engine multiplies by q, k and v at once, and by gate and up. Their `A` matrices lie one below another, so that
//! these adapters' first products are one product too.

use std::ops::Range;

use super::LoraConfig;
use crate::architecture::Architecture;
use crate::error::{ModelError, Result};
use crate::layout::Parameter;

/// What PEFT puts before a module's path.
const PREFIX: &str = "base_model.model.";
/// What it puts after, for the first matrix.
pub(super) const A: &str = ".lora_A.weight";
/// For the second.
const B: &str = ".lora_B.weight";

/// The products of a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fused {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Fused {
    const ALL: [Fused; 4] = [Fused::Qkv, Fused::O, Fused::GateUp, Fused::Down];

    /// Width of the input, and the modules with the width of each one's output.
    fn modules(self, arch: &Architecture) -> (usize, Vec<(&'static str, usize)>) {
        let (q, kv) = (arch.attention_width(), arch.kv_heads * arch.head_dim);
        match self {
            Fused::Qkv => {
                let modules = [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)];
                (arch.hidden, modules.to_vec())
            }
            Fused::O => (q, vec![("self_attn.o_proj", arch.hidden)]),
            Fused::GateUp => (arch.hidden, vec![("mlp.gate_proj", arch.ffn), ("mlp.up_proj", arch.ffn)]),
            Fused::Down => (arch.ffn, vec![("mlp.down_proj", arch.hidden)]),
        }
    }
}

/// The adapters of one product.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FusedAdapter {
    /// All `A`, `[ranks, in]`.
    pub a: Range<usize>,
    /// Sum of their ranks.
    pub ranks: usize,
    /// One for each module that has an adapter.
    pub parts: Vec<AdapterPart>,
}

/// The adapter of one module within a product.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdapterPart {
    /// Columns of the product's output.
    pub out: Range<usize>,
    /// Columns of `x A^T` that are this adapter's.
    pub ranks: Range<usize>,
    /// `B`, `[out, r]`.
    pub b: Range<usize>,
    /// The factor on it.
    pub scale: f32,
}

/// Places of all adapters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdapterLayout {
    /// Every tensor, in the order of the flat buffer.
    pub parameters: Vec<Parameter>,
    layers: Vec<[Option<FusedAdapter>; 4]>,
    /// Elements in all.
    pub len: usize,
}

impl AdapterLayout {
    pub fn new(arch: &Architecture, config: &LoraConfig) -> Result<Self> {
        let mut targets = config.resolve()?;
        let mut layout = AdapterLayout { parameters: Vec::new(), layers: Vec::new(), len: 0 };
        for layer in 0..arch.layers {
            let mut fused = [None, None, None, None];
            for (place, product) in fused.iter_mut().zip(Fused::ALL) {
                let (input, modules) = product.modules(arch);
                let mut first = 0;
                let mut chosen = Vec::new();
                for (module, width) in modules {
                    let path = format!("model.layers.{layer}.{module}");
                    if let Some((rank, scale)) = targets.of(layer, &path)? {
                        chosen.push((path, first..first + width, rank, scale));
                    }
                    first += width;
                }
                *place = (!chosen.is_empty()).then(|| layout.fuse(input, chosen));
            }
            layout.layers.push(fused);
        }
        targets.check_all_used()?;
        if layout.parameters.is_empty() {
            return Err(ModelError::Option(format!(
                "target_modules {} name no linear layer of this model: they are q_proj, k_proj, v_proj, o_proj, \
                 gate_proj, up_proj and down_proj in each of model.layers.0 to {}",
                config.targets,
                arch.layers.saturating_sub(1)
            )));
        }
        Ok(layout)
    }

    /// The adapters of a layer's product.
    pub fn of(&self, layer: usize, product: Fused) -> Option<&FusedAdapter> {
        self.layers[layer][product as usize].as_ref()
    }

    fn place(&mut self, name: String, rows: usize, columns: usize) -> Range<usize> {
        let range = self.len..self.len + rows * columns;
        self.len = range.end;
        let shape = vec![rows, columns];
        self.parameters.push(Parameter { name, shape, range: range.clone(), is_matrix: true });
        range
    }

    fn fuse(&mut self, input: usize, chosen: Vec<(String, Range<usize>, usize, f32)>) -> FusedAdapter {
        let start = self.len;
        for (path, _, rank, _) in &chosen {
            self.place(format!("{PREFIX}{path}{A}"), *rank, input);
        }
        let a = start..self.len;
        let mut ranks = 0;
        let mut parts = Vec::new();
        for (path, out, rank, scale) in chosen {
            let b = self.place(format!("{PREFIX}{path}{B}"), out.len(), rank);
            parts.push(AdapterPart { out, ranks: ranks..ranks + rank, b, scale });
            ranks += rank;
        }
        FusedAdapter { a, ranks, parts }
    }
}
