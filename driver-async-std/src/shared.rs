//! Streams that several tasks use: halves, and streams with a deadline task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use tls_cork::Connection;

use crate::Stream;
use crate::handle::{Handle, Own, Reading, Share, Whole, Writing};
use crate::io::{Alarm, Io, Shared};

/// A TLS stream with a [`DeadlineTask`]; it can be split into halves for two tasks.
pub type SharedStream<IO> = Stream<Share<IO, Whole>>;

/// The reading half of a stream, for a task of its own.
pub type ReadHalf<IO> = Stream<Share<IO, Reading>>;

/// The writing half of a stream, for a task of its own.
///
/// A half that is dropped does not close the stream; [`poll_close`](AsyncWrite::poll_close) does.
pub type WriteHalf<IO> = Stream<Share<IO, Writing>>;

/// A future that fires the deadlines of a stream while nothing polls the stream (R15). Spawn it on
/// any executor.
///
/// Held bytes leave within [`max_hold`](tls_cork::CorkConfig::max_hold) plus the executor's delay.
/// Bytes that the transport did not take at once leave when it has room. The task ends when the
/// stream is dropped. A stream that holds and releases all the time wakes it about once in each
/// `max_hold`. An error of the transport is returned by the stream's next call.
#[derive(Debug)]
#[must_use = "futures do nothing unless spawned or polled"]
pub struct DeadlineTask<IO>(tls_cork_engine::DeadlineTask<Io<IO>, Connection, Alarm>);

/// Streams that become a stream for several tasks.
impl<IO: AsyncRead + AsyncWrite + Unpin, Side> Stream<Own<IO, Side>> {
    /// Splits the stream into halves for two tasks. The writing half has the `send` methods.
    ///
    /// A reading half that waits in another task does not release the bytes that the writing half
    /// holds.
    pub fn into_split(self) -> (ReadHalf<IO>, WriteHalf<IO>) {
        self.into_shared().into_split()
    }

    /// Returns the stream and a future that fires its deadlines while nothing polls the stream
    /// (R15). Spawn the future.
    ///
    /// ```no_run
    /// # use tls_cork_async_std::client::TlsStream;
    /// # async fn example(stream: TlsStream<async_std::net::TcpStream>) {
    /// let (stream, deadlines) = stream.with_deadline_task();
    /// async_std::task::spawn(deadlines); // or smol::spawn(deadlines).detach()
    /// # }
    /// ```
    pub fn with_deadline_task(self) -> (SharedStream<IO>, DeadlineTask<IO>)
    where
        IO: Send + 'static,
    {
        let stream = self.into_shared();
        let task = stream.deadline_task();
        (stream, task)
    }

    fn into_shared(self) -> SharedStream<IO> {
        Stream(Share::<IO, Whole>::new(Shared::new(*self.0.engine)))
    }
}

/// Streams and halves that share a session.
impl<IO, Part> Stream<Share<IO, Part>> {
    /// Calls `f` with the transport and the session: its negotiated parameters, and how many bytes
    /// wait. `f` runs under the stream's lock, so it must not use the stream itself.
    pub fn with_ref<R>(&self, f: impl FnOnce(&IO, &Connection) -> R) -> R {
        self.0.look(|engine| f(&engine.io().inner, engine.session()))
    }

