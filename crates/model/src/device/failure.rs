//! Why a device stopped computing.

/// A device's first failure, after which it computes nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Its memory does not suffice.
    #[error(
        "{device}: out of memory: {wanted} bytes wanted, {free} free of {total}, {held} of them held by this program; lower \
         tokens_per_pass or generation_batch_size, or set gradient_checkpointing = true"
    )]
    OutOfMemory {
        /// The device.
        device: String,
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
