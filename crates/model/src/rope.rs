//! Rotary position embedding: frequencies and the cosine and sine of every position.
//!
//! Computed as transformers does, in f32, because that is what the checkpoints were trained with: a more exact angle
//! at position 30,000 would be another model.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::Value;

/// How the rotary frequencies are stretched for longer contexts (`rope_type` in `config.json`).
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Every frequency divided by the factor.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Positions before stretching.
        original: f64,
    },
    /// YaRN (arXiv 2309.00071): a ramp between interpolation and extrapolation, and a scaled softmax.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Rotations below which a dimension is fully interpolated (32 by default).
        beta_fast: f64,
        /// Rotations above which a dimension is kept (1 by default).
        beta_slow: f64,
        /// Positions before stretching.
        original: f64,
        /// Factor on cosine and sine.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded to whole dimensions.
        truncate: bool,
    },
}

impl RopeScaling {
    /// Reads `rope_scaling` or `rope_parameters`.
    ///
    /// # Errors
    /// Names the type or key that is not understood.
    pub fn from_config(rope: &Value, max_positions: usize) -> Result<Self, String> {
        let kind =
            rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str).unwrap_or("default");
        let optional = |key: &str| rope.get(key).and_then(Value::as_f64);
        let required =
            |key: &str| optional(key).ok_or_else(|| format!("`{key}` is missing for rope_type {kind}"));
        let original = optional("original_max_position_embeddings");
        match kind {
            "default" => Ok(Self::Default),
            "linear" => Ok(Self::Linear { factor: required("factor")? }),
            "llama3" => Ok(Self::Llama3 {
                factor: required("factor")?,
                low_freq_factor: required("low_freq_factor")?,
                high_freq_factor: required("high_freq_factor")?,
                original: required("original_max_position_embeddings")?,
            }),
            "yarn" => {
                let factor = required("factor")?;
                for key in ["mscale", "mscale_all_dim"] {
                    if rope.get(key).is_some_and(|value| !value.is_null()) {
                        return Err(format!("`{key}` is not supported with yarn"));
                    }
                }
                Ok(Self::Yarn {
                    factor,
                    beta_fast: optional("beta_fast").unwrap_or(32.0),
                    beta_slow: optional("beta_slow").unwrap_or(1.0),
                    original: original.unwrap_or(max_positions as f64),
                    attention_factor: optional("attention_factor").unwrap_or(if factor <= 1.0 {
                        1.0
                    } else {
                        0.1 * factor.ln() + 1.0
                    }),
                    truncate: rope.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                })
            }
            other => Err(format!("rope_type {other:?}; supported are default, linear, llama3 and yarn")),
        }
    }

    /// Factor on cosine and sine (1 but for YaRN).
    pub fn attention_factor(&self) -> f32 {
        match self {
            Self::Yarn { attention_factor, .. } => *attention_factor as f32,
            _ => 1.0,
        }
    }

    /// Inverse frequencies, `[head_dim / 2]`, radians per position.
    pub fn inverse_frequencies(&self, theta: f64, head_dim: usize) -> Vec<f32> {
        let plain = (0..head_dim / 2).map(|i| (1.0 / theta.powf(2.0 * i as f64 / head_dim as f64)) as f32);
        match *self {
            Self::Default => plain.collect(),
            Self::Linear { factor } => plain.map(|f| f / factor as f32).collect(),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original } => plain
                .map(|f| {
                    let wavelength = 2.0 * std::f64::consts::PI / f64::from(f);
                    if wavelength < original / high_freq_factor {
                        return f;
                    }
                    if wavelength > original / low_freq_factor {
                        return f / factor as f32;
                    }
                    let smooth =
                        (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    ((1.0 - smooth) * f64::from(f) / factor + smooth * f64::from(f)) as f32
                })
                .collect(),
            Self::Yarn { factor, beta_fast, beta_slow, original, truncate, .. } => {
                let dim = head_dim as f64;
                // The dimension that turns `rotations` times over the original context (YaRN, section 3.2).
                let dimension = |rotations: f64| {
                    dim * (original / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
                };
                let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
                if low == high {
                    high += 0.001;
                }
                plain
                    .enumerate()
                    .map(|(i, f)| {
                        let keep = 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        (f64::from(f) / factor * (1.0 - keep) + f64::from(f) * keep) as f32
                    })
                    .collect()
            }
        }
    }
}

/// Cosine and sine for each token: `[T, head_dim / 2]` each.
pub fn rotation_table(inverse_frequencies: &[f32], factor: f32, positions: &[u32]) -> (Vec<f32>, Vec<f32>) {
    let half = inverse_frequencies.len();
    let fill = |position: u32, cos: &mut [f32], sin: &mut [f32]| {
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(inverse_frequencies) {
            let (s, c) = (position as f32 * frequency).sin_cos();
            (*cos, *sin) = (c * factor, s * factor);
        }
    };
    let mut cos = vec![0.0; positions.len() * half];
    let mut sin = cos.clone();
    let mut first_with: HashMap<u32, usize> = HashMap::new();
    for (row, &position) in positions.iter().enumerate() {
        let own = row * half..(row + 1) * half;
        match first_with.entry(position) {
            // The sequences of a batch share their positions.
            Entry::Occupied(first) => {
                let first = first.get() * half;
                cos.copy_within(first..first + half, own.start);
                sin.copy_within(first..first + half, own.start);
            }
            Entry::Vacant(place) => {
                place.insert(row);
                fill(position, &mut cos[own.clone()], &mut sin[own]);
            }
        }
    }
    (cos, sin)
}
