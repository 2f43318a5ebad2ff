//! Streams after the handshake: client side, server side, and an enum of both.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tls_cork::{Connection, SendFlags, Stats};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::handle::{Handle, Reads};
use crate::keeper::Engine;
use crate::polls::{
    poll_fill_buf, poll_read, poll_send, poll_send_all, poll_send_all_bytes, poll_send_bytes, poll_send_vectored,
    poll_write, poll_write_vectored,
};

/// The client side.
pub mod client {
    use crate::Stream;
    use crate::handle::{Client, Own};

    /// The client side of a TLS stream over `IO`, with flags on its writes.
    pub type TlsStream<IO> = Stream<Own<IO, Client>>;
}

/// The server side.
pub mod server {
    use crate::Stream;
    use crate::handle::{Own, Server};

    /// The server side of a TLS stream over `IO`, with flags on its writes.
    pub type TlsStream<IO> = Stream<Own<IO, Server>>;
}

/// Either side of a TLS stream over `IO`, with flags on its writes.
///
/// Each method does the same as the method of [`Stream`](crate::Stream) with that name.
pub enum TlsStream<IO> {
    /// The client side.
    Client(client::TlsStream<IO>),
    /// The server side.
    Server(server::TlsStream<IO>),
}

impl<IO> Handle for TlsStream<IO> {
    type Io = IO;

    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        match self {
            Self::Client(stream) => stream.0.with(f),
            Self::Server(stream) => stream.0.with(f),
        }
    }

    fn hold<T>(&mut self, more: bool, f: impl FnOnce(&mut Engine<IO>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self {
            Self::Client(stream) => stream.0.hold(more, f),
            Self::Server(stream) => stream.0.hold(more, f),
        }
    }

    fn join(&mut self, f: impl FnOnce(&mut Engine<IO>) -> bool) -> bool {
        match self {
            Self::Client(stream) => stream.0.join(f),
            Self::Server(stream) => stream.0.join(f),
        }
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        match self {
            Self::Client(stream) => stream.0.look(f),
            Self::Server(stream) => stream.0.look(f),
        }
    }
}

impl<IO> Reads for TlsStream<IO> {
    fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Self::Client(stream) => stream.0.poll_fill_buf(cx),
            Self::Server(stream) => stream.0.poll_fill_buf(cx),
        }
    }

    fn consume(&mut self, len: usize)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Self::Client(stream) => stream.0.consume(len),
            Self::Server(stream) => stream.0.consume(len),
        }
    }
}

/// Prints the [`Connection`], on one short line.
impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(stream) => stream.fmt(f),
            Self::Server(stream) => stream.fmt(f),
        }
    }
}

impl<IO> TlsStream<IO> {
    /// The transport, and the session: its negotiated parameters, and how many bytes wait. Held
    /// bytes are released first.
    ///
    /// As [`Stream::get_ref`](crate::Stream::get_ref).
    pub fn get_ref(&self) -> (&IO, &Connection) {
        match self {
            Self::Client(stream) => stream.get_ref(),
            Self::Server(stream) => stream.get_ref(),
        }
    }

