//! `Session`: what the engine needs of a TLS session.

use std::io::{self, IoSlice, Read};
use std::time::Instant;

use bytes::Bytes;
use tls_cork::{Connection, ReceiveError, SendFlags, TransmitError, Transmitted, WriteError};

/// A session without I/O: a TLS [`Connection`], or a replacement for tests without a handshake.
///
/// Each method does the same as the method of [`Connection`] with that name.
pub trait Session {
    /// Writes `bufs` as one write, and returns the number of bytes accepted, from the front.
    ///
    /// # Errors
    ///
    /// As [`Connection::write`].
    fn write(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, WriteError>;

    /// Writes `data` if that only extends the held tail; otherwise returns false and writes nothing.
    fn join_held(&mut self, data: &[u8], flags: SendFlags) -> bool;

    /// Writes `data`, splits the accepted bytes off its front, and returns their number.
    ///
    /// # Errors
    ///
    /// As [`Connection::write_bytes`].
    fn write_bytes(&mut self, now: Instant, data: &mut Bytes, flags: SendFlags) -> Result<usize, WriteError>;

    /// Holds the tail of every write until [`uncork`](Self::uncork).
    fn cork(&mut self, now: Instant);

    /// Ends [`cork`](Self::cork) and releases everything.
    fn uncork(&mut self, now: Instant);

    /// Whether [`cork`](Self::cork) is on.
    fn is_corked(&self) -> bool;

    /// Releases everything.
    fn flush(&mut self, now: Instant);

    /// Releases everything, puts the end of the stream behind the last byte, and refuses writes.
    fn close(&mut self, now: Instant);

    /// Discards plaintext that is not sealed and refuses writes. Returns the number of accepted
    /// bytes discarded.
    fn abort(&mut self) -> usize;

    /// Releases held bytes if their deadline has come.
    fn handle_timeout(&mut self, now: Instant);

    /// Releases held bytes, because the caller is about to sleep until the peer sends.
    fn handle_read_wait(&mut self, now: Instant);

    /// The time at which to call [`handle_timeout`](Self::handle_timeout); `None` if nothing is
    /// due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether a transmit would do something: offer output, seal plaintext, or return an error.
    fn wants_transmit(&self) -> bool;

    /// Passes output to `send` until nothing may leave, about `limit` bytes have left, or `send`
    /// returns `WouldBlock`.
    ///
    /// # Errors
    ///
    /// As [`Connection::transmit_up_to`].
    fn transmit_up_to(
        &mut self,
        limit: usize,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError>;

    /// Reads once from `reader` and returns the number of bytes; zero is the transport's end.
    ///
    /// # Errors
    ///
    /// As [`Connection::receive_from`]: those of `reader` as [`ReceiveError::Io`], `WouldBlock` and
    /// `Interrupted` included. After any other error, output such as an alert can still leave.
    fn receive_from(&mut self, now: Instant, reader: &mut dyn Read) -> Result<usize, ReceiveError>;

    /// Copies received plaintext into `buf` and returns the number of bytes.
    ///
    /// # Errors
    ///
    /// As [`Connection::read`]: `WouldBlock` if there is none yet.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Received plaintext, the same until a read or [`consume`](Self::consume) takes bytes of it.
    ///
    /// # Errors
    ///
    /// As [`Connection::fill_buf`]: `WouldBlock` if there is none yet.
    fn fill_buf(&mut self) -> io::Result<&[u8]>;

    /// Takes the first `len` bytes of those that [`fill_buf`](Self::fill_buf) returns, or all of
    /// them if they are fewer.
    fn consume(&mut self, len: usize);

    /// Room in the buffer for plaintext, in bytes.
    fn send_capacity(&self) -> usize;

    /// Accepted bytes that are not sealed yet.
    fn waiting(&self) -> usize;

    /// Whether a close is complete: all accepted bytes and the end of the stream have been
    /// transmitted.
    fn is_finished(&self) -> bool;

    /// Whether writes are refused: after a close, an abort or a failure.
    fn is_write_closed(&self) -> bool;

    /// Whether the handshake is still going on.
    fn is_handshaking(&self) -> bool;

    /// Accepted bytes that a failure has discarded.
    fn lost_bytes(&self) -> usize;
}

impl Session for Connection {
    #[inline]
    fn write(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, WriteError> {
        self.write(now, bufs, flags).map(|written| written.accepted)
    }

    #[inline]
    fn join_held(&mut self, data: &[u8], flags: SendFlags) -> bool {
        self.join_held(data, flags)
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
    fn is_corked(&self) -> bool {
        self.is_corked()
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
