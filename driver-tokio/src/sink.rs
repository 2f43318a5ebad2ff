//! `MessageSink`: a stream as a sink of pieces of messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_sink::Sink;
use tls_cork_engine::Feed;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::handle::{Handle, Writes};
use crate::polls::poll_in_budget;
use crate::{Stream, TlsStream};

/// A stream, or its writing half, as a [`Sink`] of pieces of messages.
///
/// A piece that is fed is written with `MORE`: it shares a record with the pieces that follow. A
/// flush releases everything. `SinkExt::send` of futures-util feeds and flushes.
///
/// ```no_run
/// use std::io;
///
/// use bytes::Bytes;
/// use futures_util::SinkExt;
/// use tls_cork_tokio::client::TlsStream;
/// use tokio::net::TcpStream;
///
/// async fn publish(
///     stream: TlsStream<TcpStream>,
///     messages: Vec<(Bytes, Bytes)>,
/// ) -> io::Result<()> {
///     let mut sink = stream.into_message_sink();
///     for (header, body) in messages {
///         sink.feed(header).await?; // held: more is coming, within 10 ms
///         sink.feed(body).await?; // more than 1 KiB is not copied
///     }
///     sink.flush().await // everything leaves, in full records
/// }
/// ```
///
/// - Pieces leave with the flush or at their deadline. Full records that do not wait for company
///   ([`hold_limit`](tls_cork::CorkConfig::hold_limit)) leave at the next poll of the sink.
/// - Backpressure: `poll_ready` is `Pending` while the stream would accept nothing, which is while
///   [`send_buffer_limit`](tls_cork::CorkConfig::send_buffer_limit) bytes wait. The rest of one
///   piece at most waits in the sink. It is accepted when the sink is polled again, so flush before
///   you wait for an answer.
/// - Cancellation: a piece belongs to the sink from `start_send` on. A future of `feed` or `send`
///   that is dropped before that drops its piece; no byte is lost or repeated otherwise.
/// - `poll_close` is that of the stream: it releases everything and sends `close_notify`.
///
/// The pieces are [`Bytes`]. Adapters of futures-util make them from other types: `with` encodes
/// each item.
#[derive(Debug)]
#[must_use = "sinks do nothing unless polled"]
pub struct MessageSink<S> {
    stream: S,
    feed: Feed,
}

impl<H: Writes> Stream<H> {
    /// Makes the stream a [`Sink`] of pieces of messages.
    pub fn into_message_sink(self) -> MessageSink<Self> {
        MessageSink { stream: self, feed: Feed::default() }
    }
}

impl<IO> TlsStream<IO> {
    /// Makes the stream a [`Sink`] of pieces of messages.
    pub fn into_message_sink(self) -> MessageSink<Self> {
        MessageSink { stream: self, feed: Feed::default() }
    }
}

impl<S> MessageSink<S> {
    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, for example to read. Flush before you write to it: the sink may have the rest of
    /// a piece.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the stream, and the bytes of the last piece that the stream has not accepted; none
    /// after a flush.
    pub fn into_inner(self) -> (S, Bytes) {
        (self.stream, self.feed.into_rest())
    }
}

impl<S> Sink<Bytes> for MessageSink<S>
where
    S: Handle<Io: AsyncRead + AsyncWrite + Unpin> + Unpin,
{
    type Error = io::Error;

    /// Ready when the stream has accepted all pieces and would accept more.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, feed } = self.get_mut();
        // As in `poll_send`.
        if feed.is_ready(cx) {
            return Poll::Ready(Ok(()));
        }
        poll_in_budget(cx, |cx| stream.hold(false, |engine| feed.poll_ready(engine, cx)))
    }

    /// Writes `piece` with `MORE`. Outside of a tokio runtime, this is an error.
    fn start_send(self: Pin<&mut Self>, piece: Bytes) -> io::Result<()> {
        let Self { stream, feed } = self.get_mut();
        if stream.join(|engine| feed.join(engine, &piece)) {
            return Ok(());
        }
        match stream.hold(true, |engine| Poll::Ready(feed.start_send(engine, piece))) {
            Poll::Ready(done) => done,
            Poll::Pending => Ok(()),
        }
    }

    /// Releases all pieces. Ready when the transport has taken them and has been flushed.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, feed } = self.get_mut();
        stream.hold(false, |engine| feed.poll_flush(engine, cx))
    }

    /// Releases all pieces, sends `close_notify` behind them, and shuts the transport down (R11).
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, feed } = self.get_mut();
        stream.hold(false, |engine| feed.poll_close(engine, cx))
    }
}
