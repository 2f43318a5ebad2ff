//! Parts of a list of slices.

use std::io::IoSlice;

use smallvec::SmallVec;

/// Slices to be read one after the other; as many as most turns need without the heap.
pub(crate) type Slices<'a> = SmallVec<[IoSlice<'a>; 16]>;

#[inline]
pub(crate) fn total(bufs: &[IoSlice<'_>]) -> usize {
    bufs.iter().map(|buf| buf.len()).sum()
}

/// Calls `each` with the non-empty pieces of `bufs` that make up `len` bytes after the first `skip`.
pub(crate) fn pieces<'a>(bufs: &'a [IoSlice<'_>], mut skip: usize, mut len: usize, mut each: impl FnMut(&'a [u8])) {
    for buf in bufs {
        if len == 0 {
            return;
        }
        if skip >= buf.len() {
            skip -= buf.len();
            continue;
        }
        let piece = &buf[skip..buf.len().min(skip.saturating_add(len))];
        skip = 0;
        len -= piece.len();
        each(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
