//! Plaintext that waits to be sealed: small writes are copied together, large `Bytes` are kept.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use bytes::Bytes;

use crate::gather::Slices;

/// `Bytes` up to this length are copied: the copy costs less than one more slice.
const COPY_MAX: usize = 1024;
/// An idle queue keeps a buffer of at most this size.
const IDLE_CAPACITY: usize = 128;

#[derive(Default)]
pub(crate) struct Queue {
    /// All copied bytes, in order. A ring, so that no bytes are moved when its front is consumed.
    copied: VecDeque<u8>,
    chunks: VecDeque<Chunk>,
    len: usize,
}

enum Chunk {
    /// A number of bytes of `copied`.
    Copied(usize),
    Shared(Bytes),
}

impl fmt::Debug for Queue {
    /// Omits the plaintext, which does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push_copy(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.copied.extend(data);
        self.len += data.len();
        match self.chunks.back_mut() {
            Some(Chunk::Copied(n)) => *n += data.len(),
            _ => self.chunks.push_back(Chunk::Copied(data.len())),
        }
    }

    /// Appends `data`; returns the number of bytes copied.
    pub(crate) fn push_bytes(&mut self, data: Bytes) -> usize {
        if data.len() <= COPY_MAX {
            self.push_copy(&data);
            return data.len();
        }
        self.len += data.len();
        self.chunks.push_back(Chunk::Shared(data));
        0
    }

    /// Appends the first `n` bytes of the queue, or all of it, to `slices`.
    pub(crate) fn front<'a>(&'a self, mut n: usize, slices: &mut Slices<'a>) {
        let mut offset = 0;
        for chunk in &self.chunks {
            if n == 0 {
                return;
            }
            match chunk {
                Chunk::Copied(len) => {
                    let take = n.min(*len);
                    let (first, second) = self.copied.as_slices();
                    let in_first = first.len().saturating_sub(offset).min(take);
                    if in_first > 0 {
                        slices.push(IoSlice::new(&first[offset..offset + in_first]));
                    }
                    if in_first < take {
                        let start = offset + in_first - first.len();
                        slices.push(IoSlice::new(&second[start..start + take - in_first]));
                    }
                    offset += len;
                    n -= take;
                }
                Chunk::Shared(data) => {
                    let take = n.min(data.len());
                    slices.push(IoSlice::new(&data[..take]));
                    n -= take;
                }
            }
        }
    }

    /// Removes the first `n` bytes, or all.
    pub(crate) fn consume(&mut self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        while left > 0 {
            let Some(chunk) = self.chunks.front_mut() else {
                return;
            };
            let taken = match chunk {
                Chunk::Copied(len) => {
                    let taken = left.min(*len);
                    *len -= taken;
                    self.copied.drain(..taken);
                    taken
                }
                Chunk::Shared(data) => {
                    let taken = left.min(data.len());
                    bytes::Buf::advance(data, taken);
                    taken
                }
            };
            left -= taken;
            if matches!(chunk, Chunk::Copied(0)) || matches!(chunk, Chunk::Shared(data) if data.is_empty()) {
                self.chunks.pop_front();
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the queue is empty and owns more memory than an idle stream should.
    pub(crate) fn has_spare(&self) -> bool {
        self.len == 0 && (self.copied.capacity() > IDLE_CAPACITY || self.chunks.capacity() > 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Number of cases, operations per case, bytes per operation. Miri is some 10,000 times slower.
    const SCOPE: (u32, usize, usize) = if cfg!(miri) { (2, 6, COPY_MAX + 200) } else { (256, 60, 3000) };

    proptest! {
        #![proptest_config(ProptestConfig { cases: SCOPE.0, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_queue_is_a_byte_fifo(ops in prop::collection::vec((0usize..3, 0..SCOPE.2), 1..SCOPE.1)) {
            let mut queue = Queue::default();
            let mut model: Vec<u8> = Vec::new();
            let mut next = 0u8;
            for (op, n) in ops {
                let data: Vec<u8> = (0..n).map(|_| { next = next.wrapping_add(1); next }).collect();
                match op {
                    0 => { queue.push_copy(&data); model.extend(&data); }
                    1 => { queue.push_bytes(Bytes::from(data.clone())); model.extend(&data); }
                    _ => { queue.consume(n); model.drain(..n.min(model.len())); }
                }
                prop_assert_eq!(queue.len(), model.len());
                for take in [0, n / 2, n, usize::MAX] {
                    let mut slices = Slices::new();
                    queue.front(take, &mut slices);
                    let got: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
                    prop_assert_eq!(&got[..], &model[..take.min(model.len())]);
                }
            }
        }
    }

    #[test]
    fn large_bytes_are_not_copied() {
        let mut queue = Queue::default();
        let data = Bytes::from(vec![7; 4096]);
        let at = data.as_ptr();
        assert_eq!(queue.push_bytes(data), 0);
        let mut slices = Slices::new();
        queue.front(4096, &mut slices);
        assert_eq!(slices[0].as_ptr(), at);
    }
}
