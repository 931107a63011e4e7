//! A pass over a batch: the layers forward, statistics of the target tokens, and the backward pass that they seed.

use std::ops::Range;

use crate::batch::Batch;
use crate::device::{Buffer, ChunkTargets, Device};
use crate::error::{ModelError, Result};
use crate::head::{Head, HeadRows};
use crate::layer::Saved;
use crate::linear::GradientSink;
use crate::policy::{Gradients, Policy};
use crate::random::Stream;
use crate::statistics::{Seeds, TokenStats, Want};

/// What a forward pass keeps for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: statistics only.
    Nothing,
    /// Each layer's input; the backward pass runs each layer forward again. Less memory, a third more time.
    LayerInputs,
    /// All that the backward pass needs.
    Activations,
}

/// A forward pass that has run: the hidden rows that predict targets, and what was kept of the layers.
pub struct Forward<D: Device> {
    batch: Batch,
    plan: D::Plan,
    head: HeadRows,
    layers: Vec<KeptLayer<D>>,
    /// Input of the final norm, the rows of `head` only, `[R, H]`.
    last: D::Buf,
    last_inv: D::Buf,
    hidden: D::Buf,
    /// What dropout drew from.
    dropout: Option<Stream>,
}

struct KeptLayer<D: Device> {
    input: D::Buf,
    saved: Option<Saved<D>>,
}

impl<D: Device> Policy<D> {
    /// Runs the layers over a batch.
    ///
    /// # Errors
    /// When the batch is empty or holds a token outside of the vocabulary.
    pub fn forward(&self, batch: &Batch, keep: Keep) -> Result<Forward<D>> {
        self.forward_dropping(batch, keep, None)
    }

    /// [`Policy::forward`] with the dropout that the adapters' configuration asks for, drawn from `dropout`.
    ///
    /// # Errors
    /// As [`Policy::forward`].
    pub fn forward_dropping(&self, batch: &Batch, keep: Keep, dropout: Option<Stream>) -> Result<Forward<D>> {
        if batch.is_empty() {
            return Err(ModelError::Batch("it has no tokens".into()));
        }
        batch.check_vocabulary(self.arch.vocab)?;
        let (rows, hidden) = (batch.len(), self.arch.hidden);
        let (cos, sin) = self.rotations(batch.positions());
        let plan = self.device.plan(batch, cos, sin);
        let mut x = self.device.alloc(rows * hidden);
        self.weights.matrix(&self.layout.embed).gather(&self.device, batch.tokens(), hidden, x.all_mut());
        let mut layers = Vec::new();
        for index in 0..self.arch.layers {
            let (y, saved) = self.layer(index, rows, None, dropout).forward(&plan, &x);
            let input = std::mem::replace(&mut x, y);
            match keep {
                Keep::Nothing => {}
                Keep::LayerInputs => layers.push(KeptLayer { input, saved: None }),
                Keep::Activations => layers.push(KeptLayer { input, saved: Some(saved) }),
            }
        }
        let head = HeadRows::new(batch);
        let mut last = self.device.alloc(head.rows.len() * hidden);
        self.device.gather_rows(x.all(), &head.rows, hidden, last.all_mut());
        let mut last_inv = self.device.alloc(head.rows.len());
        let mut normed = self.device.alloc_activation(last.len());
        self.device.rms_norm(
            last.all(),
            self.weights.vector(&self.layout.final_norm),
            self.arch.rms_eps,
            normed.all_mut(),
            last_inv.all_mut(),
        );
        Ok(Forward { batch: batch.clone(), plan, head, layers, last, last_inv, hidden: normed, dropout })
    }

    fn head<'a>(&'a self, forward: &'a Forward<D>) -> Head<'a, D> {
        Head {
            device: &self.device,
            weights: &self.weights,
            weight: self.layout.head.clone(),
            hidden: &forward.hidden,
            width: self.arch.hidden,
            vocab: self.arch.vocab,
        }
    }

