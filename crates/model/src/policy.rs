//! The policy: a decoder's weights on a device, what of them is trained, and their gradients.

use std::ops::Range;
use std::sync::Arc;

use crate::adapter::{Adapter, AdapterLayout};
use crate::architecture::Architecture;
use crate::device::{Buffer, Device};
use crate::error::{ModelError, Result};
use crate::layer::{Layer, PackedLayer};
use crate::layout::{Layout, Parameter};
use crate::linear::Reads;
pub use crate::pass::{Forward, Keep};
use crate::random::Stream;
use crate::rope::rotation_table;
pub use crate::statistics::{Seeds, TokenStats, Want};
use crate::weights::Weights;

/// A decoder's weights on a device, and the adapters on them if there are any.
///
/// What training changes is one flat buffer of f32, [`Policy::params`]: all weights, or the adapters alone where there are
/// adapters. Weights that are not trained may be kept in 16 bits, and are shared with [`Policy::without_adapter`].
pub struct Policy<D: Device> {
    pub(crate) device: D,
    pub(crate) arch: Architecture,
    pub(crate) layout: Layout,
    pub(crate) weights: Arc<Weights<D>>,
    pub(crate) adapter: Option<Adapter<D>>,
    /// What [`Policy::params`] gives where nothing is trained.
    nothing: D::Buf,
    inverse_frequencies: Vec<f32>,
}

/// Gradients of everything that is trained, one flat buffer in the order of [`Policy::parameters`].
pub struct Gradients<D: Device> {
    pub(crate) flat: D::Buf,
    /// Nothing has been added since [`Gradients::reset`]; the buffer's contents are then meaningless.
    pub(crate) empty: bool,
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
        Ok(Self::of(device, arch, layout, Weights::Single(params)))
    }

    pub(crate) fn of(device: D, arch: Architecture, layout: Layout, weights: Weights<D>) -> Self {
        let inverse_frequencies = arch.rope_scaling.inverse_frequencies(arch.rope_theta, arch.head_dim);
        let nothing = device.zeros(0);
        Self { device, layout, weights: Arc::new(weights), adapter: None, nothing, inverse_frequencies, arch }
    }

    /// The policy with adapters: from here on these alone are trained.
    ///
    /// # Errors
    /// When it has adapters already, or these belong to another architecture.
    pub fn with_adapter(self, adapter: Adapter<D>) -> Result<Self> {
        if self.adapter.is_some() {
            return Err(ModelError::Option("the policy has adapters already".into()));
        }
        if AdapterLayout::new(&self.arch, &adapter.config)? != adapter.layout {
            return Err(ModelError::Option("the adapters belong to another architecture".into()));
        }
        Ok(Self { adapter: Some(adapter), ..self })
    }

    /// The adapters.
    pub fn adapter(&self) -> Option<&Adapter<D>> {
        self.adapter.as_ref()
    }

    pub(crate) fn take_adapter(&mut self) -> Option<Adapter<D>> {
        self.adapter.take()
    }

    /// The same weights, shared, with the adapters off: the reference that an adapted policy is compared with. Where all
    /// weights are trained they cannot be updated while it lives.
    pub fn without_adapter(&self) -> Self
    where
        D: Clone,
    {
        Self {
            device: self.device.clone(),
            arch: self.arch.clone(),
            layout: self.layout.clone(),
            weights: Arc::clone(&self.weights),
            adapter: None,
            nothing: self.device.zeros(0),
            inverse_frequencies: self.inverse_frequencies.clone(),
        }
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

    /// What is trained, flat: the adapters where there are any, else all weights; nothing where weights of 16 bits have no
    /// adapters.
    pub fn params(&self) -> &D::Buf {
        match (&self.adapter, &*self.weights) {
            (Some(adapter), _) => &adapter.flat,
            (None, Weights::Single(flat)) => flat,
            (None, Weights::Half { .. }) => &self.nothing,
        }
    }

    /// The tensors of [`Policy::params`], in its order.
    pub fn parameters(&self) -> &[Parameter] {
        match (&self.adapter, &*self.weights) {
            (Some(adapter), _) => adapter.parameters(),
            (None, Weights::Single(_)) => &self.layout.parameters,
            (None, Weights::Half { .. }) => &[],
        }
    }

    /// What is trained, and its tensors, to be updated.
    ///
    /// # Errors
    /// When nothing is trained, or another policy shares the weights.
    pub(crate) fn trained(&mut self) -> Result<(&D, &mut D::Buf, &[Parameter])> {
        let Self { device, adapter, weights, layout, .. } = self;
        if let Some(Adapter { flat, layout, .. }) = adapter {
            return Ok((device, flat, &layout.parameters));
        }
        match Arc::get_mut(weights) {
            Some(Weights::Single(flat)) => Ok((device, flat, &layout.parameters)),
            Some(Weights::Half { .. }) => {
                Err(ModelError::Option("weights of 16 bits without adapters are not trained".into()))
            }
            None => Err(ModelError::Option("weights that another policy shares are not trained".into())),
        }
    }

    /// The policy with other values of [`Policy::params`].
    ///
    /// # Errors
    /// When there are more or fewer, or nothing is trained.
    pub fn with_params(mut self, params: D::Buf) -> Result<Self> {
        let (_, flat, _) = self.trained()?;
        if params.len() != flat.len() {
            return Err(ModelError::Option(format!(
                "{} values given, {} are trained",
                params.len(),
                flat.len()
            )));
        }
        *flat = params;
        Ok(self)
    }

    /// Copies a part of one of the layout's tensors to the host, whatever is trained.
    pub(crate) fn read_weight(&self, parameter: &Parameter, part: Range<usize>, target: &mut [f32]) {
        self.weights.read(&self.device, parameter, part, target);
    }

    /// A copy of some gradients on the host, NaN where the device has failed; zeros when no backward pass has been added.
    pub fn read_gradients(&self, grads: &Gradients<D>, range: Range<usize>) -> Vec<f32> {
        let mut host = vec![0.0; range.len()];
        if !grads.empty {
            self.device.read(grads.flat.part(range), &mut host);
        }
        host
    }

    /// A copy of some of [`Policy::params`] on the host, NaN where the device has failed.
    pub fn read_params(&self, range: Range<usize>) -> Vec<f32> {
        let mut host = vec![0.0; range.len()];
        self.device.read(self.params().part(range), &mut host);
        host
    }

    /// Room for gradients.
    pub fn gradients(&self) -> Gradients<D> {
        Gradients { flat: self.device.zeros(self.params().len()), empty: true }
    }

    pub(crate) fn rotations(&self, positions: &[u32]) -> (Vec<f32>, Vec<f32>) {
        rotation_table(&self.inverse_frequencies, self.arch.rope_scaling.attention_factor(), positions)
    }

    pub(crate) fn layer<'a>(
        &'a self,
        index: usize,
        rows: usize,
        packed: Option<&'a PackedLayer<D>>,
        dropout: Option<Stream>,
    ) -> Layer<'a, D> {
        Layer {
            reads: Reads {
                device: &self.device,
                weights: &self.weights,
                adapter: self.adapter.as_ref(),
                dropout,
                rows,
            },
            index,
            arch: &self.arch,
            layout: &self.layout.layers[index],
            window: self.arch.windows[index],
            packed,
        }
    }
}
