//! Buffers aligned to cache lines: a 64-byte vector that crosses two lines costs two memory accesses.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, which is also the longest vector.
const LINE: usize = 64;

/// A growable buffer whose first element is aligned to a cache line.
#[derive(Debug)]
pub(super) struct AlignedBuffer<T> {
    data: Vec<T>,
    start: usize,
    length: usize,
}

impl<T> Default for AlignedBuffer<T> {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            start: 0,
            length: 0,
        }
    }
}

impl<T: Copy + Default> AlignedBuffer<T> {
    /// A buffer of `length` zeros.
    pub fn new(length: usize) -> Self {
        let mut buffer = Self::default();
        buffer.set_length(length);
        buffer
    }

    /// Sets the length. The content is unspecified afterwards, but never uninitialised.
    pub fn set_length(&mut self, length: usize) {
        let spare = LINE / size_of::<T>();
        if self.data.len() < length + spare {
            self.data = vec![T::default(); length + spare];
            // Never more than `spare`: the allocation is aligned to `T`, whose size divides a line.
            self.start = self.data.as_ptr().align_offset(LINE).min(spare);
        }
        self.length = length;
    }
}

impl<T> Deref for AlignedBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.start..self.start + self.length]
    }
}

impl<T> DerefMut for AlignedBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_line_and_have_their_length() {
        let mut buffer = AlignedBuffer::<u16>::default();
        assert!(buffer.is_empty());
        for length in [1, 1000, 3, 100_000] {
            buffer.set_length(length);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % LINE), (length, 0));
        }
    }
}
