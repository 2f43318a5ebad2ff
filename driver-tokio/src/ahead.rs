//! Plaintext that a caller looks at before it takes it.

use std::io;
use std::task::{Poll, ready};

/// As much as one record brings.
const SIZE: usize = 16 * 1024;

/// Received plaintext for `AsyncBufRead`, outside of the engine: a caller may look at it while the
/// deadline task uses the engine.
///
/// A stream that waits for plaintext, or that is not read through `AsyncBufRead`, has no buffer.
#[derive(Debug, Default)]
pub struct Ahead {
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Ahead {
    pub(crate) fn get(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
    }

    /// Has `read` fill the buffer if it is empty.
    pub(crate) fn poll_fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        if !self.get().is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut buf = std::mem::take(&mut self.buf);
        buf.resize(SIZE, 0);
        let len = ready!(read(&mut buf))?;
        *self = Self { buf, start: 0, end: len };
        Poll::Ready(Ok(()))
    }
}
