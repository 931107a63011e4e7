//! The policy: a decoder's weights on a device, statistics of target tokens, and the backward pass that they seed.

use std::ops::Range;

use crate::architecture::Architecture;
use crate::batch::Batch;
use crate::device::{Buffer, ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, Device, KlDirection};
use crate::error::{ModelError, Result};
use crate::head::{Head, HeadRows};
use crate::layer::{GradientSink, Layer, PackedLayer, Saved};
use crate::layout::Layout;
use crate::rope::rotation_table;

/// A decoder's weights on a device.
pub struct Policy<D: Device> {
    pub(crate) device: D,
    pub(crate) arch: Architecture,
    pub(crate) layout: Layout,
    pub(crate) params: D::Buf,
    inverse_frequencies: Vec<f32>,
}

/// Gradients of every parameter, one flat buffer in the layout's order.
pub struct Gradients<D: Device> {
    pub(crate) flat: D::Buf,
    /// Nothing has been added since [`Gradients::reset`]; the buffer's contents are then meaningless.
    empty: bool,
}

impl<D: Device> Gradients<D> {
    /// Forgets what was added. Costs nothing: the next backward pass overwrites.
    pub fn reset(&mut self) {
        self.empty = true;
    }

    /// Whether no backward pass has been added.
    pub fn is_empty(&self) -> bool {
        self.empty
    }
}

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

/// Which statistics of the target tokens are wanted.
#[derive(Clone, Copy)]
pub struct Want<'a, D: Device> {
    /// Logits are divided by this before anything else.
    pub temperature: f32,
    /// Entropy of the distribution that predicts each target.
    pub entropy: bool,
    /// KL divergence over the whole vocabulary between the policy and a reference.
    pub kl: Option<(KlDirection, &'a Policy<D>)>,
}

impl<D: Device> Default for Want<'_, D> {
    fn default() -> Self {
        Want { temperature: 1.0, entropy: false, kl: None }
    }
}

/// Statistics of each target of a batch, in the batch's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenStats {
    /// Natural logarithm of the target's probability.
    pub logprobs: Vec<f32>,
    /// Entropy in nats; empty unless asked for.
    pub entropy: Vec<f32>,
    /// KL divergence in nats; empty unless asked for.
    pub kl: Vec<f32>,
}

/// Gradient of the loss with respect to each statistic, in the same order; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seeds {
    /// With respect to the log-probability.
    pub logprobs: Vec<f32>,
    /// With respect to the entropy.
    pub entropy: Vec<f32>,
    /// With respect to the KL divergence.
    pub kl: Vec<f32>,
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
}

struct KeptLayer<D: Device> {
    input: D::Buf,
    saved: Option<Saved<D>>,
}

impl<D: Device> Policy<D> {
    /// Puts weights, flat in the layout's order, on a device.
    ///
    /// # Errors
    /// When there are more or fewer weights than the architecture has.
    pub fn new(device: D, arch: Architecture, params: D::Buf) -> Result<Self> {
        let layout = Layout::new(&arch);
        if params.len() != layout.len {
            return Err(ModelError::Option(format!(
                "{} weights given, the architecture has {}",
                params.len(),
                layout.len
            )));
        }
        let inverse_frequencies = arch.rope_scaling.inverse_frequencies(arch.rope_theta, arch.head_dim);
        Ok(Self { device, layout, params, inverse_frequencies, arch })
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.arch
    }

    /// Where each parameter lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// All weights, flat.
    pub fn params(&self) -> &D::Buf {
        &self.params
    }

    /// A copy of some gradients on the host; zeros when no backward pass has been added.
    pub fn read_gradients(&self, grads: &Gradients<D>, range: Range<usize>) -> Vec<f32> {
        let mut host = vec![0.0; range.len()];
        if !grads.empty {
            self.device.read(grads.flat.part(range), &mut host);
        }
        host
    }

    /// A copy of some weights on the host.
    pub fn read_params(&self, range: Range<usize>) -> Vec<f32> {
        let mut host = vec![0.0; range.len()];
        self.device.read(self.params.part(range), &mut host);
        host
    }

    /// Room for gradients.
    pub fn gradients(&self) -> Gradients<D> {
        Gradients { flat: self.device.zeros(self.layout.len), empty: true }
    }

    pub(crate) fn rotations(&self, positions: &[u32]) -> (Vec<f32>, Vec<f32>) {
        rotation_table(&self.inverse_frequencies, self.arch.rope_scaling.attention_factor(), positions)
    }

