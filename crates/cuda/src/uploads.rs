//! Small lists of numbers that operations take from the host: rows, slots, chains, rotations.
//!
//! Every layer of a step is given the same lists again. The last few are remembered by their contents, so that a list crosses
//! to the card once a step and not once a layer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::Trouble;
use crate::memory::{Machine, Memory};

/// Lists that are remembered.
const KEPT: usize = 12;

/// The lists that went over last.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<VecDeque<(Vec<u8>, Arc<Memory>)>>);

/// Numbers that have the same bytes on the host and on a card.
pub(crate) trait Plain: Copy {
    /// Appends the bytes.
    fn put(self, bytes: &mut Vec<u8>);
}

impl Plain for u32 {
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_ne_bytes());
    }
}

impl Plain for u64 {
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_ne_bytes());
    }
}

impl Plain for f32 {
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_ne_bytes());
    }
}

/// The bytes of a list.
pub(crate) fn bytes_of<T: Plain>(list: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(list));
    list.iter().for_each(|value| value.put(&mut bytes));
    bytes
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
    /// A list on the card: brought over, or found again.
    pub fn list<T: Plain>(&self, machine: &Arc<Machine>, list: &[T]) -> Result<Arc<Memory>, Trouble> {
        let bytes = bytes_of(list);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(earlier, _)| *earlier == bytes) {
            // A list that is used again is the last to be forgotten.
            if let Some(found) = kept.remove(at) {
                let memory = Arc::clone(&found.1);
                kept.push_back(found);
                return Ok(memory);
            }
        }
        let memory = Arc::new(upload(machine, &bytes)?);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((bytes, Arc::clone(&memory)));
        Ok(memory)
    }
}
