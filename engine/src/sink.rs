//! `Feed`: a sink of pieces of messages.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tls_cork::SendFlags;

use crate::{Engine, Session, Timer, Transport, wakers};

/// A piece up to this length joins the held tail by a copy. Longer ones are kept without.
const JOIN_MAX: usize = 1024;

/// The state of a sink of pieces, for `Sink` of futures-sink: the rest of one piece that the engine
/// has not accepted.
///
/// A piece is written with `MORE`, and a flush releases it. One piece at most waits outside of the
/// engine.
#[derive(Debug, Default)]
pub struct Feed {
    rest: Bytes,
    /// The task for which the engine was last ready.
    writer: Option<Waker>,
    /// The last piece has only extended the held tail: the engine is still ready.
    joined: bool,
}

impl Feed {
    /// Ready when the engine has accepted all pieces and would accept at least one byte more.
    /// Transmits full records of earlier pieces.
    ///
    /// # Errors
    ///
    /// As [`Engine::poll_send`].
    pub fn poll_ready<IO: Transport, S: Session, T: Timer>(
        &mut self,
        engine: &mut Engine<IO, S, T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(engine, cx, SendFlags::MORE))?;
        ready!(engine.poll_room(cx))?;
        wakers::keep(&mut self.writer, cx.waker());
        Poll::Ready(Ok(()))
    }

    /// Fast path of [`poll_ready`](Self::poll_ready): whether the engine is still ready, for the same
    /// task.
    #[inline]
    pub fn is_ready(&self, cx: &Context<'_>) -> bool {
        self.joined && self.writer.as_ref().is_some_and(|writer| wakers::is_same(writer, cx.waker()))
    }

    /// Fast path of [`start_send`](Self::start_send): writes `piece` if that only extends the held
    /// tail. Otherwise returns false and writes nothing.
    #[inline]
    pub fn join<IO: Transport, S: Session, T: Timer>(&mut self, engine: &mut Engine<IO, S, T>, piece: &[u8]) -> bool {
        self.joined = self.rest.is_empty() && piece.len() <= JOIN_MAX && engine.feed_joining(piece);
        self.joined
    }

    /// Writes `piece` with `MORE`, without a copy if it is more than 1 KiB. Sends nothing: the next
    /// poll does, so that the last piece of a message leaves together with the flush behind it.
    ///
    /// Call it after [`poll_ready`](Self::poll_ready) was ready, once.
    ///
    /// # Errors
    ///
    /// Those of the session. `WouldBlock` if an earlier piece has not been accepted; this piece is
    /// dropped then.
    pub fn start_send<IO: Transport, S: Session, T: Timer>(
        &mut self,
        engine: &mut Engine<IO, S, T>,
        piece: Bytes,
    ) -> io::Result<()> {
        if !self.rest.is_empty() {
            let why = "an earlier piece has not been accepted: call `poll_ready` before each `start_send`";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
        }
        self.joined = false;
        self.rest = piece;
        engine.feed(&mut self.rest)
    }

    /// Releases all pieces (R10). Ready when the transport has taken them and has been flushed.
    ///
    /// # Errors
    ///
    /// As [`Engine::poll_flush`].
    pub fn poll_flush<IO: Transport, S: Session, T: Timer>(
        &mut self,
        engine: &mut Engine<IO, S, T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.joined = false;
        ready!(self.poll_rest(engine, cx, SendFlags::NONE))?;
        engine.poll_flush(cx)
    }

    /// Releases all pieces, then closes as [`Engine::poll_close`] does.
    ///
    /// # Errors
    ///
    /// As [`Engine::poll_close`].
    pub fn poll_close<IO: Transport, S: Session, T: Timer>(
        &mut self,
        engine: &mut Engine<IO, S, T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.joined = false;
        ready!(self.poll_rest(engine, cx, SendFlags::NONE))?;
        engine.poll_close(cx)
    }

    /// The bytes of the last piece that the engine has not accepted.
    pub fn into_rest(self) -> Bytes {
        self.rest
    }

    fn poll_rest<IO: Transport, S: Session, T: Timer>(
        &mut self,
        engine: &mut Engine<IO, S, T>,
        cx: &mut Context<'_>,
        flags: SendFlags,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            return Poll::Ready(Ok(()));
        }
        engine.poll_send_all_bytes(cx, &mut self.rest, flags)
    }
}
