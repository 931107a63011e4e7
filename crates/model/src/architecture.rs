//! `config.json` to [`Architecture`]: which decoder this is, in the numbers that the engine needs.
//!
//! One decoder family (pre-norm RMSNorm, rotary positions, grouped-query attention, SwiGLU) covers Llama, Mistral,
//! Qwen2 and Qwen3 with a few options. Whatever a configuration asks for beyond them is an error, never ignored.

use std::path::Path;

use serde_json::Value;

use crate::error::{ModelError, Result};
use crate::rope::RopeScaling;

/// Numbers of a rotary embedding that f32 can compute with; those of published models lie far inside.
const SANE: std::ops::RangeInclusive<f64> = 1e-6..=1e12;

/// The model families whose `config.json` is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, and those that share its `model_type` (DeepSeekMath, SmolLM).
    Llama,
    /// Mistral, with or without a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections.
    Qwen2,
    /// Qwen3: RMSNorm on each head's queries and keys, explicit `head_dim`.
    Qwen3,
}

/// The element type of weights on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        if self == Dtype::F32 { 4 } else { 2 }
    }

    /// The name in `config.json` (`float32`, `float16`, `bfloat16`).
    pub fn config_name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
        }
    }
}

impl std::str::FromStr for Dtype {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_start_matches("torch.") {
            "float32" | "f32" | "fp32" | "F32" => Ok(Dtype::F32),
            "float16" | "f16" | "fp16" | "F16" | "half" => Ok(Dtype::F16),
            "bfloat16" | "bf16" | "BF16" => Ok(Dtype::Bf16),
            other => Err(format!("dtype `{other}`; known are float32, float16 and bfloat16")),
        }
    }
}

/// Everything about a decoder that its arithmetic depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Model family.
    pub family: Family,
    /// Width of the residual stream, H.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the SwiGLU's hidden layer.
    pub ffn: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Epsilon of every RMSNorm.
    pub rms_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Positions that the model was trained for.
    pub max_positions: usize,
    /// Biases on the q, k and v projections.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub o_bias: bool,
    /// Biases in the SwiGLU.
    pub mlp_bias: bool,
    /// RMSNorm over each head of q and k.
    pub qk_norm: bool,
    /// The head is the embedding's transpose.
    pub tied: bool,
    /// Sliding window of each layer: a query sees keys at most `window - 1` positions back. `None` is full attention.
    pub windows: Vec<Option<usize>>,
    /// The dtype that `config.json` names, if it does.
    pub dtype: Option<Dtype>,
}

impl Architecture {
    /// Reads the architecture out of a parsed `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] names the key that asks for something else than this family of decoders;
    /// [`ModelError::Config`] a key that is missing, of the wrong type, or contradicts another.
    pub fn from_config(config: &Value, path: &Path) -> Result<Self> {
        let keys = Keys { config, path };
        let family = keys.family()?;
        keys.refuse_other_activations()?;
        let hidden = keys.size("hidden_size")?;
        let heads = keys.size("num_attention_heads")?;
        let kv_heads = keys.optional_size("num_key_value_heads")?.unwrap_or(heads);
        let default_head_dim = if family == Family::Qwen3 { 128 } else { hidden / heads.max(1) };
        let head_dim = keys.optional_size("head_dim")?.unwrap_or(default_head_dim);
        let layers = keys.size("num_hidden_layers")?;
        let max_positions = keys.optional_size("max_position_embeddings")?.unwrap_or(2048);
        let (rope_theta, rope_scaling) = keys.rope(max_positions)?;
        let attention_bias = keys.flag("attention_bias")?.unwrap_or(false);
        let mut architecture = Architecture {
            family,
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim,
            ffn: keys.size("intermediate_size")?,
            vocab: keys.size("vocab_size")?,
            rms_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope_theta,
            rope_scaling,
            max_positions,
            qkv_bias: attention_bias || family == Family::Qwen2,
            o_bias: attention_bias && matches!(family, Family::Llama | Family::Qwen3),
            mlp_bias: family == Family::Llama && keys.flag("mlp_bias")?.unwrap_or(false),
            qk_norm: family == Family::Qwen3,
            tied: keys.flag("tie_word_embeddings")?.unwrap_or(false),
            windows: Vec::new(),
            dtype: keys.dtype()?,
        };
        architecture.check(path)?;
        architecture.windows = keys.windows(family, layers)?; // after the check: a list as long as there are layers
        Ok(architecture)
    }

