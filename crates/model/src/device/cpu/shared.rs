//! A slice that several tasks write at places of their own.

use std::marker::PhantomData;

/// A mutable slice shared by tasks that write disjoint parts of it.
pub struct SharedSlice<'a> {
    start: *mut f32,
    len: usize,
    exclusive: PhantomData<&'a mut [f32]>,
}

// SAFETY: every access goes through `read`, `write`, `add` or a pointer, whose users promise that parts do not overlap.
unsafe impl Sync for SharedSlice<'_> {}

impl<'a> SharedSlice<'a> {
    /// Takes the slice for as long as tasks write to it.
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), exclusive: PhantomData }
    }

    /// The slice from `at` on, under the same promise.
    ///
    /// # Panics
    /// When it is shorter.
    pub fn after(&self, at: usize) -> Self {
        assert!(at <= self.len, "after the end of the slice");
        Self { start: self.start.wrapping_add(at), len: self.len - at, exclusive: PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first element, for writers that keep to parts of their own.
    pub fn as_mut_ptr(&self) -> *mut f32 {
        self.start
    }

    /// The part `[at, at + len)`.
    ///
    /// # Safety
    /// Nobody else may touch any of those elements while the part is held.
    ///
    /// # Panics
    /// When the part lies outside of the slice.
    #[cfg(target_arch = "x86_64")]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at + len <= self.len, "part outside of the slice");
        // SAFETY: inside of the slice as asserted, and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }

    /// Asks for the cache line of an element; at the end or behind it, in vain.
    #[inline(always)]
    pub fn fetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch may be given any address, and reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.start.wrapping_add(at).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Copies `values` to `[at, at + values.len())`.
    ///
    /// # Safety
    /// No other task may write any of those elements.
    ///
    /// # Panics
    /// When the part lies outside of the slice.
    #[inline(always)]
    pub unsafe fn write(&self, at: usize, values: &[f32]) {
        assert!(at + values.len() <= self.len, "write outside of the slice");
        // SAFETY: inside of the slice as asserted; the caller promises that nobody else writes there, and `values`
        // cannot overlap it because `new` holds the exclusive borrow.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len()) };
    }

    /// Copies `[at, at + values.len())` to `values`.
    ///
    /// # Safety
    /// No other task may write any of those elements.
    ///
    /// # Panics
    /// When the part lies outside of the slice.
    #[inline(always)]
    pub unsafe fn read(&self, at: usize, values: &mut [f32]) {
        assert!(at + values.len() <= self.len, "read outside of the slice");
        // SAFETY: as in `write`.
        unsafe { std::ptr::copy_nonoverlapping(self.start.add(at), values.as_mut_ptr(), values.len()) };
    }

    /// Adds `values` to `[at, at + values.len())`.
    ///
    /// # Safety
    /// No other task may touch any of those elements.
    ///
    /// # Panics
    /// When the part lies outside of the slice.
    #[inline(always)]
    pub unsafe fn add(&self, at: usize, values: &[f32]) {
        assert!(at + values.len() <= self.len, "write outside of the slice");
        for (i, value) in values.iter().enumerate() {
            // SAFETY: inside of the slice as asserted; nobody else touches it by the caller's promise.
            unsafe { *self.start.add(at + i) += value };
        }
    }
}
