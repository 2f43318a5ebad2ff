//! What all streams and halves can do.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};
use tls_cork::{Connection, SendFlags, Stats};

use crate::Socket;
use crate::handle::{Own, Reads, Writes};
use crate::io::Engine;

/// What the stream types and halves of this crate have in common. Programs name it by its aliases:
///
/// | alias | what it is |
/// | --- | --- |
/// | [`client::TlsStream`](crate::client::TlsStream) | the client side of a TLS stream |
/// | [`server::TlsStream`](crate::server::TlsStream) | the server side |
/// | [`SharedStream`](crate::SharedStream) | either side, with a [`DeadlineTask`](crate::DeadlineTask) |
/// | [`ReadHalf`](crate::ReadHalf), [`WriteHalf`](crate::WriteHalf) | the halves of a stream, for two tasks |
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
    /// error that was met after bytes had been accepted is told by the next call.
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
    /// What is accepted is split off the front of `data`, and its length is returned: offer the rest
    /// again, or use [`send_all_bytes`](Self::send_all_bytes). Shared bytes keep their whole
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
        poll_fn(|cx| self.0.with(|engine| engine.poll_send_all(cx, &mut data, flags))).await
    }

    /// As [`send_bytes`](Self::send_bytes), repeated until all of `data` is accepted.
    ///
    /// After an error, or if the future is dropped, `data` is the rest.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs"));
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # async_io::block_on(async {
    /// # let (mut stream, mut peer) = connected().await?;
    /// use bytes::Bytes;
    /// use tls_cork_async_std::SendFlags;
    ///
    /// let mut body = Bytes::from(vec![7; 100_000]);
    /// stream.send_all(b"header ", SendFlags::MORE).await?; // held
    /// stream.send_all_bytes(&mut body, SendFlags::NONE).await?; // leaves with the header, not copied
    /// assert!(body.is_empty());
    /// # futures_util::AsyncReadExt::read_exact(&mut peer, &mut [0; 100_007]).await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_all_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<()> {
        poll_fn(|cx| self.0.with(|engine| engine.poll_send_all_bytes(cx, data, flags))).await
    }

    /// Polls one step of [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        self.0.with(|engine| engine.poll_send(cx, data, flags))
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
        self.0.with(|engine| engine.poll_send_vectored(cx, bufs, flags))
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
        self.0.with(|engine| engine.poll_send_bytes(cx, data, flags))
    }

    /// Holds the tail of every write until [`uncork`](Self::uncork), flags or none; limits and
    /// deadline stay in force.
    pub fn cork(&mut self) {
        self.0.with(|engine| engine.cork());
    }

    /// Gives up what is not sealed yet, and refuses further writes; returns how many accepted bytes
    /// that costs.
    ///
    /// The peer gets a `close_notify` only if it costs none: otherwise it has to see that the stream
    /// was cut. Records that are sealed already leave as far as the transport takes them.
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
impl<IO, Side> Stream<Own<IO, Side>> {
    pub(crate) fn new(engine: Engine<IO>) -> Self {
        Self(Own::new(engine))
    }

    /// The transport, and the session: what was agreed on, and what waits.
    pub fn get_ref(&self) -> (&IO, &Connection) {
        (&self.0.engine.io().inner, self.0.engine.session())
    }

    /// The transport, for instance to set its options, and the session. Reading from the transport
    /// or writing to it breaks the stream.
    pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
        let (io, session) = self.0.engine.parts_mut();
        (&mut io.inner, session)
    }

    /// Takes the stream apart. What waits is in the connection still; it can be transmitted by
    /// hand.
    pub fn into_inner(self) -> (IO, Connection) {
        let (io, session) = self.0.engine.into_parts();
        (io.inner, session)
    }
}