    /// Width of the fused query, key and value projection.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Width of the attention's output before the output projection.
    pub fn attention_width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn check(&self, path: &Path) -> Result<()> {
        let refuse = |reason: String| Err(ModelError::Config { path: path.into(), reason });
        // Sizes beyond any published model: a hostile config must not make the engine allocate without bound.
        let bounded = [
            ("hidden_size", self.hidden, 1 << 17),
            ("intermediate_size", self.ffn, 1 << 20),
            ("num_hidden_layers", self.layers, 1 << 12),
            ("num_attention_heads", self.heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("vocab_size", self.vocab, 1 << 24),
        ];
        for (key, value, limit) in bounded {
            if value > limit {
                return refuse(format!("`{key}` is {value}; the engine allows at most {limit}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return refuse(format!(
                "`num_key_value_heads` is {}, which does not divide `num_attention_heads` {}",
                self.kv_heads, self.heads
            ));
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return refuse(format!("`head_dim` is {}; rotary positions need an even width", self.head_dim));
        }
        if !(self.rms_eps.is_finite() && self.rms_eps > 0.0) {
            return refuse(format!("`rms_norm_eps` is {} in f32; it must be positive", self.rms_eps));
        }
        Ok(())
    }
}

/// Typed access to a configuration, with errors that name the key.
struct Keys<'a> {
    config: &'a Value,
    path: &'a Path,
}

impl Keys<'_> {
    fn wrong(&self, key: &str, expected: &str, found: &Value) -> ModelError {
        ModelError::Config {
            path: self.path.into(),
            reason: format!("`{key}` must be {expected}, found {found}"),
        }
    }

