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
    /// All that a layer keeps for its backward pass, its input among it.
    kept: u64,
}

impl Widths {
    fn of(arch: &Architecture) -> Self {
        let [hidden, ffn, qkv, attention] =
            [arch.hidden, arch.ffn, arch.qkv_width(), arch.attention_width()].map(|width| width as u64);
        let projections = if arch.qk_norm { 2 * qkv } else { qkv };
        let kept = 2 * hidden + projections + attention + arch.heads as u64 + 2 + 2 * ffn;
        Widths { hidden, ffn, qkv, attention, kept }
    }
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

    /// What a product needs beside its operands: its left one rounded, and a 16-bit weight `[n, k]` in the format of the
    /// product.
    fn product(&self, left: u64, n: u64, k: u64) -> u64 {
        let weight = match (self.formats.rounds, self.half) {
            (true, Some(HalfFormat::F16)) => HALF * n * k,
            (false, Some(_)) => F32 * (n * k).min(self.formats.widened.max(k)),
            (true, _) | (false, None) => 0,
        };
        self.rounded(left) + weight
    }

    /// Numbers rounded for one product.
    fn rounded(&self, numbers: u64) -> u64 {
        if self.formats.rounds { HALF * numbers } else { 0 }
    }

    /// The plan of a batch: rotations, and the lists that have an entry for each token.
    fn plan(&self, tokens: u64) -> u64 {
        F32 * tokens * (self.arch.head_dim as u64 + 3)
    }

    /// The most that a layer has beside its input while it runs forward: what it keeps, two normed inputs, the SwiGLU's
    /// output, its own; and the last product.
    fn layer_forward(&self, tokens: u64) -> (u64, u64) {
        let Widths { hidden, ffn, kept, .. } = Widths::of(self.arch);
        let product = self.product(tokens * ffn, hidden, ffn);
        (F32 * tokens * (kept - hidden + 2 * hidden + ffn + hidden), product)
    }

    /// The largest moment of a forward and backward pass with what it keeps.
    pub fn update(&self, size: PassSize) -> UpdateBytes {
        let moments = [self.last_layer(size), self.head(size), self.reference(size), self.backward(size)];
        let largest = moments.into_iter().max_by_key(|(activations, workspace)| activations + workspace);
        let (activations, workspace) = largest.unwrap_or_default();
        UpdateBytes { activations, workspace }
    }

    /// What all layers but the last keep, and the plan.
    fn earlier(&self, size: PassSize) -> u64 {
        let (tokens, widths) = (size.tokens as u64, Widths::of(self.arch));
        let each = if size.keep == Keep::Activations { widths.kept } else { widths.hidden };
        let layers = if size.keep == Keep::Nothing { 0 } else { self.arch.layers as u64 - 1 };
        F32 * tokens * layers * each + self.plan(tokens)
    }

    /// The last layer forward.
    fn last_layer(&self, size: PassSize) -> (u64, u64) {
        let tokens = size.tokens as u64;
        let (layer, workspace) = self.layer_forward(tokens);
        (self.earlier(size) + F32 * tokens * self.arch.hidden as u64 + layer, workspace)
    }

    /// What is kept when the head's turn comes: the layers, and its own input, normed and not.
    fn before_head(&self, size: PassSize) -> u64 {
        let (tokens, widths) = (size.tokens as u64, Widths::of(self.arch));
        let last = match size.keep {
            Keep::Nothing => 0,
            Keep::LayerInputs => widths.hidden,
            Keep::Activations => widths.kept,
        };
        self.earlier(size) + F32 * (tokens * last + size.rows as u64 * (2 * widths.hidden + 1))
    }

