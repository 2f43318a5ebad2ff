//! What users of a blocking TLS stream write: each piece by itself, or through a buffer.

use std::io::{self, BufWriter, Write};

use super::BUFFER;
use crate::commands::peers::seat::Stack;
use crate::shared::socket::Counters;

/// A TLS stream over a blocking socket.
pub(super) trait Session: Write {
    fn close(&mut self) -> io::Result<()>;

    fn counters(&self) -> Counters;
}

pub(super) struct Unbuffered<S>(pub(super) S);

pub(super) struct Buffered<S: Session>(BufWriter<S>);

impl<S: Session> Buffered<S> {
    pub(super) fn new(session: S) -> Self {
        Self(BufWriter::with_capacity(BUFFER, session))
    }
}

impl<S: Session> Stack for Unbuffered<S> {
    async fn write(&mut self, piece: &'static [u8], _last: bool) -> io::Result<()> {
        self.0.write_all(piece)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.close()
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }
}

impl<S: Session> Stack for Buffered<S> {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        self.0.write_all(piece)?;
        if last { self.0.flush() } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.get_mut().close()
    }

    fn counters(&self) -> Counters {
        self.0.get_ref().counters()
    }
}
