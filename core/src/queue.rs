//! Plaintext that waits to be sealed: small writes are copied together, large `Bytes` are kept.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::mem;

use bytes::Bytes;

use crate::gather::Slices;

/// `Bytes` up to this length are copied: the copy costs less than one more slice.
const COPY_MAX: usize = 1024;
/// An idle queue keeps a buffer of at most this size.
const IDLE_CAPACITY: usize = 128;
/// A thread keeps a buffer of at most this size for the queue that needs one next.
const SPARE_CAPACITY: usize = 128 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Default)]
pub(crate) struct Queue {
    /// All copied bytes, in order. The first `consumed` of them have left the queue.
    copied: Vec<u8>,
    consumed: usize,
    /// Shared bytes, each behind the number of copied bytes that precede it.
    shared: VecDeque<(usize, Bytes)>,
    /// The sum of these numbers: copied bytes with shared ones behind them.
    copied_before: usize,
    shared_len: usize,
}

impl fmt::Debug for Queue {
    /// Omits the plaintext, which does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Queue {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.copied_len() + self.shared_len
    }

    #[inline]
    fn copied_len(&self) -> usize {
        self.copied.len() - self.consumed
    }

    #[inline]
    pub(crate) fn push_copy(&mut self, data: &[u8]) {
        if self.copied.capacity() - self.copied.len() < data.len() {
            self.make_room(data.len());
        }
        self.copied.extend_from_slice(data);
    }

    /// Makes room for `len` more copied bytes. Over time, it moves a few bytes for each byte that is
    /// pushed or consumed. The capacity is at most twice the contents or what one push needs.
    #[cold]
    fn make_room(&mut self, len: usize) {
        // Whether a buffer is larger than an idle queue's must not depend on other queues.
        if self.copied.capacity() == 0 && len > IDLE_CAPACITY {
            self.copied = SPARE.try_with(Cell::take).unwrap_or_default();
        }
        let left = self.copied_len();
        if self.consumed > 0 && self.consumed >= left / 2 {
            self.copied.copy_within(self.consumed.., 0);
            self.copied.truncate(left);
            self.consumed = 0;
        }
        if self.consumed == 0 {
            self.copied.reserve(len);
            return;
        }
        let mut moved = Vec::with_capacity(left + len.max(left / 2));
        moved.extend_from_slice(&self.copied[self.consumed..]);
        self.copied = moved;
        self.consumed = 0;
    }

    /// Appends `data`; returns the number of bytes copied.
    pub(crate) fn push_bytes(&mut self, data: Bytes) -> usize {
        if data.len() <= COPY_MAX {
            self.push_copy(&data);
            return data.len();
        }
        let before = self.copied_len() - self.copied_before;
        self.copied_before += before;
        self.shared_len += data.len();
        self.shared.push_back((before, data));
        0
    }

    /// All bytes of the queue, if they are `len` copied ones.
    #[inline]
    pub(crate) fn whole(&self, len: usize) -> Option<&[u8]> {
        let copied = &self.copied[self.consumed..];
        (copied.len() == len && self.shared.is_empty()).then_some(copied)
    }

    /// Appends the first `n` bytes of the queue, or all of it, to `slices`.
    pub(crate) fn front<'a>(&'a self, mut n: usize, slices: &mut Slices<'a>) {
        let mut copied = &self.copied[self.consumed..];
        let mut push = |piece: &'a [u8]| {
            let take = n.min(piece.len());
            if take > 0 {
                slices.push(IoSlice::new(&piece[..take]));
            }
            n -= take;
            n > 0
        };
        if self.shared.is_empty() {
            push(copied);
            return;
        }
        for (before, data) in &self.shared {
            let (piece, rest) = copied.split_at(*before);
            copied = rest;
            if !push(piece) || !push(data) {
                return;
            }
        }
        push(copied);
    }

    /// Removes the first `n` bytes, or all.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        if self.shared.is_empty() && n >= self.copied_len() {
            self.copied.clear();
            self.consumed = 0;
        } else {
            self.consume_part(n);
        }
    }

    fn consume_part(&mut self, n: usize) {
        let mut left = n.min(self.len());
        while left > 0
            && let Some((before, data)) = self.shared.front_mut()
        {
            let copied = left.min(*before);
            *before -= copied;
            self.copied_before -= copied;
            self.consumed += copied;
            left -= copied;
            let shared = left.min(data.len());
            bytes::Buf::advance(data, shared);
            self.shared_len -= shared;
            left -= shared;
            if data.is_empty() {
                self.shared.pop_front();
            }
        }
        self.consumed += left;
        if self.consumed == self.copied.len() {
            self.copied.clear();
            self.consumed = 0;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives the buffer of an empty queue to the thread.
    pub(crate) fn give_back(&mut self) {
        if self.has_spare() {
            self.shared = VecDeque::new();
            let copied = mem::take(&mut self.copied);
            if (IDLE_CAPACITY + 1..=SPARE_CAPACITY).contains(&copied.capacity()) {
                // None is kept while the thread ends.
                let _ = SPARE.try_with(|spare| spare.set(copied));
            }
        }
    }

    /// Whether the queue is empty and owns more memory than an idle stream should.
    pub(crate) fn has_spare(&self) -> bool {
        self.len() == 0 && (self.copied.capacity() > IDLE_CAPACITY || self.shared.capacity() > 4)
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
    fn a_queue_that_never_empties_takes_a_bounded_buffer() {
        let mut queue = Queue::default();
        for (step, left) in [(100, 1000), (1000, 100), (3, 5)] {
            queue.push_copy(&vec![1; left]);
            for _ in 0..if cfg!(miri) { 100 } else { 100_000 } {
                queue.push_copy(&[2; 1000][..step]);
                queue.consume(step);
            }
            assert!(queue.copied.capacity() <= 3 * (left + step), "{} for {left}", queue.copied.capacity());
            queue.clear();
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
