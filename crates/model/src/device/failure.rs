//! Why a device stopped computing.

/// What to change so that less is asked for: what an operation is for says which figure it grows with.
fn change(operation: &str) -> &'static str {
    match operation {
        "zeros" | "halves" | "write" | "write_half" => {
            "weights, gradients and moments do not fit: set use_peft = true to train adapters, or take a smaller model"
        }
        "pack" | "pack_half" | "reserve_pages" | "store" | "cached_attention" | "rotate_rows" | "linear"
        | "draw" => "sampling does not fit: lower generation_batch_size or max_completion_length",
        "attention_backward" | "chunk_stats" | "chunk_backward" | "swiglu_backward" | "embed_backward" => {
            "an update does not fit: lower tokens_per_pass, or set gradient_checkpointing = true"
        }
        _ => {
            "lower tokens_per_pass (and generation_batch_size, where it samples), or set gradient_checkpointing = true"
        }
    }
}

/// A device's first failure, after which it computes nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Its memory does not suffice.
    #[error(
        "{device}: out of memory: {operation} wanted {wanted} bytes, {free} free of {total}, {held} of them held by this \
         program; {}",
        change(operation)
    )]
    OutOfMemory {
        /// The device.
        device: String,
        /// Which operation asked.
        operation: String,
        /// Bytes of the allocation that failed.
        wanted: u64,
        /// Bytes that nobody uses.
        free: u64,
        /// Bytes of the device.
        total: u64,
        /// Bytes that this program holds.
        held: u64,
    },
    /// An operation failed.
    #[error("{device}: {operation}: {reason}")]
    Failed {
        /// The device.
        device: String,
        /// Which operation.
        operation: String,
        /// What the device's own library says.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_change_depends_on_what_asked() {
        let text = |operation: &str| {
            let (device, operation) = ("cuda:0".to_owned(), operation.to_owned());
            DeviceError::OutOfMemory { device, operation, wanted: 8, free: 4, total: 16, held: 12 }
                .to_string()
        };
        assert!(text("zeros").contains("zeros wanted 8 bytes") && text("zeros").contains("use_peft"));
        assert!(text("reserve_pages").contains("generation_batch_size"));
        assert!(!text("reserve_pages").contains("tokens_per_pass"));
        assert!(text("attention_backward").contains("gradient_checkpointing"));
        assert!(text("alloc").contains("tokens_per_pass") && text("alloc").contains("generation_batch_size"));
    }
}
