//! The device that a run computes on, as its settings want it.

use gft_model::Cpu;

use crate::config::Resolved;
use crate::error::ConfigError;

/// The CPU, with products of bf16 where `bf16` is set.
///
/// # Errors
/// When `bf16` is set and the processor has no instructions for it: without them it would only be less exact.
pub fn cpu(resolved: &Resolved) -> Result<Cpu, ConfigError> {
    if !resolved.stages.first().is_some_and(|stage| stage.settings.bf16) {
        return Ok(Cpu::new());
    }
    Cpu::with_bf16_products().ok_or_else(|| {
        let text = "`bf16` = true: this processor has no products of bf16 (AVX512_BF16), so that it would be less exact and no \
                    faster; leave it out to train in f32";
        ConfigError::Contradiction(text.into())
    })
}
