//! Memory that begins at a cache line: a vector that straddles two lines costs two loads.

use std::ops::{Deref, DerefMut};

#[cfg(target_os = "linux")]
use super::mapped::Mapped;

/// Floats of a cache line, which is also the widest vector.
const LINE: usize = 16;

/// Floats from which memory comes from the system itself: 1 MiB.
#[cfg(target_os = "linux")]
const MAPPED_FROM: usize = 1 << 18;

/// Floats that begin at a multiple of 64 bytes.
#[derive(Default)]
pub struct AlignedVec {
    room: Room,
    start: usize,
    len: usize,
}

/// Zeros from the system, untouched until they are used.
enum Room {
    /// From the allocator, with room to begin at a line.
    Heap(Vec<f32>),
    #[cfg(target_os = "linux")]
    Mapped(Mapped),
}

impl Default for Room {
    fn default() -> Self {
        Room::Heap(Vec::new())
    }
}

impl Deref for Room {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Room::Heap(room) => room,
            #[cfg(target_os = "linux")]
            Room::Mapped(room) => room.as_slice(),
        }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Room::Heap(room) => room,
            #[cfg(target_os = "linux")]
            Room::Mapped(room) => room.as_mut_slice(),
        }
    }
}

impl AlignedVec {
    /// Zeros.
    pub fn zeros(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len >= MAPPED_FROM
            && let Some(room) = Mapped::zeros(len)
        {
            return Self { room: Room::Mapped(room), start: 0, len };
        }
        let room = vec![0.0; len + LINE - 1];
        let start = room.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1);
        Self { room: Room::Heap(room), start, len }
    }

    /// Elements that fit.
    pub fn capacity(&self) -> usize {
        match &self.room {
            Room::Heap(room) => room.len().saturating_sub(LINE - 1),
            #[cfg(target_os = "linux")]
            Room::Mapped(room) => room.as_slice().len(),
        }
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
        for len in [0, 1, 16, 17, 1000, 300_000, 1_500_000] {
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
