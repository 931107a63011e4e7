//! Device memory that is given back when it is dropped, the buffers that stand on it, and the first failure of a device.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gft_model::device::{Buffer, DeviceError, HalfFormat, HalfView, View, ViewMut};

use crate::Precision;
use crate::backend::{Backend, Number, Trouble};
use crate::pool::{Block, Pool, class};
use crate::steps::Steps;

/// What all handles of one device share.
pub(crate) struct Machine {
    pub backend: Steps,
    pub precision: Precision,
    pool: Mutex<Pool>,
    held: Mutex<u64>,
    failed: AtomicBool,
    failure: Mutex<Option<DeviceError>>,
}

/// A piece of device memory.
pub(crate) struct Memory {
    machine: Arc<Machine>,
    /// `None` after a failure.
    block: Option<Block>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    pub fn new(backend: Box<dyn Backend>, precision: Precision) -> Self {
        // Half of the card may wait to be used again; when memory runs out all of it is given back before that is said.
        let most_idle = backend.memory().map_or(0, |(_, total)| total / 2);
        Machine {
            backend: Steps::new(backend),
            precision,
            pool: Mutex::new(Pool::new(most_idle)),
            held: Mutex::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Runs an operation unless one has failed before; a failure is kept.
    pub fn run<T>(&self, operation: &str, work: impl FnOnce() -> Result<T, Trouble>) -> Option<T> {
        if self.failed.load(Ordering::Acquire) {
            return None;
        }
        match work() {
            Ok(value) => Some(value),
            Err(trouble) => {
                self.fail(operation, trouble);
                None
            }
        }
    }

    fn fail(&self, operation: &str, trouble: Trouble) {
        let device = self.backend.name().to_owned();
        let error = match trouble {
            Trouble::Memory { wanted } => {
                let (free, total) = self.backend.memory().unwrap_or_default();
                let (held, operation) = (*lock(&self.held), operation.into());
                DeviceError::OutOfMemory { device, operation, wanted, free, total, held }
            }
            Trouble::Other(reason) => DeviceError::Failed { device, operation: operation.into(), reason },
        };
        lock(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    /// The first failure.
    pub fn status(&self) -> Result<(), DeviceError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        lock(&self.failure).clone().map_or(Ok(()), Err)
    }

    /// Memory with unspecified contents: NaN in builds with debug assertions, so that a read of what was never written
    /// shows.
    pub fn allocate(self: &Arc<Self>, bytes: u64) -> Result<Memory, Trouble> {
        let block = self.block(bytes.max(1))?;
        if cfg!(debug_assertions) {
            // SAFETY: the block is ours alone. Every number whose bits are all ones is a NaN.
            unsafe { self.backend.fill(block.address, 0xff, block.bytes)? };
        }
        Ok(Memory { machine: Arc::clone(self), block: Some(block) })
    }

    fn block(&self, bytes: u64) -> Result<Block, Trouble> {
        let bytes = if self.backend.pools() { class(bytes) } else { bytes };
        if let Some(block) = lock(&self.pool).take(bytes) {
            return Ok(block);
        }
        let address = match self.backend.allocate(bytes) {
            Err(Trouble::Memory { .. }) => {
                // What is idle may be of other sizes than this.
                let idle = lock(&self.pool).drain();
                self.free(idle);
                self.backend.allocate(bytes)?
            }
            other => other?,
        };
        *lock(&self.held) += bytes;
        Ok(Block { address, bytes })
    }

    fn free(&self, blocks: Vec<Block>) {
        for Block { address, bytes } in blocks {
            *lock(&self.held) -= bytes;
            // SAFETY: the block came from `allocate` and left the pool, so that nothing refers to it.
            unsafe { self.backend.free(address, bytes) };
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let idle = lock(&self.pool).drain();
        self.free(idle);
    }
}

impl Memory {
    /// What stands for memory once a device has failed.
    pub fn nowhere(machine: &Arc<Machine>) -> Self {
        Memory { machine: Arc::clone(machine), block: None }
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.block.map_or(0, |block| block.bytes)
    }

    /// Where it begins.
    pub fn address(&self) -> Result<u64, Trouble> {
        self.block.map(|block| block.address).ok_or_else(|| Trouble::Other("it has no memory".into()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else { return };
        let machine = &self.machine;
        // All work is done in one order: whoever gets the piece next writes after what still reads it here.
        let surplus = if machine.backend.pools() { lock(&machine.pool).put(block) } else { vec![block] };
        machine.free(surplus);
    }
}

/// Numbers on a card: f32, or activations in bf16.
pub struct CudaBuffer {
    pub(crate) memory: Arc<Memory>,
    pub(crate) len: usize,
    number: Number,
    copies: Box<Copies>,
}

/// What is known of a buffer's numbers in other formats.
#[derive(Default)]
struct Copies {
    /// How often the buffer may have been written: counted whenever an operation asks where to write.
    writes: AtomicU64,
    /// All of it rounded to bf16, as it was after so many writes.
    rounded: Mutex<Option<(u64, Arc<Memory>)>>,
}

impl CudaBuffer {
    /// So many numbers in memory that has room for them.
    pub(crate) fn new(memory: Memory, len: usize, number: Number) -> Self {
        CudaBuffer { memory: Arc::new(memory), len, number, copies: Box::default() }
    }

    /// The whole buffer of f32 rounded to bf16: kept from the last time, or made by `round` of the f32 and the bf16 address if it
    /// has been written since. `None` where there is no memory for it.
    pub(crate) fn rounded(
        &self,
        round: impl FnOnce(u64, u64) -> Result<(), Trouble>,
    ) -> Result<Option<Arc<Memory>>, Trouble> {
        // Who writes has the buffer to itself: nothing is written while this is borrowed.
        let writes = self.copies.writes.load(Ordering::Relaxed);
        let mut kept = lock(&self.copies.rounded);
        let memory = match kept.take() {
            Some((at, memory)) if at == writes => {
                return Ok(Some(Arc::clone(&kept.insert((at, memory)).1)));
            }
            // Who still reads the older numbers keeps them.
            Some((_, memory)) if Arc::strong_count(&memory) == 1 => memory,
            _ => match self.memory.machine.allocate(2 * self.len as u64) {
                Ok(memory) => Arc::new(memory),
                Err(Trouble::Memory { .. }) => return Ok(None),
                Err(other) => return Err(other),
            },
        };
        round(self.memory.address()?, memory.address()?)?;
        *kept = Some((writes, Arc::clone(&memory)));
        Ok(Some(memory))
    }
}

impl Buffer for CudaBuffer {
    fn len(&self) -> usize {
        self.len
    }
}

/// 16-bit floats on a card.
pub struct CudaHalves {
    pub(crate) memory: Arc<Memory>,
    pub(crate) format: HalfFormat,
    pub(crate) len: usize,
}

pub(crate) type Ref<'a> = View<'a, CudaBuffer>;
pub(crate) type Mut<'a> = ViewMut<'a, CudaBuffer>;
pub(crate) type HalfRef<'a> = HalfView<'a, CudaHalves>;

/// Something that lies on the card and has an address, once it is known to be large enough.
pub(crate) trait Place {
    /// The address of the first of at least `needed` elements: of f32 where it is a buffer's.
    fn at(&self, needed: usize) -> Result<u64, Trouble>;
}

/// A part of a buffer, whose numbers may be of more than one type.
pub(crate) trait Kept {
    /// In which numbers it is kept.
    fn number(&self) -> Number;
    /// The address of the first of at least `needed` elements, which must be kept in these numbers: no kernel may take them
    /// for others.
    fn of(&self, number: Number, needed: usize) -> Result<u64, Trouble>;
    /// The same, in whichever numbers.
    fn any(&self, needed: usize) -> Result<(u64, Number), Trouble> {
        let number = self.number();
        Ok((self.of(number, needed)?, number))
    }
}

/// Changes f32 elements together with the same ones rounded: `write` is given where the first of each lies, and 0 in place of
/// the latter where none are kept, or not as the f32 are, or somebody still reads them as they are.
pub(crate) fn update_both(
    view: &Mut<'_>,
    needed: usize,
    write: impl FnOnce(u64, u64) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let Copies { writes, rounded } = &*view.buffer.copies;
    let before = writes.load(Ordering::Relaxed);
    let at = view.at(needed)?;
    let mut kept = lock(rounded);
    let current = kept.as_mut().filter(|(made, memory)| *made == before && Arc::strong_count(memory) == 1);
    let Some((made, memory)) = current else { return write(at, 0) };
    write(at, memory.address()? + Number::Bf16.bytes() * view.range.start as u64)?;
    *made = writes.load(Ordering::Relaxed);
    Ok(())
}

fn place(
    memory: &Memory,
    len: usize,
    range: &Range<usize>,
    needed: usize,
    bytes: u64,
) -> Result<u64, Trouble> {
    if range.end > len || range.len() < needed {
        let Range { start, end } = range;
        return Err(Trouble::Other(format!("elements {start}..{end} of {len}, {needed} are needed")));
    }
    Ok(memory.address()? + range.start as u64 * bytes)
}

fn place_of(
    buffer: &CudaBuffer,
    range: &Range<usize>,
    number: Number,
    needed: usize,
) -> Result<u64, Trouble> {
    if buffer.number != number {
        let (kept, wanted) = (buffer.number.name(), number.name());
        return Err(Trouble::Other(format!("numbers of {kept} where it takes {wanted}")));
    }
    place(&buffer.memory, buffer.len, range, needed, number.bytes())
}

impl Kept for Ref<'_> {
    fn number(&self) -> Number {
        self.buffer.number
    }

    fn of(&self, number: Number, needed: usize) -> Result<u64, Trouble> {
        place_of(self.buffer, &self.range, number, needed)
    }
}

impl Kept for Mut<'_> {
    fn number(&self) -> Number {
        self.buffer.number
    }

    fn of(&self, number: Number, needed: usize) -> Result<u64, Trouble> {
        self.buffer.copies.writes.fetch_add(1, Ordering::Relaxed);
        place_of(self.buffer, &self.range, number, needed)
    }
}

impl Place for Ref<'_> {
    fn at(&self, needed: usize) -> Result<u64, Trouble> {
        self.of(Number::F32, needed)
    }
}

impl Place for Mut<'_> {
    fn at(&self, needed: usize) -> Result<u64, Trouble> {
        self.of(Number::F32, needed)
    }
}

impl Place for HalfRef<'_> {
    fn at(&self, needed: usize) -> Result<u64, Trouble> {
        place(&self.buffer.memory, self.buffer.len, &self.range, needed, 2)
    }
}
