//! The model sizes that figures are quoted for.

use std::path::Path;

use clap::ValueEnum;
use gft_model::architecture::{Architecture, Dtype, Family};
use gft_model::device::{Buffer, Device};
use gft_model::init::{NewModel, SpecialIds, random_frozen, random_weights};
use gft_model::{Adapter, LoraConfig, Policy};

use crate::failure::Failure;

/// Named sizes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Preset {
    /// Hidden 256, 6 layers, 4 heads / 2 kv, ffn 1024, vocab 4096; 8 x 256 tokens.
    Small,
    /// Qwen2.5-0.5B: hidden 896, 24 layers, 14/2 heads, ffn 4864, vocab 151936; 1 x 256 tokens.
    #[value(name = "qwen0.5b")]
    Qwen05b,
    /// Qwen2.5-1.5B: hidden 1536, 28 layers, 12/2 heads, ffn 8960, vocab 151936; 1 x 256 tokens.
    #[value(name = "qwen1.5b")]
    Qwen15b,
}

/// Sizes of a model and of a step.
pub struct Shape {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the SwiGLU.
    pub ffn: usize,
    /// Tokens known.
    pub vocab: usize,
    /// Sequences of a step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub seq: usize,
    /// Sequences that are generated together.
    pub decode_batch: usize,
    architecture: Architecture,
}

impl Preset {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Small => "small",
            Preset::Qwen05b => "qwen0.5b",
            Preset::Qwen15b => "qwen1.5b",
        }
    }

    /// Its sizes.
    pub fn shape(self) -> Shape {
        let (family, hidden, layers, heads, kv_heads, ffn, vocab, batch) = match self {
            Preset::Small => (Family::Llama, 256, 6, 4, 2, 1024, 4096, 8),
            Preset::Qwen05b => (Family::Qwen2, 896, 24, 14, 2, 4864, 151_936, 1),
            Preset::Qwen15b => (Family::Qwen2, 1536, 28, 12, 2, 8960, 151_936, 1),
        };
        let new = NewModel {
            family,
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim: None,
            ffn,
            vocab,
            max_positions: 32_768,
            rope_theta: 10_000.0,
            tied: true,
            dtype: Dtype::F32,
            special: SpecialIds::default(),
        };
        #[allow(clippy::expect_used)] // a constant
        let architecture =
            Architecture::from_config(&new.config(), Path::new("preset")).expect("presets are valid");
        let decode_batch = if matches!(self, Preset::Small) { 32 } else { 1 };
        Shape { hidden, ffn, vocab, batch, seq: 256, decode_batch, architecture }
    }
}

impl Shape {
    /// A policy of this shape with random weights.
    pub fn policy<D: Device>(&self, device: D) -> Result<Policy<D>, Failure> {
        let values = random_weights(&self.architecture, 0);
        let mut weights = device.alloc(values.len());
        device.write(&values, weights.all_mut());
        Ok(Policy::new(device, self.architecture.clone(), weights)?)
    }

    /// A policy of this shape with random weights of bfloat16 and fresh adapters on all linear layers.
    pub fn adapted<D: Device>(&self, device: D, rank: usize) -> Result<Policy<D>, Failure> {
        let base = random_frozen(device, self.architecture.clone(), 0);
        let config = LoraConfig { r: rank, alpha: 2.0 * rank as f64, ..LoraConfig::default() };
        let adapter = Adapter::init(base.device(), &self.architecture, config, 0)?;
        Ok(base.with_adapter(adapter)?)
    }

    /// Weights that take part in products, the head's included.
    pub fn product_weights(&self) -> usize {
        let arch = &self.architecture;
        let layer = arch.hidden * (arch.qkv_width() + arch.attention_width()) + 3 * arch.hidden * arch.ffn;
        layer * arch.layers + arch.vocab * arch.hidden
    }

    /// Operations of one training step: 6 per weight of a product and token, and the attention's products.
    pub fn step_flops(&self, tokens: usize, seq: usize) -> f64 {
        let arch = &self.architecture;
        let weights = self.product_weights() as f64;
        // Causal: half of the keys on average; two products forward, five backward.
        let attention = (arch.layers * arch.attention_width()) as f64 * seq as f64 / 2.0 * 2.0 * 7.0;
        tokens as f64 * (6.0 * weights + attention)
    }

    /// The same where the weights have no gradient: 4 per weight; adapters are not counted.
    pub fn frozen_step_flops(&self, tokens: usize, seq: usize) -> f64 {
        self.step_flops(tokens, seq) - 2.0 * tokens as f64 * self.product_weights() as f64
    }
}
