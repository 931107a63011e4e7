//! The oracle: the decoder in f64 and plain loops, one sequence at a time.
//!
//! It shares nothing with the engine but the names and places of parameters and the rotary frequencies. Slow, and
//! meant to be read: every line is the textbook's.
#![allow(dead_code)] // each test file uses a part

use std::collections::HashMap;
use std::ops::Range;

use gft_model::device::KlDirection;
use gft_model::{Architecture, Cpu, Policy};

type Row = Vec<f64>;

/// A decoder with weights that a test may change.
#[derive(Clone)]
pub struct Decoder {
    pub arch: Architecture,
    places: HashMap<String, Range<usize>>,
    /// Inverse frequencies of the rotary positions, `[head_dim / 2]`.
    frequencies: Row,
    /// All weights, flat in the layout's order.
    pub weights: Vec<f64>,
}

/// Statistics of tokens `1..` of a sequence, each given those before it.
pub struct Statistics {
    pub logprobs: Vec<f64>,
    pub entropy: Vec<f64>,
    /// Empty without a reference.
    pub kl: Vec<f64>,
}

impl Decoder {
    pub fn of(policy: &Policy<Cpu>) -> Self {
        let arch = policy.architecture().clone();
        let frequencies = arch.rope_scaling.inverse_frequencies(arch.rope_theta, arch.head_dim);
        let parameters = policy.layout().parameters.iter();
        Decoder {
            arch,
            places: parameters.map(|p| (p.name.clone(), p.range.clone())).collect(),
            frequencies: frequencies.into_iter().map(f64::from).collect(),
            weights: policy.params().as_slice().iter().map(|w| f64::from(*w)).collect(),
        }
    }

    fn weight(&self, name: &str) -> &[f64] {
        &self.weights[self.places[name].clone()]
    }

    /// `W x + b` with the parameters `<name>.weight` and, where it is there, `<name>.bias`.
    fn linear(&self, name: &str, x: &Row, bias: bool) -> Row {
        let mut y = times(self.weight(&format!("{name}.weight")), x);
        if bias {
            y.iter_mut().zip(self.weight(&format!("{name}.bias"))).for_each(|(y, b)| *y += b);
        }
        y
    }

    fn norm(&self, name: &str, x: &[f64]) -> Row {
        let mean_square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let inverse = 1.0 / (mean_square + f64::from(self.arch.rms_eps)).sqrt();
        x.iter().zip(self.weight(name)).map(|(x, w)| x * inverse * w).collect()
    }

    /// Splits a projection into heads, norms each where the model does, and turns it to its position.
    fn heads(&self, layer: usize, kind: &str, projected: &Row, position: usize) -> Vec<Row> {
        let arch = &self.arch;
        let factor = f64::from(arch.rope_scaling.attention_factor());
        let norm = format!("model.layers.{layer}.self_attn.{kind}_norm.weight");
        let turn = |head: &[f64]| {
            let head = if arch.qk_norm { self.norm(&norm, head) } else { head.to_vec() };
            let mut turned = head.clone();
            for (i, frequency) in self.frequencies.iter().enumerate() {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (a, b) = (head[i], head[i + arch.head_dim / 2]);
                turned[i] = (a * cos - b * sin) * factor;
                turned[i + arch.head_dim / 2] = (b * cos + a * sin) * factor;
            }
            turned
        };
        projected.chunks(arch.head_dim).map(turn).collect()
    }

