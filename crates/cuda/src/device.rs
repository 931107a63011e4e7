//! [`Cuda`]: a device on a backend, and what its operations share.

use std::sync::Arc;

use gft_model::device::MemoryFormats;

use crate::attention::BF16_WIDTHS;
use crate::backend::{Arg, Backend, FIXED_ROWS, Launch, Number, Trouble};
use crate::driver::LIBRARIES;
use crate::launch::Done;
use crate::memory::{CudaBuffer, Machine, Memory};
use crate::uploads::{Plain, Uploads};
use crate::{Precision, cache, products};

/// Elements of logits that are worked on together: 512 MiB, because each chunk's results are waited for.
pub(crate) const LOGITS: usize = 1 << 27;

/// How a card keeps numbers, whichever card.
pub fn formats(precision: Precision) -> MemoryFormats {
    MemoryFormats {
        rounds: precision == Precision::Bf16,
        activation: if precision == Precision::Bf16 { 2 } else { 4 },
        attention: if precision == Precision::Bf16 { &BF16_WIDTHS } else { &[] },
        cached: cache::bytes(precision) as u64,
        logits_at_once: LOGITS,
        fixed_rows: FIXED_ROWS,
        widened: products::WIDENED as u64,
        libraries: LIBRARIES,
    }
}

/// A card, or what stands for one in tests.
#[derive(Clone)]
pub struct Cuda {
    machine: Arc<Machine>,
    uploads: Arc<Uploads>,
}

impl Cuda {
    /// A device on a backend.
    pub fn on(backend: impl Backend + 'static, precision: Precision) -> Self {
        let machine = Arc::new(Machine::new(Box::new(backend), precision));
        Cuda { machine, uploads: Arc::default() }
    }

    /// What users call it.
    pub fn name(&self) -> &str {
        self.machine.backend.name()
    }

    /// In which numbers products are computed.
    pub fn precision(&self) -> Precision {
        self.machine.precision
    }

    pub(crate) fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &self.machine.backend
    }

    /// Memory for one operation.
    pub(crate) fn scratch(&self, bytes: usize) -> Result<Memory, Trouble> {
        self.machine.allocate(bytes as u64)
    }

    /// A small list on the card; see [`Uploads`].
    pub(crate) fn list<T: Plain>(&self, list: &[T]) -> Result<Arc<Memory>, Trouble> {
        self.uploads.list(&self.machine, list)
    }

    /// Bytes on the card that no other operation asks for.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<Arc<Memory>, Trouble> {
        self.uploads.bytes(&self.machine, bytes)
    }

    /// From here to the next read is a step that is asked for again and again; see [`crate::steps`].
    pub(crate) fn begin_step(&self) -> Done {
        self.machine.backend.begin()?;
        self.uploads.begin_step();
        Ok(())
    }

    /// How much of a 16-bit matrix is widened at once: all that is asked, or little where memory is not worth keeping, so
    /// that tests meet the seams.
    pub(crate) fn widened_at_once(&self, elements: usize) -> usize {
        if self.backend().pools() { elements } else { 100 }
    }

    /// Runs a kernel unless nothing is to be done.
    ///
    /// # Safety
    /// As [`Backend::launch`].
    pub(crate) unsafe fn launch(&self, kernel: &'static str, shape: Launch, args: &[Arg]) -> Done {
        if shape.grid.contains(&0) {
            return Ok(());
        }
        // SAFETY: the caller's.
        unsafe { self.backend().launch(kernel, shape, args) }
    }

    pub(crate) fn download_bytes(&self, from: u64, target: &mut [u8]) -> Done {
        // SAFETY: callers have looked at the room of `from`.
        unsafe { self.backend().download(from, target) }
    }

    pub(crate) fn download(&self, from: u64, target: &mut [f32]) -> Done {
        if target.is_empty() {
            return Ok(());
        }
        let len = size_of_val(target);
        // SAFETY: any bytes are valid numbers, and the slice is borrowed as long as its bytes are.
        let bytes = unsafe { std::slice::from_raw_parts_mut(target.as_mut_ptr().cast::<u8>(), len) };
        self.download_bytes(from, bytes)
    }

    pub(crate) fn buffer(&self, operation: &str, len: usize, number: Number) -> CudaBuffer {
        let memory = self.machine.run(operation, || self.scratch(number.bytes() as usize * len));
        let memory = memory.unwrap_or_else(|| Memory::nowhere(&self.machine));
        CudaBuffer::new(memory, len, number)
    }

    /// In which numbers training keeps activations between operations.
    pub(crate) fn activations(&self) -> Number {
        match self.precision() {
            Precision::F32 => Number::F32,
            Precision::Bf16 => Number::Bf16,
        }
    }

    /// Zeros.
    pub(crate) fn clear(&self, address: u64, bytes: usize) -> Done {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: callers have looked at the room.
        unsafe { self.backend().fill(address, 0, bytes as u64) }
    }
}