    /// Statistics of the targets of a batch, without a backward pass.
    ///
    /// # Errors
    /// As [`Policy::forward`]; and when the reference has another vocabulary.
    pub fn token_stats(&self, batch: &Batch, want: &Want<'_, D>) -> Result<TokenStats> {
        let forward = self.forward(batch, Keep::Nothing)?;
        self.stats(batch, &forward, want)
    }

    /// Statistics of the targets of a forward pass.
    ///
    /// # Errors
    /// When the reference cannot run the batch or has another vocabulary; when the device fails.
    pub fn stats(&self, batch: &Batch, forward: &Forward<D>, want: &Want<'_, D>) -> Result<TokenStats> {
        forward.check(batch)?;
        let reference = self.reference(batch, want)?;
        let mut stats = TokenStats::for_targets(batch.targets().len(), want);
        for chunk in forward.head.chunks(self.arch.vocab, self.device.logits_at_once()) {
            let logits = self.head(forward).logits(&chunk);
            let reference = reference.as_ref().map(|reference| reference.logits(&chunk));
            let (offsets, of_chunk) = forward.head.targets(&chunk);
            let targets = ChunkTargets { offsets: &offsets, tokens: &forward.head.tokens[of_chunk.clone()] };
            let found = self.head(forward).stats(want.chunk(), targets, &logits, reference.as_ref());
            stats.scatter(&found, targets, &forward.head.order[of_chunk]);
        }
        self.device.status()?;
        Ok(stats)
    }

    /// Adds the gradient of a loss to `grads`, given its gradient with respect to the statistics.
    ///
    /// # Errors
    /// When seeds are not one per target, or the forward pass kept nothing.
    pub fn backward(
        &self,
        batch: &Batch,
        forward: Forward<D>,
        want: &Want<'_, D>,
        seeds: &Seeds,
        grads: &mut Gradients<D>,
    ) -> Result<()> {
        seeds.check(batch.targets().len(), want)?;
        self.backward_with(batch, forward, want, grads, |_, order| seeds.pick(order)).map(|_| ())
    }

    /// Statistics and backward pass in one sweep over the head, for objectives whose seeds are a function of the same
    /// token's statistics: saves computing the logits a second time.
    ///
    /// `seed` receives the statistics of some targets, the targets' indices in the batch, and returns their seeds.
    ///
    /// # Errors
    /// When the forward pass kept nothing, or `seed` returns another number of seeds than targets; when the device fails.
    pub fn backward_with(
        &self,
        batch: &Batch,
        forward: Forward<D>,
        want: &Want<'_, D>,
        grads: &mut Gradients<D>,
        mut seed: impl FnMut(&TokenStats, &[usize]) -> Seeds,
    ) -> Result<TokenStats> {
        if forward.layers.len() != self.arch.layers {
            return Err(ModelError::Option("the forward pass kept nothing for a backward pass".into()));
        }
        forward.check(batch)?;
        if self.params().is_empty() {
            return Err(ModelError::Option("weights of 16 bits without adapters have no gradients".into()));
        }
        let reference = self.reference(batch, want)?;
        let mut stats = TokenStats::for_targets(batch.targets().len(), want);
        if forward.head.rows.is_empty() {
            return Ok(stats);
        }
        let mut accumulate = self.begin(grads);
        let head = self.head(&forward);
        let mut d_hidden = self.device.alloc_activation(forward.hidden.len());
        for chunk in forward.head.chunks(self.arch.vocab, self.device.logits_at_once()) {
            let mut logits = head.logits(&chunk);
            let reference = reference.as_ref().map(|reference| reference.logits(&chunk));
            let (offsets, of_chunk) = forward.head.targets(&chunk);
            let targets = ChunkTargets { offsets: &offsets, tokens: &forward.head.tokens[of_chunk.clone()] };
            let order = &forward.head.order[of_chunk];
            let found = head.stats(want.chunk(), targets, &logits, reference.as_ref());
            self.device.status()?;
            stats.scatter(&found, targets, order);
            let seeds = seed(&stats.pick(order), order);
            seeds.check(order.len(), want)?;
            let seeds = seeds.by_row(targets);
            let apart = head.seed(want.chunk(), targets, &found, &seeds, &mut logits, reference.as_ref());
            let head_grads = self.adapter.is_none().then_some(&mut grads.flat);
            let d_logits = apart.as_ref().unwrap_or(&logits);
            head.backward(&chunk, d_logits, &mut d_hidden, head_grads, accumulate);
            accumulate = true;
        }
        drop(reference);
        self.layers_backward(forward, d_hidden, grads);
        self.device.status()?;
        Ok(stats)
    }

