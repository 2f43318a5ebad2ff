//! All pieces of a burst in one vectored write.

use std::io::{self, IoSlice};

/// The pieces that came so far. Its memory is used again for the next burst.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<IoSlice<'static>>);

impl Pieces {
    /// Keeps `piece`; with the last one hands all of them to `write`, and again what a short write
    /// left.
    pub(super) async fn write(
        &mut self,
        piece: &'static [u8],
        last: bool,
        mut write: impl AsyncFnMut(&[IoSlice<'static>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.0.push(IoSlice::new(piece));
        if !last {
            return Ok(());
        }
        let mut left = &mut self.0[..];
        while !left.is_empty() {
            match write(left).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                taken => IoSlice::advance_slices(&mut left, taken),
            }
        }
        self.0.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;

    #[test]
    fn what_short_writes_leave_is_written_until_nothing_is_left() {
        let mut pieces = Pieces::default();
        for burst in 0..2 {
            let mut taken = Vec::new();
            let mut seen = Vec::new();
            for (piece, last) in [(&b"head"[..], false), (b"payload", false), (b"x", true)] {
                let take_six = async |left: &[IoSlice<'static>]| {
                    seen.push(left.len());
                    let all: Vec<u8> = left.iter().flat_map(|slice| slice.iter().copied()).collect();
                    taken.extend_from_slice(&all[..all.len().min(6)]);
                    Ok(all.len().min(6))
                };
                now(pieces.write(piece, last, take_six)).expect("it takes all");
            }
            assert_eq!((taken.as_slice(), seen), (&b"headpayloadx"[..], vec![3, 2]), "burst {burst}");
        }
    }

    #[test]
    fn a_writer_that_takes_nothing_is_an_error() {
        let written = now(Pieces::default().write(b"x", true, async |_| Ok(0)));
        assert_eq!(written.expect_err("nothing taken").kind(), io::ErrorKind::WriteZero);
    }
}
