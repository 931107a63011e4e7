//! Buffers that are given back and used again.
//!
//! A step allocates the same activations every time; fresh pages from the system would cost it a page fault per 4 KiB.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::Buffer;
use super::aligned::AlignedVec;

/// Buffers smaller than this are left to the allocator.
const POOLED_FROM: usize = 1 << 14;

/// Free buffers by capacity.
#[derive(Debug, Default)]
pub struct Pool {
    free: Mutex<BTreeMap<usize, Vec<AlignedVec>>>,
}

impl Pool {
    /// A buffer of `len` elements with unspecified contents.
    pub fn take(self: &Arc<Self>, len: usize) -> CpuBuffer {
        let mut data = self.reuse(len).unwrap_or_else(|| {
            // Capacities in steps of 1/8 octave, so that buffers of nearly the same size share.
            let step = (len.next_power_of_two() / 16).max(1);
            AlignedVec::zeros(len.div_ceil(step) * step)
        });
        data.set_len(len);
        if cfg!(debug_assertions) {
            data.fill(f32::NAN); // a read of what was never written shows
        }
        CpuBuffer { data, pool: Some(Arc::clone(self)) }
    }

    fn reuse(&self, len: usize) -> Option<AlignedVec> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (&capacity, _) = free.range(len..=len + len / 4).next()?;
        let entry = free.get_mut(&capacity)?;
        let data = entry.pop();
        if entry.is_empty() {
            free.remove(&capacity);
        }
        data
    }

    fn give(&self, data: AlignedVec) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(data.capacity()).or_default().push(data);
    }

    /// Gives all free buffers back to the system.
    pub fn clear(&self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Host memory that returns to its pool when dropped.
#[derive(Debug)]
pub struct CpuBuffer {
    pub(super) data: AlignedVec,
    pool: Option<Arc<Pool>>,
}

impl CpuBuffer {
    /// Zeros that belong to no pool.
    pub fn zeros(len: usize) -> Self {
        Self { data: AlignedVec::zeros(len), pool: None }
    }

    /// A copy that belongs to no pool.
    pub fn owned(data: &[f32]) -> Self {
        Self { data: data.into(), pool: None }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// The elements, to write.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

impl Deref for CpuBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data
    }
}

impl DerefMut for CpuBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take().filter(|_| self.data.capacity() >= POOLED_FROM) {
            pool.give(std::mem::take(&mut self.data));
        }
    }
}

impl Buffer for CpuBuffer {
    fn len(&self) -> usize {
        self.data.len()
    }
}
