//! New models: a `config.json` from a small description, and random weights.

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::architecture::{Architecture, Dtype, Family};
use crate::device::{Device, HalfFormat};
use crate::layout::{Layout, Parameter};
use crate::policy::Policy;
use crate::random::Stream;
use crate::weights::Weights;

/// Standard deviation of new matrices: `initializer_range` of every family here.
const STD: f64 = 0.02;

/// Description of a model that does not exist yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewModel {
    /// Which family's `config.json` to write.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head; `hidden / heads` when absent.
    pub head_dim: Option<usize>,
    /// Width of the SwiGLU.
    pub ffn: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Longest sequence that the configuration promises.
    pub max_positions: usize,
    /// Rotary base.
    pub rope_theta: f64,
    /// Share the embedding with the head.
    pub tied: bool,
    /// Dtype on disk.
    pub dtype: Dtype,
    /// Ids of the beginning, end and padding tokens.
    pub special: SpecialIds,
}

/// Token ids that `config.json` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Beginning of text.
    pub bos: Option<u32>,
    /// End of text.
    pub eos: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
}

impl NewModel {
    /// `config.json` with the keys that transformers 5 writes and those that transformers 4 reads.
    pub fn config(&self) -> Value {
        let (model_type, class) = match self.family {
            Family::Llama => ("llama", "LlamaForCausalLM"),
            Family::Mistral => ("mistral", "MistralForCausalLM"),
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        };
        let mut config = json!({
            "architectures": [class],
            "model_type": model_type,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim.unwrap_or(self.hidden / self.heads.max(1)),
            "vocab_size": self.vocab,
            "max_position_embeddings": self.max_positions,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "initializer_range": STD,
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "tie_word_embeddings": self.tied,
            "attention_dropout": 0.0,
            "use_cache": true,
            "bos_token_id": self.special.bos,
            "eos_token_id": self.special.eos,
            "pad_token_id": self.special.pad,
            "dtype": self.dtype.config_name(),
            "torch_dtype": self.dtype.config_name(),
        });
        if let (Some(object), Family::Mistral | Family::Qwen2 | Family::Qwen3) =
            (config.as_object_mut(), self.family)
        {
            object.insert("sliding_window".into(), Value::Null);
        }
        config
    }

    /// `generation_config.json`.
    pub fn generation_config(&self) -> Value {
        let mut config = Map::new();
        let SpecialIds { bos, eos, pad } = self.special;
        for (key, id) in [("bos_token_id", bos), ("eos_token_id", eos), ("pad_token_id", pad)] {
            if let Some(id) = id {
                config.insert(key.into(), json!(id));
            }
        }
        Value::Object(config)
    }
}

/// Random weights in the layout's order, as transformers initialises these families: matrices normal with standard
/// deviation 0.02, norms 1, biases 0. A function of the seed alone.
pub fn random_weights(arch: &Architecture, seed: u64) -> Vec<f32> {
    let layout = Layout::new(arch);
    let mut weights = vec![0.0f32; layout.len];
    for (index, parameter) in layout.parameters.iter().enumerate() {
        fill(parameter, Stream::new(seed).child(index as u64), 0, &mut weights[parameter.range.clone()]);
    }
    weights
}

/// Elements that are drawn by one task.
const BLOCK: usize = 1 << 16;

/// The elements of a parameter from `start` on.
fn fill(parameter: &Parameter, stream: Stream, start: usize, target: &mut [f32]) {
    if parameter.is_matrix {
        target.par_chunks_mut(BLOCK).enumerate().for_each(|(block, values)| {
            for (i, value) in values.iter_mut().enumerate() {
                *value = (STD * stream.normal((start + block * BLOCK + i) as u64)) as f32;
            }
        });
    } else if parameter.name.ends_with("norm.weight") {
        target.fill(1.0);
    }
}

/// A policy with the weights of [`random_weights`] whose matrices are kept in bfloat16, made piece by piece.
pub fn random_frozen<D: Device>(device: D, arch: Architecture, seed: u64) -> Policy<D> {
    const PIECE: usize = 1 << 20;
    let layout = Layout::new(&arch);
    let mut weights = Weights::half(&device, &layout, HalfFormat::Bf16);
    let mut values = vec![0.0f32; PIECE];
    for (index, parameter) in layout.parameters.iter().enumerate() {
        let stream = Stream::new(seed).child(index as u64);
        for start in (0..parameter.range.len()).step_by(PIECE) {
            let values = &mut values[..PIECE.min(parameter.range.len() - start)];
            values.fill(0.0);
            fill(parameter, stream, start, values);
            let at = parameter.range.start + start;
            match &mut weights {
                Weights::Half { matrices, .. } if parameter.is_matrix => {
                    let bits: Vec<u16> = values.iter().map(|x| half::bf16::from_f32(*x).to_bits()).collect();
                    device.write_half(&bits, at, matrices);
                }
                weights => weights.write(&device, values, at..at + values.len()),
            }
        }
    }
    Policy::of(device, arch, layout, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_new_config_is_understood() {
        for family in [Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3] {
            let new = NewModel {
                family,
                hidden: 64,
                layers: 2,
                heads: 4,
                kv_heads: 2,
                head_dim: None,
                ffn: 96,
                vocab: 512,
                max_positions: 128,
                rope_theta: 1e4,
                tied: true,
                dtype: Dtype::F32,
                special: SpecialIds { bos: None, eos: Some(0), pad: Some(1) },
            };
            let arch = Architecture::from_config(&new.config(), Path::new("config.json")).unwrap();
            assert_eq!(
                (arch.family, arch.head_dim, arch.tied, arch.qk_norm),
                (family, 16, true, family == Family::Qwen3)
            );
            let weights = random_weights(&arch, 1);
            assert_eq!(weights.len(), Layout::new(&arch).len);
            let embed = &weights[..512 * 64];
            let std = (embed.iter().map(|x| x * x).sum::<f32>() / embed.len() as f32).sqrt();
            assert!((std - 0.02).abs() < 4e-4, "{std}"); // four standard errors of 32768 draws
        }
    }
}
