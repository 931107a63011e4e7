//! What a run takes of the memory of a device of its own, counted from the buffers that exist together.
//!
//! The largest moments of an update and of sampling are looked at one by one, each with what the layer loop holds then and
//! what the operation under way needs beside it. Lists, partial sums and other buffers that are a small part of a row of
//! activations for each token are left out.

use crate::architecture::Architecture;
use crate::device::{HalfFormat, MemoryFormats, PAGE};
use crate::generate::PREFILL_TOKENS;
use crate::layout::Layout;
use crate::policy::Keep;

/// Bytes of one number in f32 and in 16 bits.
const F32: u64 = 4;
const HALF: u64 = 2;

/// A model on a device.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a> {
    /// The model.
    pub arch: &'a Architecture,
    /// How the device keeps numbers.
    pub formats: MemoryFormats,
    /// The weights' 16 bits; `None` for f32.
    pub half: Option<HalfFormat>,
    /// Adapters' parameters and the ranks of the product that has most of them, where only they are trained.
    pub adapters: Option<(u64, usize)>,
}

/// A pass of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassSize {
    /// Tokens, T.
    pub tokens: usize,
    /// Those that predict a target.
    pub rows: usize,
    /// What the forward pass keeps.
    pub keep: Keep,
    /// Logits of a second policy are needed for the same rows.
    pub reference: bool,
    /// Some prompts have several responses.
    pub trees: bool,
}

/// Sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingSize {
    /// Sequences that are computed together.
    pub sequences: usize,
    /// Prompts that these belong to.
    pub prompts: usize,
    /// Tokens of the longest prompt.
    pub prompt: usize,
    /// Tokens of the longest completion.
    pub completion: usize,
}

/// Bytes of an update's largest moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateBytes {
    /// What the layers keep and compute.
    pub activations: u64,
    /// Logits of a chunk, and what operations need beside their operands.
    pub workspace: u64,
}

/// Bytes of sampling's largest moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplingBytes {
    /// Weights arranged a second time.
    pub arranged: u64,
    /// Keys and values.
    pub cache: u64,
    /// Logits, activations of prompts, and what operations need beside their operands.
    pub workspace: u64,
}

impl UpdateBytes {
    /// In all.
    pub fn total(&self) -> u64 {
        self.activations + self.workspace
    }
}

impl SamplingBytes {
    /// In all.
    pub fn total(&self) -> u64 {
        self.arranged + self.cache + self.workspace
    }
}

/// Numbers of a row of each buffer of a layer.
struct Widths {
    hidden: u64,
    ffn: u64,
    qkv: u64,
    attention: u64,
    heads: u64,
    /// What precedes the rotation: the projections, before and after the heads' norm where there is one.
    projections: u64,
}

impl Widths {
    fn of(arch: &Architecture) -> Self {
        let [hidden, ffn, qkv, attention] =
            [arch.hidden, arch.ffn, arch.qkv_width(), arch.attention_width()].map(|width| width as u64);
        let projections = if arch.qk_norm { 2 * qkv } else { qkv };
        Widths { hidden, ffn, qkv, attention, heads: arch.heads as u64, projections }
    }

    /// Bytes of a row of all that a layer keeps for its backward pass, its input among it, where a number of an activation
    /// has so many: the residual stream twice and statistics of attention and of both norms are f32.
    fn kept(&self, activation: u64) -> u64 {
        F32 * (2 * self.hidden + self.heads + 2)
            + activation * (self.projections + self.attention + 2 * self.ffn)
    }
}

/// The moment that takes most, activations and workspace together.
fn largest(moments: impl IntoIterator<Item = (u64, u64)>) -> (u64, u64) {
    let all = moments.into_iter().max_by_key(|(activations, workspace)| activations + workspace);
    all.unwrap_or_default()
}

