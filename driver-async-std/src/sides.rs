//! Streams after the handshake: client side, server side, and an enum of both.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};
use tls_cork::{Connection, SendFlags, Stats};

use crate::handle::{Handle, Reads};
use crate::io::Engine;
use crate::{DeadlineTask, ReadHalf, SharedStream, Socket, WriteHalf};

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

/// Prints the [`Connection`], on one short line.
impl<IO> fmt::Debug for TlsStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(stream) => stream.fmt(f),
            Self::Server(stream) => stream.fmt(f),
        }
    }
}

impl<IO> Handle for TlsStream<IO> {
    type Io = IO;

    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        match self {
            Self::Client(stream) => stream.0.with(f),
            Self::Server(stream) => stream.0.with(f),
        }
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        match self {
            Self::Client(stream) => stream.0.look(f),
            Self::Server(stream) => stream.0.look(f),
        }
    }
}

impl<IO> TlsStream<IO> {
    /// The transport, and the session: its negotiated parameters, and how many bytes wait.
    pub fn get_ref(&self) -> (&IO, &Connection) {
        match self {
            Self::Client(stream) => stream.get_ref(),
            Self::Server(stream) => stream.get_ref(),
        }
    }

    /// The transport, for example to set its options, and the session. Reading from the transport
    /// or writing to it breaks the stream.
    pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
        match self {
            Self::Client(stream) => stream.get_mut(),
            Self::Server(stream) => stream.get_mut(),
        }
    }

    /// Returns the transport and the session. Bytes that wait, in either direction, are still in
    /// the session, which can transmit them.
    pub fn into_inner(self) -> (IO, Connection) {
        match self {
            Self::Client(stream) => stream.into_inner(),
            Self::Server(stream) => stream.into_inner(),
        }
    }
}

impl<IO: Socket> TlsStream<IO> {
    /// Makes sends carry `MSG_MORE` where more bytes follow:
    /// [`Stream::with_msg_more`](crate::Stream::with_msg_more).
    pub fn with_msg_more(self) -> Self {
        match self {
            Self::Client(stream) => Self::Client(stream.with_msg_more()),
            Self::Server(stream) => Self::Server(stream.with_msg_more()),
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
        poll_fn(|cx| self.with(|engine| engine.poll_send_all(cx, &mut data, flags))).await
    }

    /// As [`send_bytes`](Self::send_bytes), repeated until all of `data` is accepted.
    ///
    /// # Errors
    ///
    /// As [`Stream::send_all_bytes`](crate::Stream::send_all_bytes).
    pub async fn send_all_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<()> {
        poll_fn(|cx| self.with(|engine| engine.poll_send_all_bytes(cx, data, flags))).await
    }

    /// Polls one step of [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`Stream::poll_send`](crate::Stream::poll_send).
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        self.with(|engine| engine.poll_send(cx, data, flags))
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
        self.with(|engine| engine.poll_send_vectored(cx, bufs, flags))
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
        self.with(|engine| engine.poll_send_bytes(cx, data, flags))
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

    /// Splits the stream into halves for two tasks:
    /// [`Stream::into_split`](crate::Stream::into_split).
    pub fn into_split(self) -> (ReadHalf<IO>, WriteHalf<IO>) {
        match self {
            Self::Client(stream) => stream.into_split(),
            Self::Server(stream) => stream.into_split(),
        }
    }

    /// Adds a task that fires deadlines while nothing polls the stream:
    /// [`Stream::with_deadline_task`](crate::Stream::with_deadline_task).
    pub fn with_deadline_task(self) -> (SharedStream<IO>, DeadlineTask<IO>)
    where
        IO: Send + 'static,
    {
        match self {
            Self::Client(stream) => stream.with_deadline_task(),
            Self::Server(stream) => stream.with_deadline_task(),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.get_mut().with(|engine| engine.poll_read(cx, buf))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<IO> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        match self.get_mut() {
            Self::Client(stream) => stream.0.poll_fill_buf(cx),
            Self::Server(stream) => stream.0.poll_fill_buf(cx),
        }
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        self.get_mut().with(|engine| engine.consume(len));
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().with(|engine| engine.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().with(|engine| engine.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|engine| engine.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|engine| engine.poll_close(cx))
    }
}

#[cfg(unix)]
impl<IO: std::os::fd::AsFd> std::os::fd::AsFd for TlsStream<IO> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

#[cfg(windows)]
impl<IO: std::os::windows::io::AsSocket> std::os::windows::io::AsSocket for TlsStream<IO> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.get_ref().0.as_socket()
    }
}

#[cfg(unix)]
impl<IO: std::os::fd::AsRawFd> std::os::fd::AsRawFd for TlsStream<IO> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.get_ref().0.as_raw_fd()
    }
}

#[cfg(windows)]
impl<IO: std::os::windows::io::AsRawSocket> std::os::windows::io::AsRawSocket for TlsStream<IO> {
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.get_ref().0.as_raw_socket()
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
