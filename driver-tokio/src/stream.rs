//! What all streams and halves can do.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tls_cork::{Connection, SendFlags, Stats};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::handle::{Handle, Own, Reads, Side, Writes};
use crate::io::Engine;
use crate::polls::{
    poll_fill_buf, poll_read, poll_send, poll_send_all, poll_send_all_bytes, poll_send_bytes, poll_send_vectored,
    poll_write, poll_write_vectored,
};
use crate::{OwnedReadHalf, OwnedWriteHalf};

/// What the stream types and halves of this crate have in common. Programs name it by its aliases:
///
/// | alias | what it is |
/// | --- | --- |
/// | [`client::TlsStream`](crate::client::TlsStream) | the client side of a TLS stream |
/// | [`server::TlsStream`](crate::server::TlsStream) | the server side |
/// | [`OwnedReadHalf`], [`OwnedWriteHalf`] | the halves of a stream, for two tasks |
///
/// The enum [`TlsStream`](crate::TlsStream) is either side.
pub struct Stream<H>(pub(crate) H);

/// One short line, as that of the [`Connection`].
impl<H: fmt::Debug> fmt::Debug for Stream<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Streams and halves that write.
impl<H: Writes> Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Sends as `send(2)` does: without [`SendFlags::MORE`] the data leaves in the call, as far as
    /// the transport takes it.
    ///
    /// Returns how many bytes were accepted, counted from the front: all of them, unless the
    /// transport pushes back or they are more than about 256 KiB, the share of one call. Offer the
    /// rest again, with the same flags. Waits only while nothing can be accepted, and then nothing
    /// has been: dropping the future loses and repeats nothing. Empty data without `MORE` releases
    /// what is held.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` after a close or a fatal error; otherwise those of the transport and of TLS. An
    /// error that was met after bytes had been accepted is returned by the next call. With `MORE`,
    /// or corked, also an error outside of a tokio runtime, and nothing is accepted then.
    ///
    /// # Panics
    ///
    /// With `MORE`, or corked, on a runtime without timers (`enable_time`).
    pub async fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, data, flags)).await
    }

    /// As [`send`](Self::send), from several slices that make one write.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send_vectored(cx, bufs, flags)).await
    }

    /// As [`send`](Self::send), of owned bytes; large ones are never copied.
    ///
    /// What is accepted is split off the front of `data`, and its length is returned: offer the
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
    /// Dropping the future forgets how much that was; where that matters, use
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

    /// Polls one step of [`send_bytes`](Self::send_bytes): what is accepted is split off the front
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

    /// Holds the tail of every write until [`uncork`](Self::uncork), flags or none; limits and
    /// deadline stay in force. Writes need a tokio runtime then, as [`send`](Self::send) with
    /// `MORE` does.
    pub fn cork(&mut self) {
        self.0.with(|engine| engine.cork());
    }

    /// Gives up what is not sealed yet, and refuses further writes; returns how many accepted bytes
    /// that costs.
    ///
    /// The peer gets a `close_notify` only if it costs none: otherwise it has to see that the
    /// stream was cut. Records that are sealed already leave as far as the transport takes them.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    pub async fn abort(&mut self) -> io::Result<usize> {
        poll_fn(|cx| Poll::Ready(self.0.with(|engine| engine.abort(cx)))).await
    }

    /// Ends [`cork`](Self::cork), releases everything and transmits. Does not wait for the
    /// transport: what it does not take leaves with later calls.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS.
    pub async fn uncork(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.0.with(|engine| engine.poll_uncork(cx))).await
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.0.look(|engine| engine.session().stats())
    }
}

/// Streams that both read and write.
impl<H: Reads + Writes> Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Ends the stream so that nothing is lost: closes it, then reads and discards until the peer's
    /// end.
    ///
    /// Closing and dropping a stream can cost what the transport has taken: if received bytes are
    /// unread then, and TLS 1.3 tickets are enough, the kernel answers the peer's next segment with
    /// a reset, and the peer's kernel discards what its program has not read.
    ///
    /// The peer decides how long this takes: put a time limit around the future, and drop the
    /// stream when it has passed. Dropping the future alone loses nothing; call it again.
    ///
    /// # Errors
    ///
    /// Those of closing and of reading, after which the peer may not have got everything. An end
    /// without `close_notify` is none: what is received does not count any more.
    pub async fn close_gracefully(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.0.with(|engine| engine.poll_close_gracefully(cx))).await
    }
}

/// Streams that no other handle reaches.
impl<IO, S: Side> Stream<Own<IO, S>> {
    pub(crate) fn new(engine: Engine<IO>) -> Self {
        Self(Own::new(engine))
    }