    pub(crate) fn layer<'a>(
        &'a self,
        index: usize,
        rows: usize,
        packed: Option<&'a PackedLayer<D>>,
    ) -> Layer<'a, D> {
        Layer {
            device: &self.device,
            arch: &self.arch,
            layout: &self.layout.layers[index],
            window: self.arch.windows[index],
            params: &self.params,
            packed,
            rows,
        }
    }

    /// Runs the layers over a batch.
    ///
    /// # Errors
    /// When the batch is empty or holds a token outside of the vocabulary.
    pub fn forward(&self, batch: &Batch, keep: Keep) -> Result<Forward<D>> {
        if batch.is_empty() {
            return Err(ModelError::Batch("it has no tokens".into()));
        }
        batch.check_vocabulary(self.arch.vocab)?;
        let (rows, hidden) = (batch.len(), self.arch.hidden);
        let (cos, sin) = self.rotations(batch.positions());
        let plan = self.device.plan(batch, cos, sin);
        let mut x = self.device.alloc(rows * hidden);
        self.device.embed(&plan, self.params.part(self.layout.embed.clone()), x.all_mut());
        let mut layers = Vec::new();
        for index in 0..self.arch.layers {
            let (y, saved) = self.layer(index, rows, None).forward(&plan, &x);
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
        let mut normed = self.device.alloc(last.len());
        self.device.rms_norm(
            last.all(),
            self.params.part(self.layout.final_norm.clone()),
            self.arch.rms_eps,
            normed.all_mut(),
            last_inv.all_mut(),
        );
        Ok(Forward { batch: batch.clone(), plan, head, layers, last, last_inv, hidden: normed })
    }

    fn head<'a>(&'a self, forward: &'a Forward<D>) -> Head<'a, D> {
        Head {
            device: &self.device,
            params: &self.params,
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
    /// When the reference cannot run the batch or has another vocabulary.
    pub fn stats(&self, batch: &Batch, forward: &Forward<D>, want: &Want<'_, D>) -> Result<TokenStats> {
        forward.check(batch)?;
        let reference = self.reference(batch, want)?;
        let mut stats = TokenStats::for_targets(batch.targets().len(), want);
        for chunk in forward.head.chunks(self.arch.vocab) {
            let logits = self.head(forward).logits(&chunk);
            let reference = reference.as_ref().map(|reference| reference.logits(&chunk));
            let (offsets, of_chunk) = forward.head.targets(&chunk);
            let targets = ChunkTargets { offsets: &offsets, tokens: &forward.head.tokens[of_chunk.clone()] };
            let found = self.head(forward).stats(want.chunk(), targets, &logits, reference.as_ref());
            stats.scatter(&found, targets, &forward.head.order[of_chunk]);
        }
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
    /// When the forward pass kept nothing, or `seed` returns another number of seeds than targets.
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
        let reference = self.reference(batch, want)?;
        let mut stats = TokenStats::for_targets(batch.targets().len(), want);
        if forward.head.rows.is_empty() {
            return Ok(stats);
        }
        let mut accumulate = self.begin(grads);
        let head = self.head(&forward);
        let mut d_hidden = self.device.alloc(forward.hidden.len());
        for chunk in forward.head.chunks(self.arch.vocab) {
            let mut logits = head.logits(&chunk);
            let reference = reference.as_ref().map(|reference| reference.logits(&chunk));
            let (offsets, of_chunk) = forward.head.targets(&chunk);
            let targets = ChunkTargets { offsets: &offsets, tokens: &forward.head.tokens[of_chunk.clone()] };
            let order = &forward.head.order[of_chunk];
            let found = head.stats(want.chunk(), targets, &logits, reference.as_ref());
            stats.scatter(&found, targets, order);
            let seeds = seed(&stats.pick(order), order);
            seeds.check(order.len(), want)?;
            let seeds = seeds.by_row(targets);
            head.seed(want.chunk(), targets, &found, &seeds, &mut logits, reference.as_ref());
            head.backward(&chunk, &logits, &mut d_hidden, &mut grads.flat, accumulate);
            accumulate = true;
        }
        self.layers_backward(forward, d_hidden, grads);
        Ok(stats)
    }

    /// Prepares the gradients for a backward pass: small parameters are added to and so start from zero, matrices
    /// are overwritten. Returns whether matrices already hold something.
    fn begin(&self, grads: &mut Gradients<D>) -> bool {
        if grads.empty {
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
        let Forward { batch, plan, head, layers, last, last_inv, .. } = forward;
        let (device, hidden, rows) = (&self.device, self.arch.hidden, batch.len());
        let mut d_last = device.alloc(last.len());
        device.fill_zero(d_last.all_mut());
        device.rms_norm_backward(
            last.all(),
            self.params.part(self.layout.final_norm.clone()),
            last_inv.all(),
            d_hidden.all(),
            d_last.all_mut(),
            grads.flat.part_mut(self.layout.final_norm.clone()),
        );
        drop(d_hidden);
        let mut d = device.alloc(rows * hidden);
        device.fill_zero(d.all_mut());
        device.scatter_rows(d_last.all(), &head.rows, hidden, d.all_mut());
        let mut sink = GradientSink { flat: &mut grads.flat, accumulate: !grads.empty };
        for (index, kept) in layers.into_iter().enumerate().rev() {
            let layer = self.layer(index, rows, None);
            let saved = kept.saved.unwrap_or_else(|| layer.forward(&plan, &kept.input).1);
            layer.backward(&plan, &kept.input, saved, &mut d, &mut sink);
        }
        device.embed_backward(&plan, d.all(), grads.flat.part_mut(self.layout.embed.clone()));
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

impl<D: Device> Want<'_, D> {
    fn chunk(&self) -> ChunkWant {
        ChunkWant {
            temperature: self.temperature,
            entropy: self.entropy,
            kl: self.kl.map(|(direction, _)| direction),
        }
    }
}

impl TokenStats {
    fn for_targets<D: Device>(targets: usize, want: &Want<'_, D>) -> Self {
        let room = |wanted: bool| vec![0.0; if wanted { targets } else { 0 }];
        TokenStats { logprobs: room(true), entropy: room(want.entropy), kl: room(want.kl.is_some()) }
    }

    /// Puts a chunk's statistics at its targets' places.
    fn scatter(&mut self, found: &ChunkStats, targets: ChunkTargets<'_>, order: &[usize]) {
        for row in 0..targets.rows() {
            let of_row = targets.offsets[row]..targets.offsets[row + 1];
            for (&target, logprob) in order[of_row.clone()].iter().zip(&found.logprobs[of_row]) {
                self.logprobs[target] = *logprob;
                if let Some(entropy) = found.entropy.get(row) {
                    self.entropy[target] = *entropy;
                }
                if let Some(kl) = found.kl.get(row) {
                    self.kl[target] = *kl;
                }
            }
        }
    }

    fn pick(&self, order: &[usize]) -> Self {
        let pick = |x: &[f32]| -> Vec<f32> { order.iter().filter_map(|&i| x.get(i).copied()).collect() };
        TokenStats { logprobs: pick(&self.logprobs), entropy: pick(&self.entropy), kl: pick(&self.kl) }
    }
}

impl Seeds {
    fn pick(&self, order: &[usize]) -> Self {
        let pick = |x: &[f32]| -> Vec<f32> { order.iter().filter_map(|&i| x.get(i).copied()).collect() };
        Seeds { logprobs: pick(&self.logprobs), entropy: pick(&self.entropy), kl: pick(&self.kl) }
    }

    fn check<D: Device>(&self, targets: usize, want: &Want<'_, D>) -> Result<()> {
        let given = [
            ("log-probability", self.logprobs.len(), true),
            ("entropy", self.entropy.len(), want.entropy),
            ("KL", self.kl.len(), want.kl.is_some()),
        ];
        for (name, len, wanted) in given {
            if len > 0 && !wanted {
                return Err(ModelError::Option(format!("seeds for the {name}, which was not asked for")));
            }
            if len != targets && (len > 0 || name == "log-probability") {
                return Err(ModelError::Option(format!("{len} {name} seeds for {targets} targets")));
            }
        }
        Ok(())
    }

    /// Entropy and KL belong to rows: seeds of targets that share a row add.
    fn by_row(self, targets: ChunkTargets<'_>) -> ChunkSeeds {
        let sum = |x: &[f32]| -> Vec<f32> {
            if x.is_empty() {
                return Vec::new();
            }
            (0..targets.rows())
                .map(|row| x[targets.offsets[row]..targets.offsets[row + 1]].iter().sum())
                .collect()
        };
        ChunkSeeds { entropy: sum(&self.entropy), kl: sum(&self.kl), logprobs: self.logprobs }
    }
}
