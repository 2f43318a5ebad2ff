//! The outbound half: each method calls the method of the `CorkPolicy` inside.
//!
//! Signatures and documentation are the same as there; `core/tests/documentation.rs` compares them.

use std::io::{self, IoSlice};
use std::time::Instant;

use bytes::Bytes;

use super::Connection;
use crate::{FlushDecision, Output, SendFlags, Stats, TransmitError, Transmitted, WriteError, Written};

/// The outbound half, the same as [`CorkPolicy`](crate::CorkPolicy).
impl Connection {
    /// Writes the concatenation of `bufs` as one write event (R4).
    ///
    /// While uncorked, a write without [`SendFlags::MORE`] releases everything written so far, even
    /// if `bufs` is empty (R2). A write with `MORE`, or any write while corked, releases full
    /// records and holds the tail (R1, R3). During the handshake everything waits until the
    /// handshake has ended (R6).
    ///
    /// [`Written::accepted`] is the number of bytes accepted, from the front of `bufs`. A large
    /// write that can be sealed straight from `bufs` is accepted up to one batch; every other write
    /// up to [`send_capacity`](Self::send_capacity). A short write counts as written with `MORE`:
    /// write the rest with the flags of the whole.
    ///
    /// # Errors
    ///
    /// No byte was accepted. [`WriteError::Blocked`] if the buffer is full, [`WriteError::Closed`]
    /// after a close or an abort, [`WriteError::Failed`] after a fatal error.
    #[inline]
    pub fn write(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<Written, WriteError> {
        match self.policy.write_joining(now, bufs, flags) {
            Some(written) => Ok(written),
            None => self.write_event(now, bufs, flags),
        }
    }

    /// Not inline: the code is not generic, and stays in this crate.
    fn write_event(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<Written, WriteError> {
        self.policy.write_event(now, bufs, flags)
    }

    /// Fast path: writes `data` if the write would only extend the held tail. Otherwise returns
    /// false and writes nothing; call [`write`](Self::write) then, and
    /// [`handle_timeout`](Self::handle_timeout) with the same time.
    ///
    /// The call needs no `now`, because the deadline of the tail already runs and later writes do
    /// not move it. This saves a caller with many small pieces one reading of the clock for each
    /// piece. After 15 such writes in a row it returns false once, so that a deadline that has come
    /// is seen.
    ///
    /// [`DynamicRecords::idle_reset`](crate::DynamicRecords::idle_reset), the release of idle
    /// buffers and [`Stats::longest_hold`] count from the last write that had a `now`.
    #[inline]
    #[must_use = "false: nothing was written"]
    pub fn join_held(&mut self, data: &[u8], flags: SendFlags) -> bool {
        self.policy.join_held(data, flags)
    }

    /// Writes owned bytes as one write event; accepted bytes are split off the front of `data`.
    ///
    /// Accepts up to [`send_capacity`](Self::send_capacity) bytes and seals nothing in the call. If
    /// it accepts at most 1 KiB, the bytes are copied; more are kept without a copy. Otherwise the
    /// same as [`write`](Self::write).
    ///
    /// Shared bytes keep their whole allocation alive until they are sealed.
    /// [`send_buffer_limit`](crate::CorkConfig::send_buffer_limit) counts their length only.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write); `data` is unchanged then.
    pub fn write_bytes(&mut self, now: Instant, data: &mut Bytes, flags: SendFlags) -> Result<Written, WriteError> {
        self.policy.write_bytes(now, data, flags)
    }

    /// Holds the tail of every later write, as if it had [`SendFlags::MORE`], until
    /// [`uncork`](Self::uncork) (R10).
    ///
    /// [`hold_limit`](crate::CorkConfig::hold_limit) and the deadline stay in force.
    pub fn cork(&mut self, now: Instant) {
        self.policy.cork(now);
    }

    /// Whether the stream is corked: by [`cork`](Self::cork), or since its start
    /// ([`CorkConfig::corked`](crate::CorkConfig::corked)).
    pub fn is_corked(&self) -> bool {
        self.policy.is_corked()
    }

    /// Ends [`cork`](Self::cork) and releases everything (R10). Never blocks.
    ///
    /// During the handshake everything waits until the handshake has ended.
    pub fn uncork(&mut self, now: Instant) -> FlushDecision {
        self.policy.uncork(now)
    }

    /// Releases everything (R10). A cork stays on.
    ///
    /// During the handshake everything waits until the handshake has ended.
    pub fn flush(&mut self, now: Instant) -> FlushDecision {
        self.policy.flush(now)
    }

    /// Releases everything, puts `close_notify` behind the last byte and refuses further writes
    /// (R11).
    ///
    /// Transmit until [`is_finished`](Self::is_finished). During the handshake, the release and
    /// `close_notify` wait until the handshake has ended. A further call changes nothing.
    ///
    /// Reading goes on: in TLS 1.3, `close_notify` closes one direction (RFC 8446, section 6.1).
    pub fn close(&mut self, now: Instant) -> FlushDecision {
        self.policy.close(now)
    }

    /// Discards all plaintext that is not sealed and refuses further writes (R11). Returns the
    /// number of accepted bytes discarded.
    ///
    /// Does not wait for the handshake. A `close_notify` follows only if no byte was discarded:
    /// without one, the peer sees that the stream was cut. Transmit afterwards: sealed records and
    /// the `close_notify` still leave. Returns 0 and changes nothing if `close_notify` is already
    /// queued or the connection has failed.
    pub fn abort(&mut self) -> usize {
        self.policy.abort()
    }

    /// Releases the held tail if its deadline has come (R5), and frees the buffers of an idle
    /// policy.
    ///
    /// Call it at the time that [`poll_timeout`](Self::poll_timeout) returns. A call before that
    /// time changes nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> FlushDecision {
        self.policy.handle_timeout(now)
    }

    /// Releases what is held, because the caller is about to sleep until the peer sends something:
    /// the peer may be waiting for the held bytes (R12). If nothing waits, gives the buffer to the
    /// thread, so that an idle stream has none.
    ///
    /// Call it before the task sleeps, not each time a read returns `WouldBlock`. Releases nothing if
    /// [`flush_on_read_wait`](crate::CorkConfig::flush_on_read_wait) is off. A cork stays on.
    pub fn handle_read_wait(&mut self, now: Instant) -> FlushDecision {
        self.policy.handle_read_wait(now)
    }

    /// The time at which to call [`handle_timeout`](Self::handle_timeout); `None` if nothing is
    /// due.
    ///
    /// This is the deadline of the held tail. While no deadline runs, it is the time at which idle
    /// buffers are freed: 1 s after the last write. Every command, every `handle_*` call and every
    /// transmit can change it.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.policy.poll_timeout()
    }

