//! Buffers that are given back and used again.
//!
//! A step allocates the same activations every time; fresh pages from the system would cost it a page fault per 4 KiB.
//! Steps of other sizes, and generation between them, need others: what is kept for later is never more than would
//! bring the whole an eighth above the most that was ever asked for at once.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::Buffer;
use super::aligned::AlignedVec;

/// Buffers smaller than this, 4 KiB, are left to the allocator, which would zero larger ones anew each time.
const POOLED_FROM: usize = 1 << 10;

/// What is held at most, where so much was asked for at once. Without the eighth a step whose buffers are of many sizes gives back
/// at each of its turns what it needs at the next: the small shape of the benchmarks asked for 110 MB anew in every step.
fn kept_at_most(most_asked: usize) -> usize {
    most_asked + most_asked / 8
}

/// Free buffers, and how much is in use; sizes are in elements.
#[derive(Debug, Default)]
pub struct Pool {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By capacity, each with the time at which it was given back.
    free: BTreeMap<usize, Vec<(u64, AlignedVec)>>,
    free_len: usize,
    /// Of the buffers in use, whose capacities may be above what was asked for.
    used_len: usize,
    asked_len: usize,
    most_asked: usize,
    time: u64,
}

impl Pool {
    /// A buffer of `len` elements with unspecified contents.
    pub fn take(self: &Arc<Self>, len: usize) -> CpuBuffer {
        let mut data = if len < POOLED_FROM { AlignedVec::zeros(len) } else { self.pooled(len) };
        data.set_len(len);
        if cfg!(debug_assertions) {
            data.fill(f32::NAN); // a read of what was never written shows
        }
        CpuBuffer { data, pool: Some(Arc::clone(self)) }
    }

    fn pooled(&self, len: usize) -> AlignedVec {
        // Capacities in steps of 1/8 octave, so that buffers of nearly the same size share.
        let step = (len.next_power_of_two() / 16).max(1);
        let capacity = len.div_ceil(step) * step;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = state.reuse(len);
        state.used_len += found.as_ref().map_or(capacity, AlignedVec::capacity);
        state.asked_len += len;
        state.most_asked = state.most_asked.max(state.asked_len);
        let evicted = if found.is_none() { state.shrink() } else { Vec::new() };
        drop(state);
        drop(evicted); // unmapped without the lock, and before memory is asked for
        found.unwrap_or_else(|| AlignedVec::zeros(capacity))
    }

    fn give(&self, data: AlignedVec) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let capacity = data.capacity();
        state.time += 1;
        let time = state.time;
        state.used_len -= capacity;
        state.asked_len -= data.len();
        state.free_len += capacity;
        state.free.entry(capacity).or_default().push((time, data));
    }

    /// Gives all free buffers back to the system.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free_len = 0;
        state.free.clear();
    }
}

impl State {
    /// The smallest free buffer that fits and is not much too large.
    fn reuse(&mut self, len: usize) -> Option<AlignedVec> {
        let (&capacity, _) = self.free.range(len..=len + len / 4).next()?;
        self.remove(capacity, usize::MAX)
    }

    /// Removes a buffer of `capacity`: the one at `index`, or the last.
    fn remove(&mut self, capacity: usize, index: usize) -> Option<AlignedVec> {
        let entry = self.free.get_mut(&capacity)?;
        let index = index.min(entry.len().checked_sub(1)?);
        let (_, data) = entry.remove(index);
        if entry.is_empty() {
            self.free.remove(&capacity);
        }
        self.free_len -= capacity;
        Some(data)
    }

    /// Removes free buffers, those first that have waited longest, until used and free together are no more than
    /// [`kept_at_most`].
    fn shrink(&mut self) -> Vec<AlignedVec> {
        let mut evicted = Vec::new();
        while self.used_len + self.free_len > kept_at_most(self.most_asked) {
            // Within a capacity the first has waited longest.
            let oldest = self.free.iter().filter_map(|(capacity, entry)| Some((entry.first()?.0, *capacity)));
            let Some((_, capacity)) = oldest.min() else { break };
            evicted.extend(self.remove(capacity, 0));
        }
        evicted
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements in use and free.
    fn held(pool: &Pool) -> (usize, usize) {
        let state = pool.state.lock().unwrap();
        let listed: usize = state.free.iter().map(|(capacity, entry)| capacity * entry.len()).sum();
        assert_eq!(listed, state.free_len);
        (state.used_len, state.free_len)
    }

    #[test]
    fn a_buffer_is_used_again_by_sizes_near_it() {
        let pool = Arc::new(Pool::default());
        let start = pool.take(100_000).as_ptr();
        let (_, capacity) = held(&pool);
        for len in [99_000, 90_000] {
            let buffer = pool.take(len);
            assert_eq!(buffer.as_ptr(), start);
            // The very buffer: a new one at the same place would have a capacity of its own.
            assert_eq!(held(&pool), (capacity, 0), "{len}");
        }
    }

    #[test]
    fn what_is_kept_is_little_more_than_the_most_that_was_used() {
        let pool = Arc::new(Pool::default());
        // Steps whose sizes do not fit each other.
        for size in [1 << 20, 3 << 18, 1 << 19, 1 << 20, 1 << 17, 3 << 18] {
            let buffers: Vec<_> = (0..4).map(|_| pool.take(size)).collect();
            let (used, free) = held(&pool);
            assert_eq!(used, 4 * size);
            assert!(
                used + free <= kept_at_most(4 << 20),
                "{used} used and {free} free after a step of {size}"
            );
            drop(buffers);
        }
        assert_eq!(held(&pool).0, 0);
        // The oldest went first: those of the last step are still there.
        let again: Vec<_> = (0..4).map(|_| pool.take(3 << 18)).collect();
        assert!(held(&pool).1 > 0 && again.len() == 4);
        drop(again);
        pool.clear();
        assert_eq!(held(&pool).1, 0);
    }

    #[test]
    fn buffers_larger_than_asked_for_do_not_raise_what_is_kept() {
        let pool = Arc::new(Pool::default());
        let take = |size: usize, count: usize| -> Vec<_> { (0..count).map(|_| pool.take(size)).collect() };
        drop(take(5 << 18, 4));
        // The first four find those, which are a quarter larger.
        drop((take(1 << 20, 4), take(1 << 19, 4)));
        assert_eq!(held(&pool), (0, 7 << 20));
        let another = take(3 << 18, 1);
        let (used, free) = held(&pool);
        assert!(used + free <= kept_at_most(6 << 20), "{used} used and {free} free");
        drop(another);
    }
}