    /// Prepares the gradients for a backward pass: small parameters are added to and so start from zero, matrices
    /// are overwritten. Returns whether matrices already hold something.
    fn begin(&self, grads: &mut Gradients<D>) -> bool {
        if grads.empty && self.adapter.is_none() {
            for parameter in self.layout.parameters.iter().filter(|parameter| !parameter.is_matrix) {
                self.device.fill_zero(grads.flat.part_mut(parameter.range.clone()));
            }
            if !self.arch.tied {
                self.device.fill_zero(grads.flat.part_mut(self.layout.embed.clone()));
            }
        }
        !grads.empty
    }

    fn layers_backward(&self, forward: Forward<D>, d_hidden: D::Buf, grads: &mut Gradients<D>) {
        let Forward { batch, plan, head, layers, last, last_inv, dropout, .. } = forward;
        let (device, hidden, rows) = (&self.device, self.arch.hidden, batch.len());
        let mut d_last = device.alloc(last.len());
        device.fill_zero(d_last.all_mut());
        let unused = self.adapter.as_ref().map(|_| device.zeros(hidden.max(2 * self.arch.head_dim)));
        let mut sink = GradientSink { flat: &mut grads.flat, accumulate: !grads.empty, unused };
        device.rms_norm_backward(
            last.all(),
            self.weights.vector(&self.layout.final_norm),
            last_inv.all(),
            d_hidden.all(),
            d_last.all_mut(),
            sink.vector(&self.layout.final_norm),
        );
        drop(d_hidden);
        let mut d = device.alloc(rows * hidden);
        device.fill_zero(d.all_mut());
        device.scatter_rows(d_last.all(), &head.rows, hidden, d.all_mut());
        for (index, kept) in layers.into_iter().enumerate().rev() {
            let layer = self.layer(index, rows, None, dropout);
            let saved = kept.saved.unwrap_or_else(|| layer.forward(&plan, &kept.input).1);
            layer.backward(&plan, &kept.input, saved, &mut d, &mut sink);
        }
        if self.adapter.is_none() {
            device.embed_backward(&plan, d.all(), grads.flat.part_mut(self.layout.embed.clone()));
        }
        grads.empty = false;
    }

    fn reference<'a>(&self, batch: &Batch, want: &Want<'a, D>) -> Result<Option<ReferenceRun<'a, D>>> {
        if !(want.temperature.is_finite() && want.temperature > 0.0) {
            return Err(ModelError::Option(format!(
                "temperature is {}; it must be positive",
                want.temperature
            )));
        }
        let Some((_, policy)) = want.kl else { return Ok(None) };
        if policy.arch.vocab != self.arch.vocab {
            return Err(ModelError::Option(format!(
                "the reference's vocabulary has {} tokens, the policy's {}",
                policy.arch.vocab, self.arch.vocab
            )));
        }
        Ok(Some(ReferenceRun { forward: policy.forward(batch, Keep::Nothing)?, policy }))
    }
}

impl<D: Device> Forward<D> {
    fn check(&self, batch: &Batch) -> Result<()> {
        if self.batch == *batch {
            return Ok(());
        }
        Err(ModelError::Batch("the forward pass was run on another batch".into()))
    }
}

struct ReferenceRun<'a, D: Device> {
    policy: &'a Policy<D>,
    forward: Forward<D>,
}

impl<D: Device> ReferenceRun<'_, D> {
    fn logits(&self, chunk: &Range<usize>) -> D::Buf {
        self.policy.head(&self.forward).logits(chunk)
    }
}
