//! Memory from the system itself, for large buffers: a general allocator zeroes what it gives out again, and what it has taken
//! back between other allocations it may never return, so that a process whose steps differ in size would grow with time.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::slice;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of a huge page on most machines; larger memory begins at a multiple.
const HUGE: usize = 2 << 20;

/// Zeros from the system, untouched until they are used, which go back to it at once when dropped.
pub struct Mapped {
    /// What was asked for, with room to begin at a huge page.
    base: NonNull<c_void>,
    bytes: usize,
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: memory that belongs to this value alone, reached through `&self` and `&mut self` only.
unsafe impl Send for Mapped {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// `len` zeros; `None` where the system refuses.
    ///
    /// Memory of two huge pages and more asks Linux to be backed by them where it does so only for who asks: a product walks
    /// over columns of matrices whose rows each begin on a page of their own, and a step's first touch of 4 KiB pages is a
    /// fault for each. The advice may be refused: then pages stay as they are.
    pub fn zeros(len: usize) -> Option<Self> {
        let wanted = len.checked_mul(size_of::<f32>())?.max(1);
        let huge = wanted >= 2 * HUGE;
        let bytes = if huge { wanted.checked_add(HUGE)? } else { wanted };
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the system's choice touches nothing that exists.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) };
        let base = NonNull::new(base.ok()?)?;
        let mut start = base.cast::<f32>();
        if huge {
            let skipped = base.as_ptr().align_offset(HUGE);
            // SAFETY: at most one huge page further, which the mapping has beyond `wanted`.
            start = unsafe { base.byte_add(skipped) }.cast();
            // SAFETY: pages of this mapping; the advice changes how they are backed, not what they hold.
            let _ = unsafe { madvise(start.as_ptr().cast(), wanted / HUGE * HUGE, Advice::LinuxHugepage) };
        }
        Some(Self { base, bytes, start, len })
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: `len` floats of this mapping, zero or written by its owner, and any bits are a float.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The numbers, to write.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above, borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, to which nothing refers any more. It cannot fail for a mapping that exists.
        let _ = unsafe { munmap(self.base.as_ptr(), self.bytes) };
    }
}
