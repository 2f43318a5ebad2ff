//! What the engine needs of a session.

use std::io::{self, IoSlice, Read};
use std::time::Instant;

use bytes::Bytes;
use tls_cork::{Connection, ReceiveError, SendFlags, TransmitError, Transmitted, WriteError};

/// A session without I/O: a TLS [`Connection`], or a test's stand-in that needs no handshake.
///
/// Each method does what the one of [`Connection`] with that name does.
pub trait Session {
    /// Accepts a prefix of `bufs`, as one write, and returns its length.
    ///
    /// # Errors
    ///
    /// As [`Connection::write`].
    fn write(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, WriteError>;

    /// Accepts a prefix of `data`, splits it off, and returns its length.
    ///
    /// # Errors
    ///
    /// As [`Connection::write_bytes`].
    fn write_bytes(&mut self, now: Instant, data: &mut Bytes, flags: SendFlags) -> Result<usize, WriteError>;

    /// Holds the tail of every write until [`uncork`](Self::uncork).
    fn cork(&mut self, now: Instant);

    /// Ends [`cork`](Self::cork) and releases everything.
    fn uncork(&mut self, now: Instant);

    /// Releases everything.
    fn flush(&mut self, now: Instant);

    /// Releases everything, and ends the stream behind it.
    fn close(&mut self, now: Instant);

    /// Gives up what is not sealed yet, and returns how many accepted bytes that costs.
    fn abort(&mut self) -> usize;

    /// Releases what is held if its deadline has come.
    fn handle_timeout(&mut self, now: Instant);

    /// Releases what is held, since the caller is about to sleep until the peer sends.
    fn handle_read_wait(&mut self, now: Instant);

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether something may leave.
    fn wants_transmit(&self) -> bool;

    /// Passes what may leave to `send`, about `limit` bytes of it, until `send` says `WouldBlock`.
    ///
    /// # Errors
    ///
    /// As [`Connection::transmit_up_to`].
    fn transmit_up_to(
        &mut self,
        limit: usize,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError>;

    /// Reads once from `reader` and returns how many bytes that were; zero is the transport's end.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive_from`]: those of `reader` as [`ReceiveError::Io`], `WouldBlock` and
    /// `Interrupted` included. After any other, what may leave still leaves.
    fn receive_from(&mut self, now: Instant, reader: &mut dyn Read) -> Result<usize, ReceiveError>;

    /// Gives received plaintext.
    ///
    /// # Errors
    ///
    /// As [`Connection::read`]: `WouldBlock` if there is none yet.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Shows received plaintext, the same until a read or [`consume`](Self::consume) takes it.
    ///
    /// # Errors
    ///
    /// As [`Connection::fill_buf`]: `WouldBlock` if there is none yet.
    fn fill_buf(&mut self) -> io::Result<&[u8]>;

    /// Takes the first `len` bytes of what [`fill_buf`](Self::fill_buf) shows, or all of them if
    /// they are fewer.
    fn consume(&mut self, len: usize);

    /// How many bytes the next write accepts.
    fn send_capacity(&self) -> usize;

    /// Accepted bytes that are not sealed yet.
    fn waiting(&self) -> usize;

    /// Whether the stream was closed and all of it, with its end, has left.
    fn is_finished(&self) -> bool;

    /// Whether writes are refused: after a close, an abort or a failure.
    fn is_write_closed(&self) -> bool;

    /// Whether the handshake is still going on.
    fn is_handshaking(&self) -> bool;

    /// As [`Connection::lost_bytes`].
    fn lost_bytes(&self) -> usize;
}

impl Session for Connection {
    #[inline]
    fn write(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, WriteError> {
        self.write(now, bufs, flags).map(|written| written.accepted)
    }

    #[inline]
    fn write_bytes(&mut self, now: Instant, data: &mut Bytes, flags: SendFlags) -> Result<usize, WriteError> {
        self.write_bytes(now, data, flags).map(|written| written.accepted)
    }

    fn abort(&mut self) -> usize {
        self.abort()
    }

    #[inline]
    fn cork(&mut self, now: Instant) {
        self.cork(now);
    }

    #[inline]
    fn uncork(&mut self, now: Instant) {
        let _ = self.uncork(now);
    }

    #[inline]
    fn flush(&mut self, now: Instant) {
        let _ = self.flush(now);
    }

    #[inline]
    fn close(&mut self, now: Instant) {
        let _ = self.close(now);
    }

    #[inline]
    fn handle_timeout(&mut self, now: Instant) {
        let _ = self.handle_timeout(now);
    }

    #[inline]
    fn handle_read_wait(&mut self, now: Instant) {
        let _ = self.handle_read_wait(now);
    }

    #[inline]
    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    #[inline]
    fn wants_transmit(&self) -> bool {
        self.wants_transmit()
    }

    #[inline]
    fn transmit_up_to(
        &mut self,
        limit: usize,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.transmit_up_to(limit, send)
    }

    #[inline]
    fn receive_from(&mut self, now: Instant, reader: &mut dyn Read) -> Result<usize, ReceiveError> {
        self.receive_from(now, reader).map(|received| received.bytes)
    }

    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read(buf)
    }

    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill_buf()
    }

    #[inline]
    fn consume(&mut self, len: usize) {
        self.consume(len);
    }

    #[inline]
    fn send_capacity(&self) -> usize {
        self.send_capacity()
    }

    #[inline]
    fn waiting(&self) -> usize {
        self.waiting()
    }

    #[inline]
    fn is_finished(&self) -> bool {
        self.is_finished()
    }

    #[inline]
    fn is_write_closed(&self) -> bool {
        self.is_write_closed()
    }

    #[inline]
    fn is_handshaking(&self) -> bool {
        self.is_handshaking()
    }

    #[inline]
    fn lost_bytes(&self) -> usize {
        self.lost_bytes()
    }
}
