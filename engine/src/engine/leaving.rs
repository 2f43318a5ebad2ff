//! Flushes, closes, and the transmits of reads and deadlines.

use std::io;
use std::task::{Context, Poll, ready};

use tls_cork::{TransmitError, WriteError};

use super::{CALL_LIMIT, Engine};
use crate::adapt::or_would_block;
use crate::wakers::Role;
use crate::{Session, Timer, Transport};

/// Bytes that are read and discarded at a time while a stream ends.
const DISCARD: usize = 4 * 1024;

impl<IO: Transport, S: Session, T: Timer> Engine<IO, S, T> {
    /// Releases everything (R10). Ready when the transport has taken all of it and has been
    /// flushed. A cork stays on.
    ///
    /// # Errors
    ///
    /// Those of the transport and of the session. `BrokenPipe` if a failure has discarded accepted
    /// bytes.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.take_failure()?;
        self.session.flush(T::now());
        if self.transmit(cx, Role::Writer)? || self.session.waiting() > 0 {
            return Poll::Pending;
        }
        self.check_lost_bytes()?;
        self.unflushed = true;
        self.poll_flush_io(cx, Role::Writer)
    }

    /// Releases everything, sends `close_notify` behind the last byte, and closes the transport
    /// (R11). Reading goes on.
    ///
    /// Ready when the transport has taken all of it and is closed. The peer may still not receive
    /// it: see [`poll_close_gracefully`](Self::poll_close_gracefully).
    ///
    /// # Errors
    ///
    /// Those of the transport and of the session. `BrokenPipe` if a failure has discarded accepted
    /// bytes.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let earlier = self.take_failure();
        self.session.close(T::now());
        earlier?;
        if self.transmit(cx, Role::Writer)? || !self.session.is_finished() {
            return Poll::Pending;
        }
        ready!(self.poll_close_io(cx))?;
        Poll::Ready(Ok(self.check_lost_bytes()?))
    }

    /// Discards all plaintext that is not sealed, refuses further writes, and transmits sealed
    /// records as far as the transport takes them (R11).
    ///
    /// Returns the number of accepted bytes discarded. A `close_notify` follows only if no byte was
    /// discarded: without one, the peer sees that the stream was cut.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    pub fn abort(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        let lost = self.session.abort();
        self.transmit(cx, Role::Writer)?;
        Ok(lost)
    }

    /// Releases everything and transmits it as far as the transport takes it (R10). An error is
    /// kept for the next call. A cork stays on.
    ///
    /// For a driver that takes the engine away from the task that calls [`attend`](Self::attend).
    pub fn release(&mut self, cx: &mut Context<'_>) {
        self.session.flush(T::now());
        self.transmit_or_keep(cx, Role::Deadline);
        self.flush_io_if_sent(cx, Role::Deadline);
    }

    /// Returns an error if a failure has discarded accepted bytes; an earlier call may have
    /// returned the failure itself.
    pub(super) fn check_lost_bytes(&self) -> Result<(), WriteError> {
        if self.session.lost_bytes() > 0 { Err(WriteError::Failed) } else { Ok(()) }
    }

    fn poll_close_io(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        self.wakers.register(Role::Writer, cx.waker());
        if !self.wakers.is_flushable() {
            return Poll::Pending;
        }
        self.wakers.set_flushable(false);
        let closed = ready!(self.io.poll_close(&mut Context::from_waker(self.wakers.waker())));
        self.wakers.set_flushable(true);
        self.closed = closed.is_ok();
        match closed {
            // The peer has closed first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }

    /// Closes as [`poll_close`](Self::poll_close) does, then reads and discards until the peer's
    /// end of the stream.
    ///
    /// # Errors
    ///
    /// Those of the transport and of the session. An end without `close_notify` is not an error.
    pub fn poll_close_gracefully(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.poll_close(cx)?;
        let mut discarded = 0;
        let mut buf = [0; DISCARD];
        while discarded < CALL_LIMIT {
            match ready!(self.poll_read(cx, &mut buf)) {
                Ok(n) if n > 0 => discarded += n,
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Poll::Ready(Err(error)),
                // The peer's direction has ended. Ours may still be pending.
                _ => return closed.map(Ok),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Fires a deadline that has come (R5) and transmits. An error is kept for the next call.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>, role: Role) {
        // A stream that only reads needs no clock.
        if self.session.poll_timeout().is_some() {
            self.session.handle_timeout(T::now());
        }
        self.transmit_or_keep(cx, role);
    }

    pub(super) fn transmit_or_keep(&mut self, cx: &mut Context<'_>, role: Role) {
        if self.failure.is_none()
            && !self.reads_only
            && let Err(error) = self.transmit(cx, role)
        {
            self.keep(error);
        }
    }

    /// Transmits at most one poll's share (R16). Returns true if output remains: the transport
    /// pushed back, or the share is used up. `role` is woken to go on.
    pub(super) fn transmit(&mut self, cx: &mut Context<'_>, role: Role) -> io::Result<bool> {
        Ok(self.try_transmit(cx, role)?)
    }

    pub(super) fn try_transmit(&mut self, cx: &mut Context<'_>, role: Role) -> Result<bool, TransmitError> {
        if !self.session.wants_transmit() {
            return Ok(false);
        }
        self.wakers.register(role, cx.waker());
        if !self.wakers.is_writable() {
            return Ok(true);
        }
        self.wakers.set_writable(false);
        let io = &mut self.io;
        let mut io_cx = Context::from_waker(self.wakers.waker());
        let mut pending = false;
        let sent = self.session.transmit_up_to(CALL_LIMIT, |bufs, more| {
            let taken = io.poll_send(&mut io_cx, bufs, more);
            pending = taken.is_pending();
            or_would_block(taken)
        });
        if !pending {
            self.wakers.set_writable(true);
        }
        let sent = sent?;
        self.flow = if sent.blocked { 0 } else { self.flow.saturating_add(sent.bytes) };
        if sent.bytes > 0 {
            self.unflushed = true;
            self.wakers.set_flushable(true);
        }
        if !sent.blocked && self.session.wants_transmit() {
            self.wakers.wake();
            return Ok(true);
        }
        Ok(sent.blocked)
    }

    /// Flushes the transport if it took bytes, and keeps an error for the next call.
    ///
    /// Does nothing while a send is `Pending`: a flush can make a transport forget the waker of
    /// that send, as async-net's sockets do. `role` waits for the send too; its task is woken,
    /// sends the rest and flushes then.
    pub(super) fn flush_io_if_sent(&mut self, cx: &mut Context<'_>, role: Role) {
        if self.session.wants_transmit() && !self.wakers.is_writable() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.poll_flush_io(cx, role) {
            self.keep(error);
        }
    }

    /// Flushes the transport if it took bytes since the last flush.
    pub(super) fn poll_flush_io(&mut self, cx: &mut Context<'_>, role: Role) -> Poll<io::Result<()>> {
        if self.unflushed {
            self.wakers.register(role, cx.waker());
            if !self.wakers.is_flushable() {
                return Poll::Pending;
            }
            self.wakers.set_flushable(false);
            let flushed = ready!(self.io.poll_flush(&mut Context::from_waker(self.wakers.waker())));
            self.wakers.set_flushable(true);
            // Also after an error, so that a reader can go on reading.
            self.unflushed = false;
            flushed?;
        }
        Poll::Ready(Ok(()))
    }
}
