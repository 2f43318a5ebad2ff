//! The outbound half: each method is that of the `CorkPolicy` inside.
//!
//! Each has the same signature and the same documentation as there;
//! `core/tests/documentation.rs` compares them.

use std::io::{self, IoSlice};
use std::time::Instant;

use bytes::Bytes;

use super::Connection;
use crate::{FlushDecision, Output, SendFlags, Stats, TransmitError, Transmitted, WriteError, Written};

/// Outbound, as [`CorkPolicy`](crate::CorkPolicy).
impl Connection {
    /// Writes the concatenation of `bufs` as one event.
    ///
    /// Without [`SendFlags::MORE`], while uncorked, everything written so far is released; an empty write does that too. With it, or while corked,
    /// whole records are released and the tail is held.
    ///
    /// Accepts a prefix: up to one batch if a large write can be sealed straight from `bufs`, else
    /// up to [`send_capacity`](Self::send_capacity). A short write counts as written with `MORE`.
    ///
    /// # Errors
    ///
    /// Nothing was accepted: [`WriteError::Blocked`] while the buffer is full, [`WriteError::Closed`] after a close,
    /// [`WriteError::Failed`] after a fatal error.
    pub fn write(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<Written, WriteError> {
        self.policy.write(now, bufs, flags)
    }

    /// Writes `data` if all that this does is to make the held tail longer; else false, and nothing was done.
    ///
    /// Takes no time: the deadline of the tail runs already, and later writes do not push it back. Saves a caller with many small
    /// pieces a reading of the clock for each. What counts from the last write (idle times, and the longest hold where filling ends it) counts from
    /// the last one that came with its time.
    #[inline]
    #[must_use = "false: nothing was written"]
    pub fn join_held(&mut self, data: &[u8], flags: SendFlags) -> bool {
        self.policy.join_held(data, flags)
    }

    /// Writes owned bytes: what is accepted is split off the front of `data`, and large pieces are never copied.
    ///
    /// Otherwise as [`write`](Self::write). Shared bytes keep their whole allocation alive until they are sealed; the limit counts their length.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); `data` is unchanged then.
    pub fn write_bytes(&mut self, now: Instant, data: &mut Bytes, flags: SendFlags) -> Result<Written, WriteError> {
        self.policy.write_bytes(now, data, flags)
    }

    /// From now on every write holds its tail, as if it had [`SendFlags::MORE`], until [`uncork`](Self::uncork).
    ///
    /// Size limit and deadline stay in force.
    pub fn cork(&mut self, now: Instant) {
        self.policy.cork(now);
    }

    /// Ends [`cork`](Self::cork) and releases everything. Never blocks.
    pub fn uncork(&mut self, now: Instant) -> FlushDecision {
        self.policy.uncork(now)
    }

    /// Releases everything; a cork stays on. During the handshake everything waits for its end.
    pub fn flush(&mut self, now: Instant) -> FlushDecision {
        self.policy.flush(now)
    }

    /// Releases everything, sends `close_notify` behind the last byte, and refuses further writes.
    ///
    /// During the handshake this waits for its end. Reading goes on: TLS 1.3 closes one direction at a time (RFC 8446, section 6.1).
    pub fn close(&mut self, now: Instant) -> FlushDecision {
        self.policy.close(now)
    }

    /// Gives up what is not yet sealed and refuses further writes; returns how many accepted bytes that costs.
    ///
    /// Does not wait for keys. The peer gets a `close_notify` only if nothing was lost: otherwise it has to see that the stream was cut.
    /// Transmit afterwards: sealed records, and the `close_notify`, still leave.
    pub fn abort(&mut self) -> usize {
        self.policy.abort()
    }

    /// Releases the held tail if its deadline has come, and gives an idle buffer back.
    pub fn handle_timeout(&mut self, now: Instant) -> FlushDecision {
        self.policy.handle_timeout(now)
    }

    /// The caller is about to sleep until the peer sends something: releases what is held, since the peer may be waiting for it.
    ///
    /// Call it when about to sleep, not whenever a read would block. Does nothing if
    /// [`flush_on_read_wait`](crate::CorkConfig::flush_on_read_wait) is off. A cork stays on.
    pub fn handle_read_wait(&mut self, now: Instant) -> FlushDecision {
        self.policy.handle_read_wait(now)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.policy.poll_timeout()
    }

    /// Whether [`transmit_with`](Self::transmit_with) would have something to do.
    pub fn wants_transmit(&self) -> bool {
        self.policy.wants_transmit()
    }

    /// Offers output to `send` until nothing is left or it returns `WouldBlock`.
    ///
    /// `send` gets slices of encrypted output, not copied, and whether further bytes are already waiting behind them (`MSG_MORE`);
    /// it returns how many bytes the transport took. `Interrupted` is tried again.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Io`] and [`TransmitError::WriteZero`] leave everything waiting.
    /// [`TransmitError::Seal`] is final: the plaintext that waited is discarded, and counted; an
    /// alert may still wait to be transmitted. [`TransmitError::Overrun`] is final too, nothing
    /// more is offered, and further calls return it again.
    pub fn transmit_with(
        &mut self,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.policy.transmit_with(send)
    }

    /// As [`transmit_with`](Self::transmit_with), but starts no further send after `limit` wire bytes.
    ///
    /// For drivers that must not be kept busy by one stream, however much waits in it. If the result is not `blocked` and
    /// [`wants_transmit`](Self::wants_transmit) still holds, the limit was reached: call again in the next turn, without waiting for the
    /// transport.
    ///
    /// # Errors
    ///
    /// As [`transmit_with`](Self::transmit_with).
    pub fn transmit_up_to(
        &mut self,
        limit: usize,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.policy.transmit_up_to(limit, send)
    }

    /// Appends all output that can leave now to `out`; returns how many bytes that was. For tests, simulators and memory transports.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`], as [`transmit_with`](Self::transmit_with).
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Result<usize, TransmitError> {
        self.policy.poll_transmit(out)
    }

    /// Takes one batch of output as an owned buffer, for loops whose sends own their buffers until they complete.
    ///
    /// `None` if nothing can leave now. Take the next when this one has been sent: plaintext that waits meanwhile shares records.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`], as [`transmit_with`](Self::transmit_with).
    pub fn take_transmit(&mut self) -> Result<Option<Output>, TransmitError> {
        self.policy.take_transmit()
    }

    /// Room in the buffer for plaintext, in bytes: what [`write_bytes`](Self::write_bytes) would
    /// accept now. Grows by transmitting.
    ///
    /// Zero means that any write of data is refused: [`WriteError::Blocked`] while open, otherwise
    /// [`is_write_closed`](Self::is_write_closed). If it is not zero, [`write`](Self::write) accepts at least a
    /// byte; a large write that is sealed straight from its slices accepts up to one batch, which
    /// may be more than this or less.
    pub fn send_capacity(&self) -> usize {
        self.policy.send_capacity()
    }

    /// Plaintext bytes accepted and not yet sealed.
    pub fn waiting(&self) -> usize {
        self.policy.waiting()
    }

    /// Whether no further write will be accepted: closed, aborted or failed.
    pub fn is_write_closed(&self) -> bool {
        self.policy.is_write_closed()
    }

    /// Whether a [`close`](Self::close) is through: all that was accepted and the end of the stream have been transmitted.
    ///
    /// Also true when an abort or a failure has nothing left to send. False while a close waits for keys.
    pub fn is_finished(&self) -> bool {
        self.policy.is_finished()
    }

    /// Accepted plaintext bytes that a failure has discarded; zero while there was none.
    ///
    /// What [`abort`](Self::abort) gave up does not count. Look at it when a close is through: a
    /// failure that was returned by another call may have cost bytes.
    pub fn lost_bytes(&self) -> usize {
        self.policy.lost_bytes()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.policy.stats()
    }
}
