//! A socket that counts what is sent and read through it.

use std::io::{self, IoSlice, Read, Write};

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use tls_cork_mio::Transport;
use tls_cork_testing::RecordCounter;

/// Totals of one connection, counted where the bytes meet the socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// TLS records sent; zero without TLS.
    pub records: u64,
    /// System calls that sent, or tried to send, on the socket.
    pub sends: u64,
    /// System calls that read, or tried to.
    pub reads: u64,
    /// Bytes the socket took.
    pub wire_bytes: u64,
}

impl Counters {
    /// What has been added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            records: self.records - earlier.records,
            sends: self.sends - earlier.sends,
            reads: self.reads - earlier.reads,
            wire_bytes: self.wire_bytes - earlier.wire_bytes,
        }
    }
}

#[derive(Debug)]
pub(crate) struct CountingSocket {
    stream: TcpStream,
    sends: u64,
    reads: u64,
    wire_bytes: u64,
    records: Option<RecordCounter>,
}

impl CountingSocket {
    pub(crate) fn tls(stream: TcpStream) -> Self {
        Self { records: Some(RecordCounter::default()), ..Self::cleartext(stream) }
    }

    pub(crate) fn cleartext(stream: TcpStream) -> Self {
        Self { stream, sends: 0, reads: 0, wire_bytes: 0, records: None }
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            records: self.records.as_ref().map_or(0, RecordCounter::records),
            sends: self.sends,
            reads: self.reads,
            wire_bytes: self.wire_bytes,
        }
    }

    /// Holds back partial segments, or lets them go.
    pub(crate) fn set_cork(&self, cork: bool) -> io::Result<()> {
        SockRef::from(&self.stream).set_tcp_cork(cork)
    }

    /// Ends our direction of the TCP connection.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    fn count(&mut self, bufs: &[IoSlice<'_>], result: &io::Result<usize>) {
        self.sends += 1;
        let Ok(sent) = result else { return };
        self.wire_bytes += *sent as u64;
        if let Some(records) = &mut self.records {
            records.advance_slices(bufs, *sent, |_, _| ());
        }
    }
}

impl Read for CountingSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        self.stream.read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        self.reads += 1;
        self.stream.read_vectored(bufs)
    }
}

impl Write for CountingSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.stream.write(buf);
        self.count(&[IoSlice::new(buf)], &result);
        result
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.stream.write_vectored(bufs);
        self.count(bufs, &result);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Sends as tls-cork-mio itself does for a TCP stream, so that what is measured is what it ships.
impl Transport for CountingSocket {
    fn send(&mut self, bufs: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let result = self.stream.send(bufs, more);
        self.count(bufs, &result);
        result
    }

    fn is_drained_by_short_read(&self) -> bool {
        self.stream.is_drained_by_short_read()
    }
}

impl Source for CountingSocket {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.stream.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.stream.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.deregister(registry)
    }
}