    fn attention(&self, layer: usize, x: &[Row]) -> Vec<Row> {
        let arch = &self.arch;
        let name = |suffix: &str| format!("model.layers.{layer}.{suffix}");
        let normed: Vec<Row> = x.iter().map(|x| self.norm(&name("input_layernorm.weight"), x)).collect();
        let project =
            |kind: &str, x: &Row| self.linear(&name(&format!("self_attn.{kind}_proj")), x, arch.qkv_bias);
        let turned = |kind: &str| -> Vec<Vec<Row>> {
            let rows = normed.iter().enumerate();
            rows.map(|(t, x)| self.heads(layer, kind, &project(kind, x), t)).collect()
        };
        let (queries, keys) = (turned("q"), turned("k"));
        let values: Vec<Row> = normed.iter().map(|x| project("v", x)).collect();
        let attend = |t: usize| {
            let first = arch.windows[layer].map_or(0, |window| (t + 1).saturating_sub(window));
            let mut out = Vec::new();
            for (head, query) in queries[t].iter().enumerate() {
                let kv = head / (arch.heads / arch.kv_heads);
                let score = |s: usize| {
                    let products = query.iter().zip(&keys[s][kv]).map(|(q, k)| q * k);
                    products.sum::<f64>() / (arch.head_dim as f64).sqrt()
                };
                let scores: Row = (first..=t).map(score).collect();
                let total = log_sum_exp(&scores);
                let mut mixed = vec![0.0; arch.head_dim];
                for (score, s) in scores.iter().zip(first..) {
                    let value = &values[s][kv * arch.head_dim..];
                    mixed.iter_mut().zip(value).for_each(|(m, v)| *m += (score - total).exp() * v);
                }
                out.extend(mixed);
            }
            self.linear(&name("self_attn.o_proj"), &out, arch.o_bias)
        };
        (0..x.len()).map(attend).collect()
    }

    fn mlp(&self, layer: usize, x: &Row) -> Row {
        let name = |suffix: &str| format!("model.layers.{layer}.{suffix}");
        let normed = self.norm(&name("post_attention_layernorm.weight"), x);
        let gate = self.linear(&name("mlp.gate_proj"), &normed, self.arch.mlp_bias);
        let up = self.linear(&name("mlp.up_proj"), &normed, self.arch.mlp_bias);
        let act = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        self.linear(&name("mlp.down_proj"), &act, self.arch.mlp_bias)
    }

    /// Logits that each token of a sequence predicts of the next, `[T, V]`.
    pub fn logits(&self, tokens: &[u32]) -> Vec<Row> {
        let table = self.weight("model.embed_tokens.weight");
        let width = self.arch.hidden;
        let mut x: Vec<Row> = tokens.iter().map(|&t| table[t as usize * width..][..width].to_vec()).collect();
        for layer in 0..self.arch.layers {
            let attended = self.attention(layer, &x);
            for (x, y) in x.iter_mut().zip(attended) {
                add(x, &y);
                let y = self.mlp(layer, x);
                add(x, &y);
            }
        }
        let head = self.weight(if self.arch.tied { "model.embed_tokens.weight" } else { "lm_head.weight" });
        x.iter().map(|x| times(head, &self.norm("model.norm.weight", x))).collect()
    }

    /// Logarithms of the probabilities of the token after each, `[T, V]`.
    pub fn log_distributions(&self, tokens: &[u32], temperature: f64) -> Vec<Row> {
        let mut rows = self.logits(tokens);
        for row in &mut rows {
            row.iter_mut().for_each(|z| *z /= temperature);
            let total = log_sum_exp(row);
            row.iter_mut().for_each(|z| *z -= total);
        }
        rows
    }

    /// Statistics of all tokens of a sequence but the first, with a KL divergence where a reference is given.
    pub fn statistics(
        &self,
        tokens: &[u32],
        temperature: f64,
        reference: Option<(KlDirection, &Decoder)>,
    ) -> Statistics {
        let ours = self.log_distributions(tokens, temperature);
        let ours = &ours[..tokens.len() - 1];
        let kl = |direction: KlDirection, theirs: &[Row]| {
            let rows = ours.iter().zip(theirs);
            rows.map(|(p, r)| match direction {
                KlDirection::PolicyToReference => divergence(p, r),
                KlDirection::ReferenceToPolicy => divergence(r, p),
            })
            .collect()
        };
        Statistics {
            logprobs: ours.iter().zip(&tokens[1..]).map(|(row, &token)| row[token as usize]).collect(),
            entropy: ours.iter().map(|row| -row.iter().map(|l| l.exp() * l).sum::<f64>()).collect(),
            kl: reference.map_or(Vec::new(), |(direction, reference)| {
                kl(direction, &reference.log_distributions(tokens, temperature))
            }),
        }
    }
}

/// `W x` of a row-major matrix.
fn times(matrix: &[f64], x: &[f64]) -> Row {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn add(x: &mut Row, y: &Row) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn log_sum_exp(z: &[f64]) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln()
}

/// `KL(a || b)` of two log distributions.
fn divergence(a: &Row, b: &Row) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.exp() * (a - b)).sum()
}
