//! Small lists of numbers that operations take from the host: rows, slots, chains, rotations.
//!
//! Every layer of a step is given the same lists again. The last few are remembered by their contents, so that a list crosses
//! to the card once a step and not once a layer. In a step that may become a graph ([`crate::steps`]) each list has its place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, Trouble};
use crate::memory::{Machine, Memory};

/// Lists that are remembered.
const KEPT: usize = 12;

/// The lists that went over last.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<Lists>);

#[derive(Default)]
struct Lists {
    kept: VecDeque<(Vec<u8>, Arc<Memory>)>,
    /// Where the first, second ... list of a step goes, each time the same memory: a graph has its address.
    places: Vec<Arc<Memory>>,
    /// The lists of this step, in the order of their places.
    step: Vec<Vec<u8>>,
}

/// Numbers that have the same bytes on the host and on a card.
///
/// # Safety
/// Each of their bytes is a number's: there is no padding.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: numbers.
unsafe impl Plain for u16 {}
// SAFETY: numbers.
unsafe impl Plain for u32 {}
// SAFETY: numbers.
unsafe impl Plain for u64 {}
// SAFETY: numbers.
unsafe impl Plain for f32 {}

/// The bytes of a list, where they lie.
pub(crate) fn as_bytes<T: Plain>(list: &[T]) -> &[u8] {
    // SAFETY: all bytes of the list are initialised, and borrowed as long as it is.
    unsafe { std::slice::from_raw_parts(list.as_ptr().cast(), size_of_val(list)) }
}

/// The bytes of a list.
pub(crate) fn bytes_of<T: Plain>(list: &[T]) -> Vec<u8> {
    as_bytes(list).to_vec()
}

/// Brings bytes over, into memory of their own.
pub(crate) fn upload(machine: &Arc<Machine>, bytes: &[u8]) -> Result<Memory, Trouble> {
    let memory = machine.allocate(bytes.len() as u64)?;
    if !bytes.is_empty() {
        // SAFETY: the memory has just been allocated for so many bytes.
        unsafe { machine.backend.upload(bytes, memory.address()?)? };
    }
    Ok(memory)
}

impl Uploads {
    /// The next list is the first of a step.
    pub fn begin_step(&self) {
        self.lock().step.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A list on the card: brought over, or found again.
    pub fn list<T: Plain>(&self, machine: &Arc<Machine>, list: &[T]) -> Result<Arc<Memory>, Trouble> {
        // Every layer asks for the same lists: they are compared where they lie.
        let bytes = as_bytes(list);
        let mut lists = self.lock();
        if machine.backend.collecting() {
            return match lists.step.iter().position(|earlier| earlier == bytes) {
                Some(place) => Ok(Arc::clone(&lists.places[place])),
                None => lists.place(machine, bytes.to_vec()),
            };
        }
        let kept = &mut lists.kept;
        if let Some(at) = kept.iter().position(|(earlier, _)| earlier == bytes) {
            // A list that is used again is the last to be forgotten.
            if let Some(found) = kept.remove(at) {
                let memory = Arc::clone(&found.1);
                kept.push_back(found);
                return Ok(memory);
            }
        }
        let memory = Arc::new(upload(machine, bytes)?);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((bytes.to_vec(), Arc::clone(&memory)));
        Ok(memory)
    }

    /// Bytes that no other operation asks for.
    pub fn bytes(&self, machine: &Arc<Machine>, bytes: &[u8]) -> Result<Arc<Memory>, Trouble> {
        if machine.backend.collecting() {
            return self.lock().place(machine, bytes.to_vec());
        }
        Ok(Arc::new(upload(machine, bytes)?))
    }
}

impl Lists {
    /// Brings bytes over to the step's next place.
    fn place(&mut self, machine: &Arc<Machine>, bytes: Vec<u8>) -> Result<Arc<Memory>, Trouble> {
        let (place, len) = (self.step.len(), bytes.len() as u64);
        if self.places.get(place).is_none_or(|memory| memory.bytes() < len) {
            // Room to grow, so that its address stays for some steps.
            let larger = Arc::new(machine.allocate(len.next_power_of_two())?);
            // What fills fresh memory is not to run after the upload: this step goes on uncollected.
            machine.backend.flush()?;
            self.places.truncate(place);
            self.places.push(larger);
        }
        let memory = Arc::clone(&self.places[place]);
        if len > 0 {
            // SAFETY: as large as that at least; each place has one list a step, so that nothing collected uses it yet.
            unsafe { machine.backend.upload_before(&bytes, memory.address()?)? };
        }
        self.step.push(bytes);
        Ok(memory)
    }
}
