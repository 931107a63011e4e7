//! LoRA (arXiv 2106.09685): low-rank updates of linear layers whose own weights stay as they are.
//!
//! A layer computes `y = x W^T + s (x A^T) B^T` with `A [r, in]`, `B [out, r]` and `s = alpha / r`, or
//! `alpha / sqrt(r)` (rsLoRA, arXiv 2312.03732). Only `A` and `B` have gradients, moments and masters.

mod config;
mod layout;
mod merge;
mod product;

use std::ops::Range;

use crate::architecture::Architecture;
use crate::device::{Buffer, Device, ViewMut};
use crate::error::{ModelError, Result};
use crate::layout::Parameter;
use crate::random::Stream;
pub use config::{LINEAR, LoraConfig, Targets};
pub(crate) use layout::{AdapterLayout, AdapterPart, Fused, FusedAdapter};
pub(crate) use product::{LowRank, PackedLowRank};

/// A model's adapters: one flat buffer, as the weights are.
pub struct Adapter<D: Device> {
    pub(crate) config: LoraConfig,
    pub(crate) layout: AdapterLayout,
    pub(crate) flat: D::Buf,
}

impl<D: Device> Adapter<D> {
    /// Adapters with these values, flat in the order of [`Adapter::parameters`].
    ///
    /// # Errors
    /// A configuration that does not fit the architecture; more or fewer values than it has.
    pub fn new(arch: &Architecture, config: LoraConfig, flat: D::Buf) -> Result<Self> {
        let layout = AdapterLayout::new(arch, &config)?;
        if flat.len() != layout.len {
            return Err(ModelError::Option(format!(
                "{} values given, the adapters have {}",
                flat.len(),
                layout.len
            )));
        }
        Ok(Self { config, layout, flat })
    }

    /// Fresh adapters that change nothing yet: `B` zero, `A` uniform in `[-1/sqrt(in), 1/sqrt(in)]` (PEFT's default,
    /// Kaiming's uniform with `a = sqrt(5)`), each value a function of the seed and its place.
    ///
    /// # Errors
    /// A configuration that does not fit the architecture.
    pub fn init(device: &D, arch: &Architecture, config: LoraConfig, seed: u64) -> Result<Self> {
        let layout = AdapterLayout::new(arch, &config)?;
        let mut flat = device.zeros(layout.len);
        for (index, parameter) in layout.parameters.iter().enumerate() {
            if !parameter.name.ends_with(layout::A) {
                continue;
            }
            let bound = 1.0 / (parameter.shape[1] as f64).sqrt();
            let stream = Stream::new(seed).child(index as u64);
            let values: Vec<f32> = (0..parameter.range.len())
                .map(|i| ((2.0 * stream.uniform(i as u64) - 1.0) * bound) as f32)
                .collect();
            device.write(&values, flat.part_mut(parameter.range.clone()));
        }
        Self::new(arch, config, flat)
    }

    /// How many values the adapters of a configuration have.
    ///
    /// # Errors
    /// A configuration that does not fit the architecture.
    pub fn len_of(arch: &Architecture, config: &LoraConfig) -> Result<usize> {
        Ok(AdapterLayout::new(arch, config)?.len)
    }

    /// Rank, scaling and targets.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Every tensor, named as PEFT names it in files, in the order of the flat buffer.
    pub fn parameters(&self) -> &[Parameter] {
        &self.layout.parameters
    }

    /// Room for new values of a part, to write.
    pub(crate) fn part_mut(&mut self, range: Range<usize>) -> ViewMut<'_, D::Buf> {
        self.flat.part_mut(range)
    }
}
