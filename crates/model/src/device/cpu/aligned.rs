//! Memory that begins at a cache line: a vector that straddles two lines costs two loads.

use std::ops::{Deref, DerefMut};

/// Floats of a cache line, which is also the widest vector.
const LINE: usize = 16;

/// Floats from which memory is worth huge pages: 4 MiB, two of them on most machines.
#[cfg(target_os = "linux")]
const HUGE_FROM: usize = 1 << 20;

/// Floats that begin at a multiple of 64 bytes.
#[derive(Default)]
pub struct AlignedVec {
    /// Zeros from the system, untouched until they are used, with room to begin at a line.
    room: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedVec {
    /// Zeros.
    pub fn zeros(len: usize) -> Self {
        let room = vec![0.0; len + LINE - 1];
        advise_huge_pages(&room);
        let start = room.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1);
        Self { room, start, len }
    }

    /// Elements that fit.
    pub fn capacity(&self) -> usize {
        self.room.len().saturating_sub(LINE - 1)
    }

    /// Changes the length within the capacity; contents stay.
    ///
    /// # Panics
    /// When `len` is above the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} floats do not fit {}", self.capacity());
        self.len = len;
    }
}

/// Asks Linux to back large memory by huge pages where it does so only for who asks: a product walks over columns of matrices
/// whose rows each begin on a page of their own, and a step's first touch of 4 KiB pages is a fault for each.
fn advise_huge_pages(room: &[f32]) {
    #[cfg(target_os = "linux")]
    if room.len() >= HUGE_FROM {
        let page = 1 << 16; // the largest that Linux has, and a multiple of the others
        let first = room.as_ptr().addr().next_multiple_of(page);
        let end = (room.as_ptr().addr() + size_of_val(room)) / page * page;
        // SAFETY: whole pages of memory that is ours; the advice changes how they are backed, not what they hold.
        // It may be refused, by a kernel without huge pages for one: then pages stay as they are.
        let _ = unsafe {
            let start = room.as_ptr().with_addr(first).cast_mut().cast();
            rustix::mm::madvise(start, end - first, rustix::mm::Advice::LinuxHugepage)
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = room;
}

impl From<&[f32]> for AlignedVec {
    fn from(x: &[f32]) -> Self {
        let mut vec = Self::zeros(x.len());
        vec.copy_from_slice(x);
        vec
    }
}

impl Deref for AlignedVec {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.room[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.room[self.start..self.start + self.len]
    }
}

impl std::fmt::Debug for AlignedVec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} floats", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_and_keeps_what_was_written() {
        for len in [0, 1, 16, 17, 1000] {
            let mut x = AlignedVec::zeros(len);
            assert_eq!((x.len(), x.as_ptr() as usize % 64), (len, 0));
            assert!(x.iter().all(|x| *x == 0.0));
            x.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            x.set_len(len / 2);
            assert_eq!(x.len(), len / 2);
            x.set_len(x.capacity());
            assert!(x.iter().take(len).enumerate().all(|(i, x)| *x == i as f32));
        }
        assert_eq!(*AlignedVec::from(&[1.0, 2.0][..]), [1.0, 2.0]);
    }
}
