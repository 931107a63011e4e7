//! Random models, tokens and trees of segments for tests that need no fixture.
#![allow(dead_code)] // each test file uses a part

use gft_model::device::cpu::CpuBuffer;
use gft_model::layout::Layout;
use gft_model::policy::{Keep, Seeds, TokenStats, Want};
use gft_model::rope::RopeScaling;
use gft_model::{Architecture, Batch, Cpu, Family, Policy};

/// SplitMix64: every test names its seed.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// In (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    pub fn sign(&mut self) -> f64 {
        if self.bits() & 1 == 0 { 1.0 } else { -1.0 }
    }

    pub fn tokens(&mut self, len: usize, vocab: usize) -> Vec<u32> {
        (0..len).map(|_| self.below(vocab) as u32).collect()
    }

    pub fn seeds(&mut self, targets: usize) -> Vec<f32> {
        (0..targets).map(|_| self.normal() as f32).collect()
    }
}

/// A small decoder without options; tests change fields.
pub fn plain() -> Architecture {
    Architecture {
        family: Family::Llama,
        hidden: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        ffn: 40,
        vocab: 50,
        rms_eps: 1e-6,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::Default,
        max_positions: 2048,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tied: false,
        windows: vec![None; 2],
        dtype: None,
    }
}

/// Every option at once: biases, norms of heads, a window in the first layer, a tied head.
pub fn full() -> Architecture {
    Architecture {
        qkv_bias: true,
        o_bias: true,
        mlp_bias: true,
        qk_norm: true,
        tied: true,
        windows: vec![Some(7), None],
        ..plain()
    }
}

/// Random weights of a scale at which activations neither vanish nor explode and logits are of order 1/2, so that
/// log-probs lie around `-ln V`.
pub fn policy(arch: Architecture, seed: u64) -> Policy<Cpu> {
    let layout = Layout::new(&arch);
    let mut random = Random(seed);
    let mut params = vec![0.0f32; layout.len];
    for parameter in &layout.parameters {
        let fan_in = *parameter.shape.last().unwrap() as f64;
        for weight in &mut params[parameter.range.clone()] {
            *weight = match parameter.shape.len() {
                2 => 0.5 * random.normal() / fan_in.sqrt(),
                _ if parameter.name.ends_with("bias") => 0.2 * random.normal(),
                _ => 1.0 + 0.3 * random.normal(),
            } as f32;
        }
    }
    Policy::new(Cpu::new(), arch, CpuBuffer::owned(&params)).unwrap()
}

/// A segment of a test: its parent and its tokens.
pub type Segments = Vec<(Option<usize>, Vec<u32>)>;

/// Parents and lengths of segments.
pub type Shape = Vec<(Option<usize>, usize)>;

/// Segments of the given parents and lengths with random tokens.
pub fn segments(random: &mut Random, vocab: usize, shape: &[(Option<usize>, usize)]) -> Segments {
    shape.iter().map(|&(parent, len)| (parent, random.tokens(len, vocab))).collect()
}

/// All segments packed, shared ones once; every token that something predicts is a target.
pub fn as_trees(segments: &Segments) -> Batch {
    let mut batch = Batch::new();
    for (parent, tokens) in segments {
        batch.push(*parent, tokens, |_| true).unwrap();
    }
    batch
}

/// A segment's tokens after those of all its ancestors, and how many of them are its own.
pub fn path(segments: &Segments, segment: usize) -> (Vec<u32>, usize) {
    let (parent, own) = &segments[segment];
    let mut tokens = parent.map_or(Vec::new(), |parent| path(segments, parent).0);
    tokens.extend(own);
    (tokens, own.len())
}

/// Each segment as a sequence of its own, of which only the segment's tokens are targets: the same targets in the
/// same order as [`as_trees`], computed without sharing.
pub fn as_sequences(segments: &Segments) -> Vec<Batch> {
    let sequence = |segment| {
        let (tokens, own) = path(segments, segment);
        let mut batch = Batch::new();
        batch.push(None, &tokens, |i| i >= tokens.len() - own).unwrap();
        batch
    };
    (0..segments.len()).map(sequence).collect()
}

/// Statistics and gradients of some batches, one after another, with seeds for the log-probs of them all.
pub fn run(policy: &Policy<Cpu>, batches: &[Batch], seeds: &[f32], keep: Keep) -> (TokenStats, Vec<f32>) {
    let mut grads = policy.gradients();
    let mut stats = TokenStats::default();
    let mut left = seeds;
    for batch in batches {
        let (own, rest) = left.split_at(batch.targets().len());
        left = rest;
        let seeds = Seeds { logprobs: own.to_vec(), ..Seeds::default() };
        let forward = policy.forward(batch, keep).unwrap();
        let found = policy.backward_with(batch, forward, &Want::default(), &mut grads, |_, order| Seeds {
            logprobs: order.iter().map(|&i| seeds.logprobs[i]).collect(),
            ..Seeds::default()
        });
        stats.logprobs.extend(found.unwrap().logprobs);
    }
    assert!(left.is_empty(), "more seeds than targets");
    let gradients = policy.read_gradients(&grads, 0..policy.layout().len);
    (stats, gradients)
}

/// Largest relative L2 distance over the parameters, and the parameter that has it.
pub fn worst_gradient(policy: &Policy<Cpu>, ours: &[f32], expected: &[f32]) -> (f64, String) {
    let mut worst = (0.0, String::new());
    for parameter in &policy.layout().parameters {
        let part = |x: &[f32]| x[parameter.range.clone()].iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let (a, b) = (part(ours), part(expected));
        let error = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let norm = b.iter().map(|b| b * b).sum::<f64>().sqrt();
        assert!(norm > 0.0 && error.is_finite(), "{} has no gradient", parameter.name);
        if error / norm >= worst.0 {
            worst = (error / norm, parameter.name.clone());
        }
    }
    worst
}

/// Largest distance of two lists.
pub fn furthest(ours: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(ours.len(), expected.len());
    let distance = |(a, b): (&f32, &f32)| {
        assert!(a.is_finite() && b.is_finite());
        (a - b).abs()
    };
    ours.iter().zip(expected).map(distance).fold(0.0, f32::max)
}
