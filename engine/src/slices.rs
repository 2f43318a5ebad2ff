//! What is left of a list of slices.

use std::borrow::Cow;
use std::io::IoSlice;

/// The slices of a vectored write that have not been accepted. Taking a list in parts costs one walk over it.
pub(crate) struct Rest<'a, 'b> {
    bufs: &'a [IoSlice<'b>],
    /// Bytes of the first of `bufs` that have been accepted.
    taken: usize,
}

impl<'a, 'b> Rest<'a, 'b> {
    pub(crate) fn new(bufs: &'a [IoSlice<'b>]) -> Self {
        Self { bufs, taken: 0 }
    }

    /// The next `limit` bytes (or all that are left), how many they are, and whether they are all.
    pub(crate) fn part(&self, limit: usize) -> (Cow<'a, [IoSlice<'a>]>, usize, bool) {
        let (mut len, mut count) = (0, 0);
        for buf in self.bufs {
            if len > limit || (len == limit && !buf.is_empty()) {
                break;
            }
            len += buf.len() - if count == 0 { self.taken } else { 0 };
            count += 1;
        }
        let all = count == self.bufs.len() && len <= limit;
        let whole = &self.bufs[..count];
        if self.taken == 0 && len <= limit {
            return (Cow::Borrowed(whole), len, all);
        }
        let mut part: Vec<IoSlice<'a>> = whole.iter().map(|buf| IoSlice::new(buf)).collect();
        if let Some(first) = part.first_mut() {
            *first = IoSlice::new(&whole[0][self.taken..]);
        }
        if let (Some(last), Some(excess)) = (part.last_mut(), len.checked_sub(limit)) {
            let start = if count == 1 { self.taken } else { 0 };
            let buf = &whole[count - 1];
            *last = IoSlice::new(&buf[start..buf.len() - excess]);
        }
        (Cow::Owned(part), len.min(limit), all)
    }

    /// `len` bytes of it were accepted.
    pub(crate) fn advance(&mut self, len: usize) {
        self.taken += len;
        while let Some((first, rest)) = self.bufs.split_first()
            && first.len() <= self.taken
        {
            self.taken -= first.len();
            self.bufs = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                    loop {
                        let (slices, len, all) = rest.part(limit);
                        let part: Vec<u8> = slices.iter().flat_map(|buf| buf.iter().copied()).collect();
                        assert_eq!(part.len(), len, "{lens:?} {limit} {accepted}");
                        assert_eq!(part, data[got.len()..got.len() + len]);
                        assert_eq!(len, limit.min(start - got.len()));
                        assert_eq!(all, got.len() + len == start);
                        let taken = len.min(accepted);
                        got.extend(&part[..taken]);
                        rest.advance(taken);
                        if got.len() == start {
                            break;
                        }
                    }
                    assert_eq!(got, data[..start]);
                }
            }
        }
    }
}
