//! Polls as the non-blocking calls that rustls takes.

use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll};

use crate::Transport;

pub(crate) fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Maps `Ready` to true and `Pending` to false.
pub(crate) fn or_pending(poll: Poll<io::Result<()>>) -> io::Result<bool> {
    match poll {
        Poll::Ready(done) => done.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

/// Adapts [`Transport::poll_read`] to [`Read`]: `Pending` becomes `WouldBlock`.
#[derive(Debug)]
pub struct Reader<'a, 'b, IO> {
    io: &'a mut IO,
    cx: &'a mut Context<'b>,
}

impl<'a, 'b, IO> Reader<'a, 'b, IO> {
    /// A reader of `io` that wakes the task of `cx`.
    pub fn new(io: &'a mut IO, cx: &'a mut Context<'b>) -> Self {
        Self { io, cx }
    }
}

impl<IO: Transport> Read for Reader<'_, '_, IO> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        or_would_block(self.io.poll_read(self.cx, buf))
    }
}

/// Adapts [`Transport::poll_send`] to [`Write`]: `Pending` becomes `WouldBlock`.
pub(crate) struct Writer<'a, 'b, IO> {
    pub(crate) io: &'a mut IO,
    pub(crate) cx: &'a mut Context<'b>,
}

impl<IO: Transport> Write for Writer<'_, '_, IO> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        or_would_block(self.io.poll_send(self.cx, &[IoSlice::new(buf)], false))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
