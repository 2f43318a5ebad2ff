//! `Feed`: a sink of pieces of messages.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tls_cork::SendFlags;

use crate::{Engine, Session, Timer, Transport};

/// The state of a sink of pieces, for `Sink` of futures-sink: the rest of one piece that the engine
/// has not accepted.
///
/// A piece is written with `MORE`, and a flush releases it. One piece at most waits outside of the
/// engine.
#[derive(Debug, Default)]
pub struct Feed {
    rest: Bytes,
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
        engine.poll_room(cx)
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
