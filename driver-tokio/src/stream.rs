//! `Stream`: the methods of all streams and halves.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tls_cork::{Connection, SendFlags, Stats};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::handle::{Handle, Own, Reads, Side, Writes};
use crate::keeper::Engine;
use crate::polls::{
    poll_fill_buf, poll_read, poll_send, poll_send_all, poll_send_all_bytes, poll_send_bytes, poll_send_vectored,
    poll_write, poll_write_vectored,
};

/// The generic type behind the streams and halves of this crate. Programs name it by its aliases:
///
/// | alias | type |
/// | --- | --- |
/// | [`client::TlsStream`](crate::client::TlsStream) | the client side of a TLS stream |
/// | [`server::TlsStream`](crate::server::TlsStream) | the server side |
/// | [`OwnedReadHalf`](crate::OwnedReadHalf), [`OwnedWriteHalf`](crate::OwnedWriteHalf) | the halves of a stream, for two tasks |
///
/// The enum [`TlsStream`](crate::TlsStream) is either side.
pub struct Stream<H>(pub(crate) H);

/// Prints the [`Connection`], on one short line.
impl<H: fmt::Debug> fmt::Debug for Stream<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<H: Handle> Handle for Stream<H> {
    type Io = H::Io;

    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<H::Io>) -> R) -> R {
        self.0.with(f)
    }

    fn hold<T>(
        &mut self,
        more: bool,
        f: impl FnOnce(&mut Engine<H::Io>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.0.hold(more, f)
    }

    fn join(&mut self, f: impl FnOnce(&mut Engine<H::Io>) -> bool) -> bool {
        self.0.join(f)
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<H::Io>) -> R) -> R {
        self.0.look(f)
    }
}

/// Streams and halves that write.
impl<H: Writes> Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Sends `data` as send(2) does: without [`SendFlags::MORE`] the data leaves in the call, as
    /// far as the transport takes it (R2, R3). Empty data without `MORE` releases held bytes.
    ///
    /// Returns the number of bytes accepted, from the front of `data`: all of them, unless the
    /// transport pushes back or they are more than about 256 KiB, the share of one call (R16). Send
    /// the rest with the same flags.
    ///
    /// The future waits only while no byte can be accepted. A future that is dropped while it waits
    /// has accepted nothing.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` after a close or a fatal error; otherwise those of the transport and of TLS. An
    /// error of the transport after bytes have been accepted is returned by the next call. Outside
    /// of a tokio runtime, a call with `MORE` or on a corked stream returns an error and accepts
    /// nothing.
    ///
    /// # Panics
    ///
    /// With `MORE`, or corked, on a runtime without timers (`enable_time`).
    pub async fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, data, flags)).await
    }

    /// As [`send`](Self::send), from several slices that make one write (R4).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send_vectored(cx, bufs, flags)).await
    }

    /// As [`send`](Self::send), for owned bytes; more than 1 KiB is kept without a copy.
    ///
    /// Accepted bytes are split off the front of `data`, and their number is returned. Send the
    /// rest again, or use [`send_all_bytes`](Self::send_all_bytes). Shared bytes keep their whole
    /// allocation alive until they are sealed.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send_bytes(cx, data, flags)).await
    }

    /// As [`send`](Self::send), repeated until all of `data` is accepted.
    ///
    /// If the future is dropped, the number of accepted bytes is unknown. Where that matters, use
    /// [`send_all_bytes`](Self::send_all_bytes) or [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_all(&mut self, mut data: &[u8], flags: SendFlags) -> io::Result<()> {
        poll_fn(|cx| poll_send_all(&mut self.0, cx, &mut data, flags)).await
    }

    /// As [`send_bytes`](Self::send_bytes), repeated until all of `data` is accepted.
    ///
    /// After an error, or if the future is dropped, `data` is the rest.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_all_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<()> {
        poll_fn(|cx| poll_send_all_bytes(&mut self.0, cx, data, flags)).await
    }

    /// Polls one step of [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        poll_send(&mut self.0, cx, data, flags)
    }

    /// Polls one step of [`send_vectored`](Self::send_vectored).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn poll_send_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        poll_send_vectored(&mut self.0, cx, bufs, flags)
    }

    /// Polls one step of [`send_bytes`](Self::send_bytes): accepted bytes are split off the front
    /// of `data`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn poll_send_bytes(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        poll_send_bytes(&mut self.0, cx, data, flags)
    }

    /// Holds the tail of every write, whatever its flags, until [`uncork`](Self::uncork) (R10).
    /// Limits and the deadline stay in force. While corked, writes need a tokio runtime, as
    /// [`send`](Self::send) with `MORE` does.
    pub fn cork(&mut self) {
        self.0.with(|engine| engine.cork());
    }

    /// Discards all plaintext that is not sealed and refuses further writes (R11). Returns the
    /// number of accepted bytes discarded.
    ///
    /// A `close_notify` follows only if no byte was discarded: without one, the peer sees that the
    /// stream was cut. Sealed records leave as far as the transport takes them.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    pub async fn abort(&mut self) -> io::Result<usize> {
        poll_fn(|cx| Poll::Ready(self.0.with(|engine| engine.abort(cx)))).await
    }

    /// Ends [`cork`](Self::cork), releases everything and transmits (R10). Does not wait for a
    /// transport that pushes back: the rest leaves later.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS. `BrokenPipe` if a failure has discarded accepted bytes.
    pub async fn uncork(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.0.with(|engine| engine.poll_uncork(cx))).await
    }

    /// The counters of this stream so far.
    pub fn stats(&self) -> Stats {
        self.0.look(|engine| engine.session().stats())
    }
}