    /// Whether a transmit would do something: offer output, seal plaintext, or return a deferred
    /// error.
    ///
    /// Every command, every `handle_*` call, every transmit and received bytes can change it.
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        self.policy.wants_transmit()
    }

    /// Offers output to `send` until nothing may leave any more, or `send` returns `WouldBlock`.
    ///
    /// `send` gets slices of encrypted output, which are not copied, and whether further output
    /// waits behind them (`MSG_MORE` of send(2)). It returns the number of bytes that the transport
    /// took. A `send` that returns `Interrupted` is repeated.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Io`] and [`TransmitError::WriteZero`] lose nothing: all output still waits.
    /// [`TransmitError::Seal`] is final; its `discarded` counts the plaintext bytes lost. An alert
    /// may still wait; transmit once more. [`TransmitError::Overrun`] and
    /// [`SealError::Contract`](crate::SealError::Contract) are final too: nothing more is offered,
    /// and further calls return the error again.
    pub fn transmit_with(
        &mut self,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.policy.transmit_with(send)
    }

    /// Same as [`transmit_with`](Self::transmit_with), but starts no further send after `limit`
    /// wire bytes (R16).
    ///
    /// For drivers that must not stay busy with one stream. The limit was reached if the result is
    /// not `blocked` and [`wants_transmit`](Self::wants_transmit) is still true: call again in the
    /// next turn, without waiting for the transport.
    ///
    /// # Errors
    ///
    /// Those of [`transmit_with`](Self::transmit_with).
    pub fn transmit_up_to(
        &mut self,
        limit: usize,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.policy.transmit_up_to(limit, send)
    }

    /// Appends all output that may leave now to `out`; returns the number of bytes appended. For
    /// tests, simulators and transports in memory.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`] and [`TransmitError::Overrun`], as
    /// [`transmit_with`](Self::transmit_with).
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Result<usize, TransmitError> {
        self.policy.poll_transmit(out)
    }

    /// Takes one batch of output as an owned buffer, for completion-based loops, whose sends own
    /// their buffers.
    ///
    /// Returns `None` if nothing may leave now. Take the next buffer when this one has been sent:
    /// plaintext written meanwhile shares records.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`] and [`TransmitError::Overrun`], as
    /// [`transmit_with`](Self::transmit_with).
    pub fn take_transmit(&mut self) -> Result<Option<Output>, TransmitError> {
        self.policy.take_transmit()
    }

    /// Room in the buffer for plaintext, in bytes: the most that [`write_bytes`](Self::write_bytes)
    /// accepts now. It grows when plaintext is sealed by a transmit.
    ///
    /// Zero means that a write of data is refused: with [`WriteError::Blocked`] while the
    /// connection is open, else because of [`is_write_closed`](Self::is_write_closed). If it is not
    /// zero, [`write`](Self::write) accepts at least one byte. A large write that is sealed
    /// straight from its slices accepts up to one batch, which may be more or less than this.
    pub fn send_capacity(&self) -> usize {
        self.policy.send_capacity()
    }

    /// Plaintext bytes accepted and not yet sealed.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.policy.waiting()
    }

    /// Whether further writes are refused: true for good after a close, an abort or a failure.
    pub fn is_write_closed(&self) -> bool {
        self.policy.is_write_closed()
    }

    /// Whether a [`close`](Self::close) is complete: all accepted bytes and the `close_notify` have
    /// been transmitted. False while a close waits for the handshake.
    ///
    /// Also true after an abort or a failure, once nothing is left to transmit.
    /// [`lost_bytes`](Self::lost_bytes) is not zero if a failure has discarded accepted bytes.
    pub fn is_finished(&self) -> bool {
        self.policy.is_finished()
    }

    /// Accepted plaintext bytes that a failure has discarded; zero without a failure.
    ///
    /// Bytes that [`abort`](Self::abort) discarded do not count. Check it when a close is complete:
    /// an earlier call may have returned the failure.
    pub fn lost_bytes(&self) -> usize {
        self.policy.lost_bytes()
    }

    /// A copy of the counters at this moment.
    pub fn stats(&self) -> Stats {
        self.policy.stats()
    }
}
