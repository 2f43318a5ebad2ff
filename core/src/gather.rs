//! Parts of a list of slices (R4, R16).

use std::io::IoSlice;

use smallvec::SmallVec;

/// Slices that are read one after the other. The inline capacity suffices for most turns.
pub(crate) type Slices<'a> = SmallVec<[IoSlice<'a>; 16]>;

#[inline]
pub(crate) fn total(bufs: &[IoSlice<'_>]) -> usize {
    if let [one] = bufs {
        return step(one.len());
    }
    bufs.iter().map(|buf| step(buf.len())).sum()
}

/// The total length of `bufs`; if that exceeds `limit`, some number over `limit`. Stops at the
/// slice that exceeds it.
#[inline]
pub(crate) fn total_up_to(bufs: &[IoSlice<'_>], limit: usize) -> usize {
    let mut sum = 0usize;
    for buf in bufs {
        sum = sum.saturating_add(step(buf.len()));
        if sum > limit {
            break;
        }
    }
    sum
}

/// Calls `each` with the non-empty pieces of the `len` bytes that follow the first `skip` bytes of
/// `bufs`.
pub(crate) fn pieces<'a>(bufs: &'a [IoSlice<'_>], skip: usize, len: usize, each: impl FnMut(&'a [u8])) {
    let mut pieces = Pieces::new(bufs);
    pieces.take(skip, |_| ());
    pieces.take(len, each);
}

/// A cursor over a list of slices. It moves forward only, so that taking a whole list piece by
/// piece costs one walk (R16).
#[derive(Clone, Debug)]
pub(crate) struct Pieces<'a, 'b> {
    bufs: &'a [IoSlice<'b>],
    /// Bytes already taken of the first slice.
    taken: usize,
}

impl<'a, 'b> Pieces<'a, 'b> {
    pub(crate) fn new(bufs: &'a [IoSlice<'b>]) -> Self {
        Self { bufs, taken: 0 }
    }

    /// Calls `each` with the non-empty pieces of the next `len` bytes, or of all that are left.
    pub(crate) fn take(&mut self, mut len: usize, mut each: impl FnMut(&'a [u8])) {
        while len > 0
            && let Some((first, rest)) = self.bufs.split_first()
        {
            let left = step(first.len()) - self.taken;
            let piece = &first[self.taken..self.taken + left.min(len)];
            if !piece.is_empty() {
                each(piece);
            }
            len -= piece.len();
            if piece.len() < left {
                self.taken += piece.len();
                return;
            }
            self.bufs = rest;
            self.taken = 0;
        }
    }
}

/// Every access to a slice's length goes through here, so that tests can count them.
#[inline]
fn step(len: usize) -> usize {
    count_steps(1);
    len
}

/// Counts accesses to slices; does nothing outside of unit tests.
#[inline]
pub(crate) fn count_steps(_count: usize) {
    #[cfg(test)]
    tests::STEPS.with(|steps| steps.set(steps.get() + _count));
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use super::*;
    use crate::{CorkConfig, CorkPolicy, Passthrough, SendFlags};

    thread_local! {
        pub(crate) static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// The number of accesses to slices in `work`.
    pub(crate) fn steps_of(work: impl FnOnce()) -> usize {
        STEPS.set(0);
        work();
        STEPS.get()
    }

    #[test]
    fn every_part_is_what_it_would_be_of_the_whole() {
        let parts: [&[u8]; 5] = [b"ab", b"", b"cdef", b"g", b""];
        let bufs: Vec<_> = parts.iter().map(|p| IoSlice::new(p)).collect();
        let whole = parts.concat();
        assert_eq!(total(&bufs), whole.len());
        for skip in 0..=whole.len() {
            for len in 0..=whole.len() - skip {
                let mut got = Vec::new();
                pieces(&bufs, skip, len, |piece| {
                    assert!(!piece.is_empty());
                    got.extend_from_slice(piece);
                });
                assert_eq!(got, whole[skip..skip + len], "{skip} {len}");
            }
        }
    }

    #[test]
    fn a_total_looks_no_further_than_its_limit() {
        let bufs: Vec<_> = (0..100).map(|_| IoSlice::new(b"abc")).collect();
        assert_eq!(total_up_to(&bufs, 300), 300);
        assert_eq!(total_up_to(&bufs, 299), 300);
        let mut sum = 0;
        let steps = steps_of(|| sum = total_up_to(&bufs, 8));
        assert!(sum > 8 && steps == 3, "{sum} {steps}");
        assert_eq!(total_up_to(&[], 0), 0);
    }

    #[test]
    fn taking_a_list_record_by_record_walks_over_it_once() {
        let bufs: Vec<_> = (0..1000).map(|_| IoSlice::new(b"a")).collect();
        let mut got = 0;
        let steps = steps_of(|| {
            let mut pieces = Pieces::new(&bufs);
            for _ in 0..100 {
                pieces.take(10, |piece| got += piece.len());
            }
        });
        assert_eq!((got, steps), (1000, 1000));
    }

    /// The accesses to slices while a driver sends `count` one-byte slices in batches of `batch`
    /// bytes.
    fn steps_to_send(count: usize, batch: usize, now: Instant) -> usize {
        let config = CorkConfig::default().record_size(batch / 4).batch_size(batch..=batch);
        let mut policy = CorkPolicy::new(Passthrough::new(), config).unwrap();
        let mut bufs: Vec<_> = (0..count).map(|_| IoSlice::new(b"a")).collect();
        let mut rest = &mut bufs[..];
        steps_of(|| {
            while !rest.is_empty() {
                let written = policy.write(now, rest, SendFlags::NONE).unwrap();
                IoSlice::advance_slices(&mut rest, written.accepted);
                policy.poll_transmit(&mut Vec::new()).unwrap();
            }
        })
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // the start of virtual time
    fn a_vectored_write_costs_steps_in_proportion_to_its_slices() {
        let now = Instant::now();
        // Miri is some thousand times slower.
        for batch in [64, if cfg!(miri) { 128 } else { 2048 }] {
            let (some, many) = (steps_to_send(4 * batch, batch, now), steps_to_send(16 * batch, batch, now));
            assert!(many <= 4 * some + some / 10, "{batch}: {some} steps, and {many} for four times the slices");
            assert!(many <= 5 * 16 * batch, "{batch}: {many}");
        }
    }
}