    /// The transport, and the session: what was agreed on, and what waits.
    ///
    /// Plain references, for which the deadline task cannot have the stream. What is held is
    /// therefore released first, and leaves as far as the transport takes it; what it does not take
    /// waits for the next call. [`with_ref`](Self::with_ref) changes nothing.
    pub fn get_ref(&self) -> (&IO, &Connection) {
        let engine = self.0.get();
        (&engine.io().inner, engine.session())
    }

    /// As [`get_ref`](Self::get_ref), with the transport to be changed, for instance its options.
    /// Reading from the transport or writing to it breaks the stream.
    pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
        let (io, session) = self.0.get_mut().parts_mut();
        (&mut io.inner, session)
    }

    /// Takes the stream apart. What waits, in either direction, is in the connection still; it can
    /// be transmitted by hand.
    pub fn into_inner(self) -> (IO, Connection) {
        let (io, session) = self.0.into_engine().into_parts();
        (io.inner, session)
    }

    /// Halves for two tasks, of which the writing one has `send` and its like. Their deadlines fire
    /// as those of the stream.
    ///
    /// What the writing half holds is not released by a reading half that waits in another task.
    pub fn into_split(self) -> (OwnedReadHalf<IO>, OwnedWriteHalf<IO>) {
        let (reading, writing) = self.0.into_shares();
        (Stream(reading), Stream(writing))
    }
}

/// Streams and halves.
impl<H: Handle> Stream<H> {
    /// Looks at the transport and at the session: what was agreed on, and what waits. Releases
    /// nothing. `f` must not use the other half of the stream.
    pub fn with_ref<R>(&self, f: impl FnOnce(&H::Io, &Connection) -> R) -> R {
        self.0.look(|engine| f(&engine.io().inner, engine.session()))
    }
}

impl<H: Reads + Unpin> AsyncRead for Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads plaintext; zero is the stream's proper end, `UnexpectedEof` one without
    /// `close_notify`.
    ///
    /// Fires a deadline that has come, and before it waits, releases what the same task holds.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        poll_read(&mut self.get_mut().0, cx, buf)
    }
}

impl<H: Reads + Unpin> AsyncBufRead for Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Shows plaintext, what is left of one record; an empty slice is the stream's proper end. In
    /// all else this is `poll_read`.
    ///
    /// A stream that has never held shows it where it was decrypted. Others, and halves, show a
    /// copy, since the deadline task or the other half may use the stream meanwhile. The stream
    /// keeps the bytes until they are taken: reads find them, and a half that is dropped or
    /// reunited loses none.
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        poll_fill_buf(&mut self.get_mut().0, cx)
    }

    /// Takes the first `len` bytes of what `poll_fill_buf` has shown, or all of them if they are
    /// fewer.
    fn consume(self: Pin<&mut Self>, len: usize) {
        self.get_mut().0.consume(len);
    }
}

impl<H: Writes + Unpin> AsyncWrite for Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// `send` without flags, but nothing is accepted while the transport pushes back and bytes
    /// wait: a caller that goes on to do something else, as `io::copy` does when its source falls
    /// silent, leaves little behind.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_write(&mut self.get_mut().0, cx, buf)
    }

    /// As `poll_write`, from several slices that make one write.
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

    /// Releases everything; ready when the transport has taken all of it and is flushed itself. A
    /// cork stays on.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.with(|engine| engine.poll_flush(cx))
    }

    /// Releases everything, sends `close_notify` behind the last byte, and shuts the transport
    /// down; reading may go on.
    ///
    /// Ready when the transport has taken all of it, which does not promise that the peer gets it:
    /// see `close_gracefully`.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.with(|engine| engine.poll_close(cx))
    }
}

/// The transport's descriptor. There is no `AsFd`, since the deadline task and the other half may
/// use the transport. Keep it no longer than the stream. Reading from it or writing to it breaks
/// the stream.
#[cfg(unix)]
impl<H: Handle> std::os::fd::AsRawFd for Stream<H>
where
    H::Io: std::os::fd::AsRawFd,
{
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.with_ref(|io, _| io.as_raw_fd())
    }
}

/// The transport's socket. There is no `AsSocket`, since the deadline task and the other half may
/// use the transport. Keep it no longer than the stream. Reading from it or writing to it breaks
/// the stream.
#[cfg(windows)]
impl<H: Handle> std::os::windows::io::AsRawSocket for Stream<H>
where
    H::Io: std::os::windows::io::AsRawSocket,
{
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.with_ref(|io, _| io.as_raw_socket())
    }
}