    fn unsupported<T>(&self, reason: String) -> Result<T> {
        Err(ModelError::Unsupported { path: self.path.into(), reason })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if number > 0 => Ok(Some(number as usize)),
            _ => Err(self.wrong(key, "a positive integer", value)),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| ModelError::Config {
            path: self.path.into(),
            reason: format!("`{key}` is missing; it must be a positive integer"),
        })
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(key, "a number", value))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false", value))
    }

    fn family(&self) -> Result<Family> {
        let name = self.get("model_type").and_then(Value::as_str).unwrap_or_default();
        match name {
            "llama" => Ok(Family::Llama),
            "mistral" => Ok(Family::Mistral),
            "qwen2" => Ok(Family::Qwen2),
            "qwen3" => Ok(Family::Qwen3),
            other => self.unsupported(format!(
                "`model_type` is {other:?}; supported are llama, mistral, qwen2 and qwen3"
            )),
        }
    }

    fn refuse_other_activations(&self) -> Result<()> {
        match self.get("hidden_act").map(|value| value.as_str().unwrap_or_default()) {
            None | Some("silu" | "swish") => {}
            Some(other) => return self.unsupported(format!("`hidden_act` is {other:?}; supported is silu")),
        }
        if self.get("quantization_config").is_some() {
            return self.unsupported(
                "`quantization_config`: quantised weights cannot be trained; \
                                     use the unquantised model"
                    .into(),
            );
        }
        if self.number("attention_dropout")?.unwrap_or(0.0) != 0.0 {
            return self.unsupported("`attention_dropout` is not 0".into());
        }
        Ok(())
    }

    fn dtype(&self) -> Result<Option<Dtype>> {
        for key in ["dtype", "torch_dtype"] {
            if let Some(value) = self.get(key) {
                let parsed = value.as_str().unwrap_or_default().parse::<Dtype>();
                return parsed.map(Some).map_err(|reason| ModelError::Unsupported {
                    path: self.path.into(),
                    reason: format!("`{key}`: {reason}"),
                });
            }
        }
        Ok(None)
    }

    /// transformers 5 nests everything in `rope_parameters`; transformers 4 has `rope_theta` and `rope_scaling`.
    fn rope(&self, max_positions: usize) -> Result<(f64, RopeScaling)> {
        let key = if self.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
        let nested = self.get(key);
        if let Some(rope) = nested {
            self.check_rope(key, rope)?;
        }
        // The nested value where there is one, of the type that `check_rope` saw to; else the plain one.
        let number = |key: &str| match nested.and_then(|rope| rope.get(key)).and_then(Value::as_f64) {
            Some(number) => Ok(Some(number)),
            None => self.number(key),
        };
        let theta = number("rope_theta")?.unwrap_or(10_000.0);
        if theta <= 1.0 || !SANE.contains(&theta) {
            return self
                .unsupported(format!("`rope_theta` is {theta}; supported is more than 1, up to 1e12"));
        }
        if number("partial_rotary_factor")?.is_some_and(|factor| factor != 1.0) {
            return self.unsupported("`partial_rotary_factor` is not 1".into());
        }
        let scaling = match nested {
            None => RopeScaling::Default,
            Some(rope) => RopeScaling::from_config(rope, max_positions)
                .or_else(|reason| self.unsupported(format!("rotary scaling: {reason}")))?,
        };
        Ok((theta, scaling))
    }

    /// Values of another type than expected are errors: read as absent they would give way to a default in silence.
    fn check_rope(&self, key: &str, rope: &Value) -> Result<()> {
        let Some(object) = rope.as_object() else { return Err(self.wrong(key, "an object", rope)) };
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let (right, expected) = match name.as_str() {
                "rope_type" | "type" => (value.is_string(), "text"),
                "truncate" => (value.is_boolean(), "true or false"),
                "rope_theta"
                | "partial_rotary_factor"
                | "factor"
                | "low_freq_factor"
                | "high_freq_factor"
                | "original_max_position_embeddings"
                | "beta_fast"
                | "beta_slow"
                | "attention_factor" => {
                    (value.as_f64().is_some_and(|number| SANE.contains(&number)), "a number of 1e-6 to 1e12")
                }
                _ => continue,
            };
            if !right {
                return Err(self.wrong(&format!("{key}.{name}"), expected, value));
            }
        }
        Ok(())
    }

    /// `layer_types` decides where it stands; else Mistral slides in every layer, Qwen from `max_window_layers` on.
    fn windows(&self, family: Family, layers: usize) -> Result<Vec<Option<usize>>> {
        let window = self.optional_size("sliding_window")?;
        let slides = match family {
            Family::Llama => false,
            Family::Mistral => window.is_some(),
            Family::Qwen2 | Family::Qwen3 => {
                self.flag("use_sliding_window")?.unwrap_or(false) && window.is_some()
            }
        };
        let Some(types) = self.get("layer_types") else {
            let first = match family {
                Family::Qwen2 | Family::Qwen3 => self.number("max_window_layers")?.unwrap_or(28.0) as usize,
                _ => 0,
            };
            return Ok((0..layers).map(|layer| window.filter(|_| slides && layer >= first)).collect());
        };
        let types = types.as_array().ok_or_else(|| self.wrong("layer_types", "a list", types))?;
        if types.len() != layers {
            return Err(ModelError::Config {
                path: self.path.into(),
                reason: format!("`layer_types` has {} entries for {layers} layers", types.len()),
            });
        }
        types
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") if slides => Ok(window),
                Some("sliding_attention") => Err(ModelError::Config {
                    path: self.path.into(),
                    reason: "`layer_types` has sliding_attention, but no `sliding_window` is in use".into(),
                }),
                _ => self.unsupported(format!("`layer_types` has {kind}")),
            })
            .collect()
    }
}
