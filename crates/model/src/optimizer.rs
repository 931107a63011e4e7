//! AdamW with f32 moments and f32 master weights, and clipping by the global norm.

use crate::device::{AdamWUpdate, Buffer, Device};
use crate::error::{ModelError, Result};
use crate::policy::{Gradients, Policy};

/// Hyper-parameters of AdamW (arXiv 1711.05101); the names are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay norms and biases too (PyTorch's optimizer given all parameters does; transformers' trainer does not).
    pub decay_all: bool,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decay_all: false }
    }
}

/// The optimizer's state: moments as flat as the weights, and the number of updates.
pub struct AdamW<D: Device> {
    config: AdamWConfig,
    m: D::Buf,
    v: D::Buf,
    updates: u64,
}

impl<D: Device> AdamW<D> {
    /// Fresh state for a policy.
    pub fn new(policy: &Policy<D>, config: AdamWConfig) -> Self {
        let len = policy.params().len();
        Self { config, m: policy.device().zeros(len), v: policy.device().zeros(len), updates: 0 }
    }

    /// State as it was saved.
    ///
    /// # Errors
    /// When the moments are not as many as the weights.
    pub fn restore(
        policy: &Policy<D>,
        config: AdamWConfig,
        m: D::Buf,
        v: D::Buf,
        updates: u64,
    ) -> Result<Self> {
        let len = policy.params().len();
        if m.len() != len || v.len() != len {
            return Err(ModelError::Option(format!(
                "moments of {} and {} elements for {len} weights",
                m.len(),
                v.len()
            )));
        }
        Ok(Self { config, m, v, updates })
    }

    /// First and second moment, and the number of updates.
    pub fn state(&self) -> (&D::Buf, &D::Buf, u64) {
        (&self.m, &self.v, self.updates)
    }

    /// One update, in place, of all that is trained. The gradient is multiplied by `gradient_scale` (see [`clip_scale`]).
    ///
    /// # Errors
    /// When no backward pass has filled the gradients; when the device fails.
    pub fn update(
        &mut self,
        policy: &mut Policy<D>,
        grads: &Gradients<D>,
        lr: f64,
        gradient_scale: f32,
    ) -> Result<()> {
        if grads.is_empty() {
            return Err(ModelError::Option("an update without gradients".into()));
        }
        self.updates += 1;
        let t = self.updates as f64;
        let AdamWConfig { beta1, beta2, eps, weight_decay, decay_all } = self.config;
        let update = AdamWUpdate {
            lr: lr as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            eps: eps as f32,
            weight_decay: 0.0,
            bias_correction1: (1.0 - beta1.powf(t)) as f32,
            bias_correction2: (1.0 - beta2.powf(t)) as f32,
            gradient_scale,
        };
        let (device, params, parameters) = policy.trained()?;
        for parameter in parameters {
            let decay = if parameter.is_matrix || decay_all { weight_decay as f32 } else { 0.0 };
            let range = || parameter.range.clone();
            device.adamw(
                AdamWUpdate { weight_decay: decay, ..update },
                grads.flat.part(range()),
                params.part_mut(range()),
                self.m.part_mut(range()),
                self.v.part_mut(range()),
            );
        }
        Ok(device.status()?)
    }
}

/// Euclidean norm of all gradients; 0 when there are none.
///
/// # Errors
/// When the device fails.
pub fn gradient_norm<D: Device>(policy: &Policy<D>, grads: &Gradients<D>) -> Result<f64> {
    if grads.is_empty() {
        return Ok(0.0);
    }
    let squares = policy.device().sum_squares(grads.flat.all());
    policy.device().status()?;
    Ok(squares.sqrt())
}

/// Factor that brings a norm down to `max_norm`, as `torch.nn.utils.clip_grad_norm_` computes it.
pub fn clip_scale(norm: f64, max_norm: f64) -> f32 {
    (max_norm / (norm + 1e-6)).min(1.0) as f32
}
