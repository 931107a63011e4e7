//! A policy arranged for generation: weights packed once, keys and values in pages.

use crate::batch::Batch;
use crate::device::{Buffer, Chain, Device, Heads, Slot};
use crate::error::Result;
use crate::layer::PackedLayer;
use crate::policy::Policy;

/// A policy's weights arranged for generation. Holds a second copy of them while it lives.
pub struct Generator<'a, D: Device> {
    pub(super) policy: &'a Policy<D>,
    layers: Vec<PackedLayer<D>>,
    head: D::Packed,
}

impl<'a, D: Device> Generator<'a, D> {
    /// Arranges the weights.
    pub fn new(policy: &'a Policy<D>) -> Self {
        let arch = &policy.arch;
        let layers = (0..arch.layers).map(|index| policy.layer(index, 1, None, None).pack()).collect();
        let head = policy.weights.matrix(&policy.layout.head).pack(&policy.device, arch.vocab, arch.hidden);
        Self { policy, layers, head }
    }

    fn heads(&self) -> Heads {
        let arch = &self.policy.arch;
        Heads { heads: arch.heads, kv_heads: arch.kv_heads, dim: arch.head_dim }
    }

    pub(super) fn cache(&self) -> D::Cache {
        self.policy.device.cache(self.policy.arch.layers, self.heads())
    }

    /// Runs prompts, stores their keys and values at `slots` (one per token, in order), and returns the logits that
    /// follow each, `[prompts, V]`.
    pub(super) fn prefill(&self, prompts: &[&[u32]], slots: &[Slot], cache: &mut D::Cache) -> Result<D::Buf> {
        let (policy, device, hidden) = (self.policy, &self.policy.device, self.policy.arch.hidden);
        let mut batch = Batch::new();
        let mut last = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            batch.push(None, prompt, |_| false)?;
            last.push(batch.len() as u32 - 1);
        }
        batch.check_vocabulary(policy.arch.vocab)?;
        let (cos, sin) = policy.rotations(batch.positions());
        let plan = device.plan(&batch, cos, sin);
        let rows = batch.len();
        let mut x = device.alloc(rows * hidden);
        policy.weights.matrix(&policy.layout.embed).gather(device, batch.tokens(), hidden, x.all_mut());
        let mut lse = device.alloc(rows * self.heads().heads);
        for (index, packed) in self.layers.iter().enumerate() {
            let window = policy.arch.windows[index];
            let layer = policy.layer(index, rows, Some(packed), None);
            let attend = |qkv: &mut D::Buf, attention: &mut D::Buf| {
                device.rotate(&plan, self.heads(), false, qkv.all_mut());
                device.store(cache, index, qkv.all(), slots);
                device.attention(&plan, self.heads(), window, qkv.all(), attention.all_mut(), lse.all_mut());
            };
            if index + 1 < self.layers.len() {
                (x, _) = layer.forward_with(&x, attend);
            } else {
                let at_ends = policy.layer(index, last.len(), Some(packed), None);
                x = layer.forward_at(&x, attend, &last, &at_ends);
            }
        }
        Ok(self.logits(last.len(), &x))
    }

    /// Runs one token of each sequence; the logits that follow, `[sequences, V]`.
    ///
    /// `slots` say where each token's keys and values go; `chains` what each sees, its own slot included.
    pub(super) fn step(
        &self,
        tokens: &[u32],
        slots: &[Slot],
        chains: &[Chain],
        cache: &mut D::Cache,
    ) -> D::Buf {
        let (policy, device, hidden) = (self.policy, &self.policy.device, self.policy.arch.hidden);
        let rows = tokens.len();
        device.begin_step();
        let positions: Vec<u32> = chains.iter().map(|chain| chain.len() as u32 - 1).collect();
        let (cos, sin) = policy.rotations(&positions);
        let mut x = device.alloc(rows * hidden);
        policy.weights.matrix(&policy.layout.embed).gather(device, tokens, hidden, x.all_mut());
        for (index, packed) in self.layers.iter().enumerate() {
            let window = policy.arch.windows[index];
            let layer = policy.layer(index, rows, Some(packed), None);
            (x, _) = layer.forward_with(&x, |qkv, attention| {
                device.rotate_rows(self.heads(), &cos, &sin, qkv.all_mut());
                device.store(cache, index, qkv.all(), slots);
                device.cached_attention(cache, index, window, chains, qkv.all(), attention.all_mut());
            });
        }
        self.logits(rows, &x)
    }

    fn logits(&self, rows: usize, x: &D::Buf) -> D::Buf {
        let (policy, device) = (self.policy, &self.policy.device);
        let mut normed = device.alloc(x.len());
        let mut inv = device.alloc(rows);
        let weight = policy.weights.vector(&policy.layout.final_norm);
        device.rms_norm(x.all(), weight, policy.arch.rms_eps, normed.all_mut(), inv.all_mut());
        let mut logits = device.alloc(rows * policy.arch.vocab);
        device.linear(&self.head, rows, false, normed.all(), logits.all_mut());
        logits
    }
}
