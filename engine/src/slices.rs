//! `Rest`: the slices of a vectored write that have not been accepted.

use std::borrow::Cow;
use std::io::IoSlice;

/// The slices of a vectored write that have not been accepted.
///
/// They are written in steps of a limited number of bytes. Each slice is looked at only a few
/// times, even if a step is accepted in many small parts (R16).
pub(crate) struct Rest<'a, 'b> {
    /// The slices after the step.
    bufs: &'a [IoSlice<'b>],
    /// Bytes of the first of `bufs` that belong to earlier steps.
    taken: usize,
    step: Cow<'a, [IoSlice<'a>]>,
    /// Slices of the step that have been accepted.
    accepted: usize,
    /// Bytes of the step that have not been accepted.
    left: usize,
}

impl<'a, 'b> Rest<'a, 'b> {
    pub(crate) fn new(bufs: &'a [IoSlice<'b>]) -> Self {
        Self { bufs, taken: 0, step: Cow::Borrowed(&[]), accepted: 0, left: 0 }
    }

    /// The rest of the step, or a new step of at most `limit` bytes; its length in bytes; and
    /// whether no slices follow it.
    pub(crate) fn part(&mut self, limit: usize) -> (&[IoSlice<'a>], usize, bool) {
        if self.left == 0 {
            self.next_step(limit);
        }
        (&self.step[self.accepted..], self.left, self.bufs.is_empty())
    }

    /// Removes `len` accepted bytes from the step.
    pub(crate) fn advance(&mut self, len: usize) {
        self.left -= len;
        if len == 0 || self.left == 0 {
            return;
        }
        let mut ahead = &mut self.step.to_mut()[self.accepted..];
        let before = ahead.len();
        IoSlice::advance_slices(&mut ahead, len);
        self.accepted += before - ahead.len();
    }

    fn next_step(&mut self, limit: usize) {
        let (mut len, mut count) = (0, 0);
        for buf in self.bufs {
            if len > limit || (len == limit && !buf.is_empty()) {
                break;
            }
            count_step();
            len += buf.len() - if count == 0 { self.taken } else { 0 };
            count += 1;
        }
        let (step, rest) = self.bufs.split_at(count);
        let excess = len.saturating_sub(limit);
        self.accepted = 0;
        self.left = len - excess;
        self.step = Cow::Borrowed(step);
        if self.taken > 0 || excess > 0 {
            let slices = self.step.to_mut();
            if let Some(last) = slices.last_mut() {
                *last = IoSlice::new(&step[count - 1][..step[count - 1].len() - excess]);
            }
            if let Some(first) = slices.first_mut() {
                let end = first.len();
                *first = IoSlice::new(&step[0][self.taken..end]);
            }
        }
        // The cut slice begins the next step.
        if excess > 0 {
            self.bufs = &self.bufs[count - 1..];
            self.taken = self.bufs[0].len() - excess;
        } else {
            self.bufs = rest;
            self.taken = 0;
        }
    }
}

/// Counts one look at a slice, for the unit tests.
#[inline]
fn count_step() {
    #[cfg(test)]
    tests::STEPS.with(|steps| steps.set(steps.get() + 1));
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(super) static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn the_parts_of_a_list_are_the_list() {
        let data: Vec<u8> = (0..=255).collect();
        for lens in [&[][..] as &[usize], &[0], &[5], &[0, 3, 0, 0, 9, 1, 0], &[100, 1, 1, 1, 50], &[1; 40]] {
            let mut start = 0;
            let bufs: Vec<IoSlice<'_>> = lens
                .iter()
                .map(|len| {
                    start += len;
                    IoSlice::new(&data[start - len..start])
                })
                .collect();
            for limit in [1, 2, 3, 7, 64, 1000] {
                for accepted in [1, 2, 7, 1000] {
                    let mut rest = Rest::new(&bufs);
                    let mut got: Vec<u8> = Vec::new();
                    let mut step_left = 0;
                    loop {
                        let (slices, len, all) = rest.part(limit);
                        let part: Vec<u8> = slices.iter().flat_map(|buf| buf.iter().copied()).collect();
                        if step_left == 0 {
                            step_left = limit.min(start - got.len());
                        }
                        assert_eq!((part.len(), len), (step_left, step_left), "{lens:?} {limit} {accepted}");
                        assert_eq!(part, data[got.len()..got.len() + len]);
                        assert_eq!(all, got.len() + len == start);
                        let taken = len.min(accepted);
                        got.extend(&part[..taken]);
                        rest.advance(taken);
                        step_left -= taken;
                        if got.len() == start {
                            break;
                        }
                    }
                    assert_eq!(got, data[..start]);
                }
            }
        }
    }

    #[test]
    fn each_slice_is_looked_at_once_however_little_is_accepted_at_a_time() {
        let bufs: Vec<_> = (0..10_000).map(|_| IoSlice::new(b"a")).collect();
        for limit in [100, 1 << 20] {
            STEPS.set(0);
            let mut rest = Rest::new(&bufs);
            for _ in 0..1000 {
                assert!(rest.part(limit).1 >= 10);
                rest.advance(10);
            }
            assert_eq!(STEPS.get(), 10_000, "steps of {limit}");
        }
    }
}
