//! Adapters added into the weights that they adapt.

use std::sync::Arc;

use super::{Adapter, Fused};
use crate::device::{Buffer, Device, MatMul};
use crate::error::{ModelError, Result};
use crate::policy::Policy;
use crate::weights::Weights;

impl<D: Device> Policy<D> {
    /// `W += s B A` in f32 for every adapter, which are gone after.
    ///
    /// # Errors
    /// When there are none, or the weights are of 16 bits or shared.
    pub fn merge_adapter(mut self) -> Result<Self> {
        let Some(adapter) = self.take_adapter() else {
            return Err(ModelError::Option("there are no adapters to merge".into()));
        };
        let layers = self.layout.layers.clone();
        let Some(Weights::Single(flat)) = Arc::get_mut(&mut self.weights) else {
            return Err(ModelError::Option(
                "adapters are merged into weights of f32 that are not shared".into(),
            ));
        };
        for (layer, layout) in layers.iter().enumerate() {
            let products = [
                (Fused::Qkv, &layout.qkv),
                (Fused::O, &layout.o),
                (Fused::GateUp, &layout.gate_up),
                (Fused::Down, &layout.down),
            ];
            for (product, weight) in products {
                add(&self.device, &adapter, layer, product, weight.start, flat);
            }
        }
        Ok(self)
    }
}

/// Adds the adapters of one product to its weight, which begins at `start`.
fn add<D: Device>(
    device: &D,
    adapter: &Adapter<D>,
    layer: usize,
    product: Fused,
    start: usize,
    flat: &mut D::Buf,
) {
    let Some(fused) = adapter.layout.of(layer, product) else { return };
    let input = fused.a.len() / fused.ranks;
    for part in &fused.parts {
        let rank = part.ranks.len();
        let mut b = device.alloc(part.b.len());
        device.copy(adapter.flat.part(part.b.clone()), b.all_mut());
        device.scale_columns(rank, 0..rank, part.scale, b.all_mut());
        let a = fused.a.start + part.ranks.start * input..fused.a.start + part.ranks.end * input;
        let op = MatMul {
            m: part.out.len(),
            n: input,
            k: rank,
            transpose_a: false,
            transpose_b: false,
            accumulate: true,
        };
        let rows = start + part.out.start * input..start + part.out.end * input;
        device.matmul(op, b.all(), adapter.flat.part(a), flat.part_mut(rows));
    }
}