impl Footprint<'_> {
    fn parameters(&self) -> u64 {
        Layout::new(self.arch).len as u64
    }

    /// Bytes of the weights: f32, which are also the optimizer's masters, or 16 bits.
    pub fn weights(&self) -> u64 {
        let bytes = if self.half.is_some() { HALF } else { F32 };
        bytes * self.parameters()
    }

    /// Bytes of f32 weights rounded to 16 bits beside, where products take those.
    pub fn rounded_weights(&self) -> u64 {
        if self.formats.rounds && self.half.is_none() { HALF * self.parameters() } else { 0 }
    }

    /// Parameters that are trained.
    pub fn trained(&self) -> u64 {
        self.adapters.map_or_else(|| self.parameters(), |(parameters, _)| parameters)
    }

    /// What a product needs for a 16-bit weight `[n, k]` in another format than its own.
    fn weight(&self, n: u64, k: u64) -> u64 {
        match (self.formats.rounds, self.half) {
            (true, Some(HalfFormat::F16)) => HALF * n * k,
            (false, Some(_)) => F32 * (n * k).min(self.formats.widened.max(k)),
            (true, _) | (false, None) => 0,
        }
    }

    /// Bytes of a number of an activation.
    fn activation(&self) -> u64 {
        self.formats.activation
    }

    /// Numbers of f32 rounded for products.
    fn rounded(&self, numbers: u64) -> u64 {
        if self.formats.rounds { HALF * numbers } else { 0 }
    }

    /// The plan of a batch: rotations, and the lists that have an entry for each token.
    fn plan(&self, tokens: u64) -> u64 {
        F32 * tokens * (self.arch.head_dim as u64 + 3)
    }

    /// Numbers that attention reads or writes, converted to f32 for it.
    fn converted(&self, numbers: u64) -> u64 {
        let kept_in_f32 = self.activation() == F32;
        if kept_in_f32 || self.formats.attention.contains(&self.arch.head_dim) { 0 } else { F32 * numbers }
    }

    /// Sums of parts of the keys' gradient where many responses see a prompt: on matrix units such tiles of 64 tokens are shared
    /// out, into at most one and a half parts for each tile of the batch, with f32 for keys and values.
    fn parts_of_keys(&self, tokens: u64, trees: bool) -> u64 {
        if !trees || !self.formats.attention.contains(&self.arch.head_dim) {
            return 0;
        }
        F32 * 3 * tokens * (self.arch.kv_heads * self.arch.head_dim) as u64
    }

    /// The most that a layer has beside its input while it runs forward, where a number of an activation has so many bytes:
    /// what it keeps, a normed input, the SwiGLU's output, its own; and the last product.
    fn layer_forward(&self, tokens: u64, activation: u64) -> (u64, u64) {
        let widths = Widths::of(self.arch);
        let Widths { hidden, ffn, .. } = widths;
        (tokens * (widths.kept(activation) + activation * (hidden + ffn)), self.weight(hidden, ffn))
    }

    /// The same while attention is computed: projections, and attention's output.
    fn attention_forward(&self, tokens: u64) -> (u64, u64) {
        let Widths { qkv, attention, heads, projections, .. } = Widths::of(self.arch);
        let layer = F32 * (heads + 1) + self.activation() * (projections + attention);
        (tokens * layer, self.converted(tokens * (qkv + attention)))
    }

    /// The larger of both in a pass of training.
    fn layer(&self, tokens: u64) -> (u64, u64) {
        largest([self.layer_forward(tokens, self.activation()), self.attention_forward(tokens)])
    }

    /// The largest moment of a forward and backward pass with what it keeps.
    pub fn update(&self, size: PassSize) -> UpdateBytes {
        let moments = [self.last_layer(size), self.head(size), self.reference(size), self.backward(size)];
        let (activations, workspace) = largest(moments);
        UpdateBytes { activations, workspace }
    }

    /// Bytes of a row of what a pass keeps of a layer.
    fn kept(&self, keep: Keep) -> u64 {
        let widths = Widths::of(self.arch);
        match keep {
            Keep::Nothing => 0,
            Keep::LayerInputs => F32 * widths.hidden,
            Keep::Activations => widths.kept(self.activation()),
        }
    }

    /// What all layers but the last keep, and the plan.
    fn earlier(&self, size: PassSize) -> u64 {
        let tokens = size.tokens as u64;
        tokens * (self.arch.layers as u64 - 1) * self.kept(size.keep) + self.plan(tokens)
    }

    /// The last layer forward.
    fn last_layer(&self, size: PassSize) -> (u64, u64) {
        let tokens = size.tokens as u64;
        let (layer, workspace) = self.layer(tokens);
        (self.earlier(size) + F32 * tokens * self.arch.hidden as u64 + layer, workspace)
    }

    /// Bytes of a row of the head's input: of the residual stream, its statistic, and normed.
    fn head_input(&self) -> u64 {
        F32 * (self.arch.hidden as u64 + 1) + self.activation() * self.arch.hidden as u64
    }

    /// What is kept when the head's turn comes: the layers, and its own input.
    fn before_head(&self, size: PassSize) -> u64 {
        let last = size.tokens as u64 * self.kept(size.keep);
        self.earlier(size) + last + size.rows as u64 * self.head_input()
    }

    /// A chunk of the head: logits, and the product of their gradient.
    fn head(&self, size: PassSize) -> (u64, u64) {
        let (hidden, vocab) = (self.arch.hidden as u64, self.arch.vocab as u64);
        let together = 256.max(self.formats.logits_at_once as u64 / vocab.max(1));
        let chunk = together.min(size.rows as u64);
        // The gradient of the logits is rounded once for both of its products.
        let products = self.rounded(chunk * vocab) + self.weight(vocab, hidden);
        let policies = if size.reference { 2 } else { 1 };
        // With the gradient of its input.
        let mut activations = self.before_head(size) + self.activation() * size.rows as u64 * hidden;
        if size.reference {
            activations += size.rows as u64 * self.head_input() + self.plan(size.tokens as u64);
        }
        (activations, policies * F32 * chunk * vocab + products)
    }

    /// A second policy's layer forward, while all of the first is kept.
    fn reference(&self, size: PassSize) -> (u64, u64) {
        if !size.reference {
            return (0, 0);
        }
        let tokens = size.tokens as u64;
        let (layer, workspace) = self.layer(tokens);
        let input = F32 * tokens * self.arch.hidden as u64;
        (self.before_head(size) + self.plan(tokens) + input + layer, workspace)
    }

    /// The last layer backward: its largest moments, with those of running it forward again where it was not kept.
    fn backward(&self, size: PassSize) -> (u64, u64) {
        if size.keep == Keep::Nothing {
            return (0, 0);
        }
        let (tokens, activation, widths) = (size.tokens as u64, self.activation(), Widths::of(self.arch));
        let Widths { hidden, ffn, qkv, attention, heads, .. } = widths;
        // The head's input, its gradient, and the gradient of the layer's output.
        let head = size.rows as u64 * (F32 * 2 + activation) * hidden;
        let around = self.earlier(size) + head + F32 * tokens * hidden;
        let (with_mlp, kept) = (widths.kept(activation), widths.kept(activation) - activation * 2 * ffn);
        let ranks = self.adapters.map_or(0, |(_, ranks)| ranks as u64);
        // Bytes of a row, then what products need beside. Adapters have `x A^T` and its gradient, and one operand rounded at a
        // time.
        let moment = |of_row: u64, workspace: u64| {
            let low_rank = tokens * F32 * 2 * ranks;
            (around + tokens * of_row + low_rank, workspace.max(self.rounded(tokens * ranks)))
        };
        let beside = self.converted(tokens * (attention + 2 * qkv)) + self.parts_of_keys(tokens, size.trees);
        let mut moments = vec![
            // The gradient of the SwiGLU's output, which becomes the output, and that of the layer's output rounded.
            moment(with_mlp + activation * ffn + self.rounded(hidden), self.weight(hidden, ffn)),
            // A normed input and its gradient.
            moment(with_mlp + activation * 2 * hidden, self.weight(2 * ffn, hidden)),
            // Gate and up are gone: gradients of attention's output and of the projections.
            (around + tokens * (kept + activation * (attention + qkv)), F32 * tokens * heads + beside),
            // The gradient of the projections, a normed input and its gradient.
            moment(kept + activation * (qkv + 2 * hidden), self.weight(qkv, hidden)),
        ];
        if size.keep == Keep::LayerInputs {
            let (layer, workspace) = self.layer(tokens);
            moments.push((around + F32 * tokens * hidden + layer, workspace));
        }
        largest(moments)
    }

    /// Sampling at its largest: all sequences at their longest, or the prompts when they are run.
    pub fn sampling(&self, size: SamplingSize) -> SamplingBytes {
        let widths = Widths::of(self.arch);
        let Widths { hidden, ffn, .. } = widths;
        let (arch, vocab) = (self.arch, self.arch.vocab as u64);
        let [sequences, prompts] = [size.sequences, size.prompts].map(|count| count as u64);
        let matrices = hidden * (widths.qkv + widths.attention) + 3 * hidden * ffn;
        let arranged = match self.half {
            Some(HalfFormat::F16) if self.formats.rounds => {
                HALF * (matrices * arch.layers as u64 + vocab * hidden)
            }
            _ => 0,
        };
        let pages =
            sequences * size.completion.div_ceil(PAGE) as u64 + prompts * size.prompt.div_ceil(PAGE) as u64;
        let page = self.formats.cached * (arch.layers * arch.kv_heads * 2 * PAGE * arch.head_dim) as u64;
        // Products of generation have a fixed number of rows, in and out.
        let fixed = self.formats.fixed_rows as u64;
        let filled = |n: u64, k: u64| F32 * fixed * (n + k) + self.rounded(fixed * k) + self.weight(n, k);
        // Each prompt's logits once where they were computed and once of its own, then once for each sequence.
        let of_prompts = F32 * vocab * prompts;
        let tokens = (prompts * size.prompt as u64).min(PREFILL_TOKENS.max(size.prompt) as u64);
        // Activations of generation are f32.
        let (layer, _) = self.layer_forward(tokens, F32);
        let prefill = self.plan(tokens) + F32 * tokens * hidden + layer + filled(hidden, ffn);
        let drawing = of_prompts + F32 * vocab * sequences;
        let step = F32 * vocab * sequences + 2 * F32 * sequences * hidden + filled(vocab, hidden);
        let workspace = prefill.max(2 * of_prompts + filled(vocab, hidden)).max(drawing).max(step);
        SamplingBytes { arranged, cache: pages * page, workspace }
    }
}