/// Streams that both read and write.
impl<H: Reads + Writes> Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Ends the stream without loss: closes it, then reads and discards until the peer's end of the
    /// stream.
    ///
    /// A stream that is closed and dropped can lose bytes that the transport has taken. If received
    /// bytes, such as TLS 1.3 tickets, are unread then, the kernel sends a reset to the peer. The
    /// peer's kernel then discards the bytes that its program has not read.
    ///
    /// The peer decides how long this takes: set a time limit around the future, and drop the
    /// stream when the limit has passed. If only the future is dropped, nothing is lost: call the
    /// method again.
    ///
    /// # Errors
    ///
    /// Those of closing and of reading; the peer may then have lost bytes. An end without
    /// `close_notify` is not an error, because received bytes are discarded anyway.
    pub async fn close_gracefully(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.0.with(|engine| engine.poll_close_gracefully(cx))).await
    }
}

/// Streams that have no second handle.
impl<IO, S: Side> Stream<Own<IO, S>> {
    pub(crate) fn new(engine: Box<Engine<IO>>) -> Self {
        Self(Own::new(engine))
    }

    /// The transport, and the session: its negotiated parameters, and how many bytes wait.
    ///
    /// The deadline task cannot reach the stream while these references exist. Held bytes are
    /// therefore released first and leave as far as the transport takes them; the rest waits for
    /// the next call. [`with_ref`](Self::with_ref) releases nothing.
    pub fn get_ref(&self) -> (&IO, &Connection) {
        let engine = self.0.get();
        (&engine.io().inner, engine.session())
    }

    /// As [`get_ref`](Self::get_ref), with a mutable reference to the transport, for example to set
    /// its options. Reading from the transport or writing to it breaks the stream.
    pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
        let (io, session) = self.0.get_mut().parts_mut();
        (&mut io.inner, session)
    }

    /// Returns the transport and the session. Bytes that wait, in either direction, are still in
    /// the session, which can transmit them.
    pub fn into_inner(self) -> (IO, Connection) {
        let (io, session) = self.0.into_engine().into_parts();
        (io.inner, session)
    }
}

/// Streams and halves.
impl<H: Handle> Stream<H> {
    /// Calls `f` with the transport and the session: its negotiated parameters, and how many bytes
    /// wait. Releases nothing. `f` can run under a lock, so it must not use the other half of the
    /// stream.
    pub fn with_ref<R>(&self, f: impl FnOnce(&H::Io, &Connection) -> R) -> R {
        self.0.look(|engine| f(&engine.io().inner, engine.session()))
    }
}

impl<H: Reads + Unpin> AsyncRead for Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads plaintext. Zero bytes are the end of the stream after `close_notify` (RFC 8446,
    /// section 6.1), `UnexpectedEof` is an end without it.
    ///
    /// Fires a deadline that has come (R5). Before the read waits, the bytes that the same task
    /// holds are released (R12).
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_read(&mut self.get_mut().0, cx, buf)
    }
}

impl<H: Reads + Unpin> AsyncBufRead for Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Returns received plaintext: the rest of one record. An empty slice is the end of the stream
    /// after `close_notify`. Otherwise the same as `poll_read`.
    ///
    /// A stream that has never held bytes returns it without a copy. Other streams and halves
    /// return a copy, because the deadline task or the other half may use the stream meanwhile. The
    /// stream keeps the bytes until they are taken. Reads therefore return them, and a half that is
    /// dropped or reunited loses none.
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        poll_fill_buf(&mut self.get_mut().0, cx)
    }

    /// Takes the first `len` bytes of those that `poll_fill_buf` returned, or all of them if they
    /// are fewer.
    fn consume(self: Pin<&mut Self>, len: usize) {
        self.get_mut().0.consume(len);
    }
}

impl<H: Writes + Unpin> AsyncWrite for Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// `send` without flags, but nothing is accepted while the transport pushes back and bytes wait
    /// (the exception of R7). A caller such as `io::copy` may not poll the stream while its source
    /// is silent; few accepted bytes wait then.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_write(&mut self.get_mut().0, cx, buf)
    }

    /// As `poll_write`, from several slices that make one write (R4).
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_vectored(&mut self.get_mut().0, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Releases everything (R10). Ready when the transport has taken all of it and has been
    /// flushed. A cork stays on.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.with(|engine| engine.poll_flush(cx))
    }

    /// Releases everything, sends `close_notify` behind the last byte, and shuts the transport down
    /// (R11). Reading goes on.
    ///
    /// Ready when the transport has taken all of it. The peer may still not receive it: see
    /// `close_gracefully`.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.with(|engine| engine.poll_close(cx))
    }
}

/// The transport's descriptor. `AsFd` is not implemented, because the deadline task and the other
/// half may use the transport. Use the descriptor no longer than the stream exists. Reading from it
/// or writing to it breaks the stream.
#[cfg(unix)]
impl<H: Handle> std::os::fd::AsRawFd for Stream<H>
where
    H::Io: std::os::fd::AsRawFd,
{
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.with_ref(|io, _| io.as_raw_fd())
    }
}

/// The transport's socket. `AsSocket` is not implemented, because the deadline task and the other
/// half may use the transport. Use the socket no longer than the stream exists. Reading from it or
/// writing to it breaks the stream.
#[cfg(windows)]
impl<H: Handle> std::os::windows::io::AsRawSocket for Stream<H>
where
    H::Io: std::os::windows::io::AsRawSocket,
{
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.with_ref(|io, _| io.as_raw_socket())
    }
}
