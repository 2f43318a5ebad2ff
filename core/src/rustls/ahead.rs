//! `Ahead`: ciphertext that one large read took and that rustls has not taken yet (R17).

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};

/// The most bytes that one read takes ahead.
pub(crate) const READ_AHEAD: usize = 64 * 1024;
/// Empty buffers that a thread keeps, so that a read neither allocates nor clears one.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Received bytes in a buffer, which belongs to the session only while it has bytes in it.
#[derive(Default)]
pub(super) struct Ahead {
    buf: Option<Box<[u8]>>,
    start: u32,
    end: u32,
}

/// Prints the number of bytes.
impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ahead({} bytes)", self.end - self.start)
    }
}

impl Ahead {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.buf.is_none()
    }

    /// Replaces the contents by those of one read from `reader`, and returns their length. Call it
    /// when there are none.
    pub(super) fn fill(&mut self, reader: &mut dyn Read) -> io::Result<usize> {
        let mut buf = take_spare();
        let read = reader.read(&mut buf);
        self.start = 0;
        self.end = 0;
        match read {
            Ok(len) if (1..=buf.len()).contains(&len) => {
                self.end = len as u32;
                self.buf = Some(buf);
            }
            _ => keep_spare(buf),
        }
        match read {
            Ok(len) if len > READ_AHEAD => Err(overrun(len, READ_AHEAD)),
            done => done,
        }
    }

    /// Whether the last read had room left, so that the transport is likely to be empty.
    pub(super) fn was_short(&self) -> bool {
        (self.end as usize) < READ_AHEAD
    }

    /// The contents.
    pub(super) fn get(&self) -> &[u8] {
        self.buf.as_ref().map_or(&[], |buf| &buf[self.start as usize..self.end as usize])
    }

    /// Removes the contents.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
        if let Some(buf) = self.buf.take() {
            keep_spare(buf);
        }
    }
}

/// Removes the bytes that it returns.
impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.get().read(buf)?;
        self.start += taken as u32;
        if self.start == self.end {
            self.clear();
        }
        Ok(taken)
    }
}

/// The error for a transport that reports more bytes than it was given room for.
pub(super) fn overrun(reported: usize, room: usize) -> io::Error {
    let what = format!("the transport has a bug: it reported {reported} bytes read into a buffer of {room}");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn take_spare() -> Box<[u8]> {
    // No buffers are kept while the thread ends.
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
    spare.unwrap_or_else(|| vec![0; READ_AHEAD].into_boxed_slice())
}

fn keep_spare(buf: Box<[u8]>) {
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(buf);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_kept_only_while_bytes_are_in_it() {
        let mut ahead = Ahead::default();
        let data = [7; 100];
        assert_eq!(ahead.fill(&mut &data[..]).unwrap(), 100);
        let at = ahead.get().as_ptr();
        assert_eq!(ahead.read(&mut [0; 60]).unwrap(), 60);
        assert_eq!(ahead.get(), &data[60..]);
        assert_eq!(ahead.read(&mut [0; 60]).unwrap(), 40);
        assert!(ahead.is_empty() && ahead.get().is_empty());
        assert_eq!(ahead.fill(&mut &data[..]).unwrap(), 100);
        assert_eq!(ahead.get().as_ptr(), at, "the thread's spare buffer is used again");
        ahead.clear();
        assert!(ahead.is_empty());
    }

    #[test]
    fn a_read_without_bytes_keeps_no_buffer() {
        struct Liar;
        impl Read for Liar {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                Ok(buf.len() + 1)
            }
        }
        let mut ahead = Ahead::default();
        assert_eq!(ahead.fill(&mut io::empty()).unwrap(), 0);
        assert!(ahead.is_empty());
        assert_eq!(ahead.fill(&mut Liar).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(ahead.is_empty());
    }
}
