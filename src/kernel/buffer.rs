//! Storage that begins at a cache line.

use crate::simd::Float;
use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// A slice on the heap whose first element lies at the start of a cache line: a vector never straddles two.
#[derive(Debug)]
pub(super) struct Buffer<F> {
    /// The elements, with room for a first one at the next cache line.
    data: Vec<F>,
    start: usize,
    length: usize,
}

impl<F> Default for Buffer<F> {
    fn default() -> Self {
        Self { data: Vec::new(), start: 0, length: 0 }
    }
}

impl<F: Clone> Clone for Buffer<F> {
    /// A copy of the elements that are there now, without the room of earlier ones.
    fn clone(&self) -> Self {
        Self { data: self.to_vec(), start: 0, length: self.length }
    }
}

impl<F: Float> Buffer<F> {
    /// Take a length, keeping the allocation where it suffices; the contents are unspecified.
    pub(super) fn resize(&mut self, length: usize) {
        let spare = LINE / size_of::<F>();
        if self.data.len() < length + spare {
            // A new allocation, not a grown one: the old contents need not move.
            self.data = Vec::new();
            self.data = vec![F::ZERO; length + spare];
            self.start = self.data.as_ptr().align_offset(LINE).min(spare);
        }
        self.length = length;
    }
}

impl<F> Deref for Buffer<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        &self.data[self.start..self.start + self.length]
    }
}

impl<F> DerefMut for Buffer<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.data[self.start..self.start + self.length]
    }
}