    /// A chunk of the head: logits, and the product of their gradient.
    fn head(&self, size: PassSize) -> (u64, u64) {
        let (hidden, vocab) = (self.arch.hidden as u64, self.arch.vocab as u64);
        let together = 256.max(self.formats.logits_at_once as u64 / vocab.max(1));
        let chunk = together.min(size.rows as u64);
        let to_hidden = self.product(chunk * vocab, vocab, hidden);
        let to_weight = if self.adapters.is_some() { 0 } else { self.rounded(chunk * (vocab + hidden)) };
        let policies = if size.reference { 2 } else { 1 };
        // With the gradient of its input.
        let mut activations = self.before_head(size) + F32 * size.rows as u64 * hidden;
        if size.reference {
            activations += F32 * size.rows as u64 * (2 * hidden + 1) + self.plan(size.tokens as u64);
        }
        (activations, policies * F32 * chunk * vocab + to_hidden.max(to_weight))
    }

    /// A second policy's layer forward, while all of the first is kept.
    fn reference(&self, size: PassSize) -> (u64, u64) {
        if !size.reference {
            return (0, 0);
        }
        let tokens = size.tokens as u64;
        let (layer, workspace) = self.layer_forward(tokens);
        let input = F32 * tokens * self.arch.hidden as u64;
        (self.before_head(size) + self.plan(tokens) + input + layer, workspace)
    }

    /// The last layer backward: its three largest moments, with those of running it forward again where it was not kept.
    fn backward(&self, size: PassSize) -> (u64, u64) {
        if size.keep == Keep::Nothing {
            return (0, 0);
        }
        let (tokens, widths) = (size.tokens as u64, Widths::of(self.arch));
        let Widths { hidden, ffn, qkv, attention, kept } = widths;
        // The head's input twice and its gradient, and the gradient of the layer's output.
        let around = self.earlier(size) + F32 * (3 * size.rows as u64 + tokens) * hidden;
        let trained = self.adapters.is_none();
        let ranks = self.adapters.map_or(0, |(_, ranks)| 2 * ranks as u64);
        // Numbers of a row of f32, then those of a product's left operand, and of the right one of the gradient that comes after
        // that of the input. Gradients of adapters have one operand at a time.
        let moment = |of_row: u64, left: u64, right: u64, weight: u64| {
            let both = if trained { left } else { ranks };
            let to_weight = self.rounded(tokens * (both + right));
            (
                around + F32 * tokens * (of_row + ranks),
                to_weight.max(self.product(tokens * left, left, weight)),
            )
        };
        let mut moments = vec![
            // The gradient of the SwiGLU's output, which becomes the output.
            moment(kept + ffn, hidden, ffn, ffn),
            // A normed input and its gradient.
            moment(kept + 2 * hidden, 2 * ffn, hidden, hidden),
        ];
        // Gate and up are gone; gradients of attention's output and of the projections.
        let of_attention = F32 * tokens * self.arch.heads as u64 + self.rounded(tokens * (qkv + attention));
        moments.push((around + F32 * tokens * (kept - 2 * ffn + attention + qkv), of_attention));
        if size.keep == Keep::LayerInputs {
            let (layer, workspace) = self.layer_forward(tokens);
            moments.push((around + F32 * tokens * hidden + layer, workspace));
        }
        moments.into_iter().max_by_key(|(activations, workspace)| activations + workspace).unwrap_or_default()
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
        let filled = |n: u64, k: u64| F32 * fixed * (n + k) + self.product(fixed * k, n, k);
        // Each prompt's logits once where they were computed and once of its own, then once for each sequence.
        let of_prompts = F32 * vocab * prompts;
        let tokens = (prompts * size.prompt as u64).min(PREFILL_TOKENS.max(size.prompt) as u64);
        let (layer, _) = self.layer_forward(tokens);
        let prefill = self.plan(tokens) + F32 * tokens * hidden + layer + filled(hidden, ffn);
        let drawing = of_prompts + F32 * vocab * sequences;
        let step = F32 * vocab * sequences + 2 * F32 * sequences * hidden + filled(vocab, hidden);
        let workspace = prefill.max(2 * of_prompts + filled(vocab, hidden)).max(drawing).max(step);
        SamplingBytes { arranged, cache: pages * page, workspace }
    }
}