    /// Returns the transport and the session if this is the stream's only handle, and ends its
    /// [`DeadlineTask`].
    ///
    /// A [`SharedStream`] is the only handle; so is a half after the other half was dropped. Bytes
    /// that wait, in either direction, are still in the connection.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs"));
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # async_io::block_on(async {
    /// # let (stream, _peer) = connected().await?;
    /// use futures_util::AsyncWriteExt;
    ///
    /// let (mut stream, deadlines) = stream.with_deadline_task();
    /// let deadlines = smol::spawn(deadlines);
    /// stream.write_all(b"the last of it").await?;
    /// stream.flush().await?;
    /// let (tcp, connection) = stream.into_inner()?;
    /// assert_eq!(connection.waiting(), 0);
    /// deadlines.await; // has ended
    /// tcp.get_ref().shutdown(std::net::Shutdown::Write)?; // no `close_notify`: a cut
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If another half exists; the error holds this one, unchanged.
    pub fn into_inner(self) -> Result<(IO, Connection), IntoInnerError<Self>> {
        match self.0.into_engine() {
            Ok(engine) => {
                let (io, session) = engine.into_parts();
                Ok((io.inner, session))
            }
            Err(handle) => Err(IntoInnerError(Stream(handle))),
        }
    }
}

/// The transport's descriptor. `AsFd` is not implemented, because a borrow of the transport cannot
/// leave the lock. Use the descriptor no longer than the stream exists. Reading from it or writing
/// to it breaks the stream.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs"));
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async_io::block_on(async {
/// # let (stream, _peer) = connected().await?;
/// use std::os::fd::AsRawFd;
///
/// let socket = stream.as_raw_fd();
/// let (reader, writer) = stream.into_split();
/// assert_eq!((reader.as_raw_fd(), writer.as_raw_fd()), (socket, socket));
/// # Ok(())
/// # })
/// # }
/// ```
#[cfg(unix)]
impl<IO: std::os::fd::AsRawFd, Part> std::os::fd::AsRawFd for Stream<Share<IO, Part>> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.with_ref(|io, _| io.as_raw_fd())
    }
}

/// The transport's socket. `AsSocket` is not implemented, because a borrow of the transport cannot
/// leave the lock. Use the socket no longer than the stream exists. Reading from it or writing to
/// it breaks the stream.
#[cfg(windows)]
impl<IO: std::os::windows::io::AsRawSocket, Part> std::os::windows::io::AsRawSocket for Stream<Share<IO, Part>> {
    fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
        self.with_ref(|io, _| io.as_raw_socket())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> SharedStream<IO> {
    /// Splits the stream into halves for two tasks. A deadline task keeps running.
    ///
    /// A reading half that waits in another task does not release the bytes that the writing half
    /// holds.
    pub fn into_split(self) -> (ReadHalf<IO>, WriteHalf<IO>) {
        let engine = self.0.engine;
        (Stream(Share::new(engine.clone())), Stream(Share::new(engine)))
    }

    pub(crate) fn deadline_task(&self) -> DeadlineTask<IO> {
        DeadlineTask(self.0.engine.deadline_task())
    }
}

impl<IO> WriteHalf<IO> {
    /// Joins the halves of a stream.
    ///
    /// # Errors
    ///
    /// If the halves are not of the same stream; the error holds both, unchanged.
    pub fn reunite(self, reader: ReadHalf<IO>) -> Result<SharedStream<IO>, ReuniteError<IO>> {
        if self.0.engine.is_same(&reader.0.engine) {
            Ok(Stream(Share::new(self.0.engine)))
        } else {
            Err(ReuniteError(reader, self))
        }
    }
}

/// The error of a reunion of halves that are not of the same stream. It holds both, unchanged.
pub struct ReuniteError<IO>(pub ReadHalf<IO>, pub WriteHalf<IO>);

/// The error of a half that is not the only handle of its stream. It holds the half, unchanged.
pub struct IntoInnerError<S>(pub S);

impl<S> fmt::Debug for IntoInnerError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoInnerError").finish_non_exhaustive()
    }
}

impl<S> fmt::Display for IntoInnerError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream has another half: reunite both halves, or drop the other one")
    }
}

impl<S> std::error::Error for IntoInnerError<S> {}

impl<IO> fmt::Debug for ReuniteError<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<IO> fmt::Display for ReuniteError<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are not of the same stream: reunite two halves from one `into_split`")
    }
}

impl<IO> std::error::Error for ReuniteError<IO> {}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for DeadlineTask<IO> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}