/// Streams over a socket.
impl<IO: Socket, Side> Stream<Own<IO, Side>> {
    /// The same stream, whose sends say when more bytes follow at once: `MSG_MORE` of send(2) on
    /// Linux and Android.
    ///
    /// The kernel then does not end a segment where a send ends in the middle of a large write.
    /// Held bytes do not count (R8): what is to leave is not kept by the kernel. Does nothing on
    /// other platforms.
    ///
    /// ```no_run
    /// # use std::net::TcpStream;
    /// # async fn example(
    /// #     connector: tls_cork_async_std::TlsConnector, name: rustls::pki_types::ServerName<'static>,
    /// # ) -> std::io::Result<()> {
    /// let tcp = async_io::Async::<TcpStream>::connect(([127, 0, 0, 1], 443)).await?;
    /// let stream = connector.connect(name, tcp).await?.with_msg_more();
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_msg_more(mut self) -> Self {
        self.0.engine.parts_mut().0.set_msg_more();
        self
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
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.get_mut().0.with(|engine| engine.poll_read(cx, buf))
    }
}

impl<H: Reads + Unpin> AsyncBufRead for Stream<H>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Shows plaintext, what is left of one record; an empty slice is the stream's proper end. In all
    /// else this is `poll_read`.
    ///
    /// A stream of its own shows it where it was decrypted. A [`SharedStream`](crate::SharedStream) and a [`ReadHalf`](crate::ReadHalf)
    /// show a copy, since a borrow cannot leave their lock. The stream keeps the bytes until they are
    /// taken: reads find them, and a half that is dropped or reunited loses none.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs"));
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # async_io::block_on(async {
    /// # let (mut peer, stream) = connected().await?;
    /// use futures_util::{AsyncBufReadExt, AsyncWriteExt, StreamExt};
    /// use tls_cork_async_std::SendFlags;
    ///
    /// # peer.write_all(b"one\ntwo\n").await?;
    /// # peer.close().await?;
    /// let (reader, mut writer) = stream.into_split();
    /// let mut lines = reader.lines(); // without a `BufReader`
    /// while let Some(line) = lines.next().await {
    ///     let answer = line?.to_uppercase() + "\n";
    ///     writer.send_all(answer.as_bytes(), SendFlags::MORE).await?;
    /// }
    /// writer.close().await?; // all answers in one record
    /// # let mut got = String::new();
    /// # futures_util::AsyncReadExt::read_to_string(&mut peer, &mut got).await?;
    /// # assert_eq!(got, "ONE\nTWO\n");
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().0.poll_fill_buf(cx)
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
        self.get_mut().0.with(|engine| engine.poll_write(cx, buf))
    }

    /// As `poll_write`, from several slices that make one write.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().0.with(|engine| engine.poll_write_vectored(cx, bufs))
    }

    /// Releases everything; ready when the transport has taken all of it and is flushed itself. A
    /// cork stays on.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.with(|engine| engine.poll_flush(cx))
    }

    /// Releases everything, sends `close_notify` behind the last byte, and closes the transport;
    /// reading may go on.
    ///
    /// Ready when the transport has taken all of it, which does not promise that the peer gets it:
    /// see `close_gracefully`.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.with(|engine| engine.poll_close(cx))
    }
}

#[cfg(unix)]
impl<IO: std::os::fd::AsFd, Side> std::os::fd::AsFd for Stream<Own<IO, Side>> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

#[cfg(windows)]
impl<IO: std::os::windows::io::AsSocket, Side> std::os::windows::io::AsSocket for Stream<Own<IO, Side>> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.get_ref().0.as_socket()
    }
}

#[cfg(unix)]
impl<IO: std::os::fd::AsRawFd, Side> std::os::fd::AsRawFd for Stream<Own<IO, Side>> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.get_ref().0.as_raw_fd()
    }
}

#[cfg(windows)]
impl<IO: std::os::windows::io::AsRawSocket, Side> std::os::windows::io::AsRawSocket for Stream<Own<IO, Side>> {
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.get_ref().0.as_raw_socket()
    }
}