    /// As [`get_ref`](Self::get_ref), with a mutable reference to the transport, for example to set
    /// its options. Reading from the transport or writing to it breaks the stream.
    pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
        match self {
            Self::Client(stream) => stream.get_mut(),
            Self::Server(stream) => stream.get_mut(),
        }
    }

    /// Calls `f` with the transport and the session. Releases nothing.
    pub fn with_ref<R>(&self, f: impl FnOnce(&IO, &Connection) -> R) -> R {
        self.look(|engine| f(&engine.io().inner, engine.session()))
    }

    /// Returns the transport and the session.
    ///
    /// As [`Stream::into_inner`](crate::Stream::into_inner).
    pub fn into_inner(self) -> (IO, Connection) {
        match self {
            Self::Client(stream) => stream.into_inner(),
            Self::Server(stream) => stream.into_inner(),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Sends `data` as send(2) does, and returns the number of bytes accepted, from the front.
    ///
    /// # Errors
    ///
    /// As [`Stream::send`](crate::Stream::send).
    pub async fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, data, flags)).await
    }

    /// As [`send`](Self::send), from several slices that make one write (R4).
    ///
    /// # Errors
    ///
    /// As [`Stream::send_vectored`](crate::Stream::send_vectored).
    pub async fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send_vectored(cx, bufs, flags)).await
    }

    /// As [`send`](Self::send), for owned bytes: accepted bytes are split off the front of `data`.
    ///
    /// # Errors
    ///
    /// As [`Stream::send_bytes`](crate::Stream::send_bytes).
    pub async fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send_bytes(cx, data, flags)).await
    }

    /// As [`send`](Self::send), repeated until all of `data` is accepted.
    ///
    /// # Errors
    ///
    /// As [`Stream::send_all`](crate::Stream::send_all).
    pub async fn send_all(&mut self, mut data: &[u8], flags: SendFlags) -> io::Result<()> {
        poll_fn(|cx| poll_send_all(self, cx, &mut data, flags)).await
    }

    /// As [`send_bytes`](Self::send_bytes), repeated until all of `data` is accepted.
    ///
    /// # Errors
    ///
    /// As [`Stream::send_all_bytes`](crate::Stream::send_all_bytes).
    pub async fn send_all_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<()> {
        poll_fn(|cx| poll_send_all_bytes(self, cx, data, flags)).await
    }

    /// Polls one step of [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`Stream::poll_send`](crate::Stream::poll_send).
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        poll_send(self, cx, data, flags)
    }

    /// Polls one step of [`send_vectored`](Self::send_vectored).
    ///
    /// # Errors
    ///
    /// As [`Stream::poll_send_vectored`](crate::Stream::poll_send_vectored).
    pub fn poll_send_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        poll_send_vectored(self, cx, bufs, flags)
    }

    /// Polls one step of [`send_bytes`](Self::send_bytes).
    ///
    /// # Errors
    ///
    /// As [`Stream::poll_send_bytes`](crate::Stream::poll_send_bytes).
    pub fn poll_send_bytes(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        poll_send_bytes(self, cx, data, flags)
    }

    /// Holds the tail of every write, whatever its flags, until [`uncork`](Self::uncork) (R10).
    /// Limits and the deadline stay in force.
    pub fn cork(&mut self) {
        self.with(|engine| engine.cork());
    }

    /// Discards all plaintext that is not sealed and refuses further writes. Returns the number of
    /// accepted bytes discarded.
    ///
    /// # Errors
    ///
    /// As [`Stream::abort`](crate::Stream::abort).
    pub async fn abort(&mut self) -> io::Result<usize> {
        poll_fn(|cx| Poll::Ready(self.with(|engine| engine.abort(cx)))).await
    }

    /// Ends [`cork`](Self::cork), releases everything and transmits.
    ///
    /// # Errors
    ///
    /// As [`Stream::uncork`](crate::Stream::uncork).
    pub async fn uncork(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.with(|engine| engine.poll_uncork(cx))).await
    }

    /// The counters of this stream so far.
    pub fn stats(&self) -> Stats {
        self.look(|engine| engine.session().stats())
    }

    /// Ends the stream without loss: closes it, then reads and discards until the peer's end of the
    /// stream.
    ///
    /// # Errors
    ///
    /// As [`Stream::close_gracefully`](crate::Stream::close_gracefully).
    pub async fn close_gracefully(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.with(|engine| engine.poll_close_gracefully(cx))).await
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_read(self.get_mut(), cx, buf)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<IO> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        poll_fill_buf(self.get_mut(), cx)
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        Reads::consume(self.get_mut(), len);
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_write(self.get_mut(), cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_vectored(self.get_mut(), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|engine| engine.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|engine| engine.poll_close(cx))
    }
}

#[cfg(unix)]
impl<IO: std::os::fd::AsRawFd> std::os::fd::AsRawFd for TlsStream<IO> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.with_ref(|io, _| io.as_raw_fd())
    }
}

#[cfg(windows)]
impl<IO: std::os::windows::io::AsRawSocket> std::os::windows::io::AsRawSocket for TlsStream<IO> {
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.with_ref(|io, _| io.as_raw_socket())
    }
}

impl<IO> From<client::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: client::TlsStream<IO>) -> Self {
        Self::Client(stream)
    }
}

impl<IO> From<server::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: server::TlsStream<IO>) -> Self {
        Self::Server(stream)
    }
}
