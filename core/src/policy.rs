//! `CorkPolicy`: takes write events, returns flush decisions and encrypted output.

mod transmit;

use std::io::IoSlice;
use std::time::Instant;

use bytes::Bytes;

use crate::batch::BatchSize;
use crate::config::in_range;
use crate::gather::{self, Slices};
use crate::hold::{Batch, Hold};
use crate::outlet::{Outlet, Severed};
use crate::queue::Queue;
use crate::spare::Spare;
use crate::{
    ConfigError, CorkConfig, FlushDecision, FlushReason, Seal, SealError, SendFlags, Stats, TransmitError, WriteError,
    Written,
};

/// Decides when plaintext becomes TLS records and when the records leave.
///
/// There are four kinds of method. A driver calls them in this order: *commands* (`write`,
/// `write_bytes`, `cork`, `uncork`, `flush`, `close`, `abort`), *`handle_*`* for events outside the
/// policy, *output* (`transmit_with`, `transmit_up_to`, `poll_transmit`, `take_transmit`), and
/// *getters*. The argument `now` must not decrease from one call to the next.
///
/// ```
/// use std::io::IoSlice;
/// use std::time::Instant;
/// use tls_cork::{CorkConfig, CorkPolicy, Passthrough, SendFlags};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut policy = CorkPolicy::new(Passthrough::new(), CorkConfig::default())?;
/// let now = Instant::now();
/// let header = policy.write(now, &[IoSlice::new(b"header ")], SendFlags::MORE)?;
/// assert!(!header.decision.is_flush());
/// let body = policy.write(now, &[IoSlice::new(b"body")], SendFlags::NONE)?;
/// assert!(body.decision.is_flush());
/// let mut out = Vec::new();
/// policy.poll_transmit(&mut out)?;
/// assert_eq!(out, b"header body");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CorkPolicy<S> {
    outlet: Outlet<S>,
    hold: Hold,
    queue: Queue,
    spare: Spare,
    send_buffer_limit: usize,
    flush_on_read_wait: bool,
    state: State,
    deferred: Option<TransmitError>,
    /// The error that ended this policy, kept for `failure`.
    failure: Option<Box<TransmitError>>,
    /// Accepted plaintext bytes that a failure discarded.
    lost: usize,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Writes are refused; `close_notify` will follow the last byte.
    Closing,
    Closed,
    Failed,
}

impl<S: Seal> CorkPolicy<S> {
    /// Creates a policy over `seal`.
    ///
    /// # Errors
    ///
    /// If `config` is invalid (see [`CorkConfig::validate`]), or [`Seal::max_record_size`] is zero.
    pub fn new(seal: S, config: CorkConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let max_record = seal.max_record_size();
        in_range("max_record_size of Seal", max_record, 1, usize::MAX)?;
        Ok(Self {
            hold: Hold::new(&config, max_record, seal.is_ready()),
            outlet: Outlet::new(seal, BatchSize::new(config.batch_min, config.batch_max)),
            queue: Queue::default(),
            spare: Spare::default(),
            send_buffer_limit: config.send_buffer_limit,
            flush_on_read_wait: config.flush_on_read_wait,
            state: State::Open,
            deferred: None,
            failure: None,
            lost: 0,
            stats: Stats::default(),
        })
    }

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
        match self.write_joining(now, bufs, flags) {
            Some(written) => Ok(written),
            None => self.write_event(now, bufs, flags),
        }
    }

    /// Fast path of a write: as [`join_held`](Self::join_held), with a time.
    #[inline]
    pub(crate) fn write_joining(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Option<Written> {
        let [data] = bufs else { return None };
        let joins = self.hold.join(data.len(), flags.contains(SendFlags::MORE));
        joins.then(|| {
            self.joined(data);
            self.hold.wrote(now);
            Written { accepted: data.len(), decision: self.hold_until() }
        })
    }

    /// A write that does not join the held tail.
    pub(crate) fn write_event(
        &mut self,
        now: Instant,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
    ) -> Result<Written, WriteError> {
        if let Some(written) = self.write_short(now, bufs, flags) {
            return Ok(written);
        }
        self.check_open()?;
        // R16: looks at no more slices than the write can accept.
        let through = self.can_seal_now();
        let most = if through { self.largest_write_through() } else { self.send_capacity() };
        let mut offered = gather::total_up_to(bufs, most);
        self.admit(offered)?;
        if through && self.queue.len() + offered >= self.hold.record_size() {
            if let Some(written) = self.write_through(now, bufs, offered, flags)? {
                return Ok(written);
            }
            offered = gather::total_up_to(bufs, self.send_capacity());
        }
        let accepted = self.admit(offered)?;
        self.push_copies(bufs, 0, accepted);
        Ok(self.written(now, accepted, offered, flags))
    }

    /// Fast path of a write: one slice, with which less than a record is queued.
    #[inline]
    fn write_short(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Option<Written> {
        let [data] = bufs else { return None };
        let queued = self.queue.len() + data.len();
        if self.state != State::Open || queued >= self.hold.record_size() || queued > self.send_buffer_limit {
            return None;
        }
        self.queue.push_copy(data);
        self.stats.count_copied(data.len());
        if self.hold.write_last(now, data.len(), flags.contains(SendFlags::MORE)) {
            let decision = FlushDecision::Flush { bytes: data.len(), reason: FlushReason::Last };
            return Some(Written { accepted: data.len(), decision: decision.counted(&mut self.stats) });
        }
        Some(self.written(now, data.len(), data.len(), flags))
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
        let joins = self.hold.join_timeless(data.len(), flags.contains(SendFlags::MORE));
        if joins {
            self.joined(data);
        }
        joins
    }

    /// No more than the hold limit waits after a join, so no limit is exceeded. Nothing is held after
    /// a close or a failure.
    #[inline]
    fn joined(&mut self, data: &[u8]) {
        self.queue.push_copy(data);
        self.stats.count_copied(data.len());
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
        self.check_open()?;
        let offered = data.len();
        let accepted = self.admit(offered)?;
        self.stats.count_copied(self.queue.push_bytes(data.split_to(accepted)));
        Ok(self.written(now, accepted, offered, flags))
    }

    /// Holds the tail of every later write, as if it had [`SendFlags::MORE`], until
    /// [`uncork`](Self::uncork) (R10).
    ///
    /// [`hold_limit`](crate::CorkConfig::hold_limit) and the deadline stay in force.
    pub fn cork(&mut self, _now: Instant) {
        self.hold.cork();
    }

    /// Whether the stream is corked: by [`cork`](Self::cork), or since its start
    /// ([`CorkConfig::corked`](crate::CorkConfig::corked)).
    pub fn is_corked(&self) -> bool {
        self.hold.is_corked()
    }

    /// Ends [`cork`](Self::cork) and releases everything (R10). Never blocks.
    ///
    /// During the handshake everything waits until the handshake has ended.
    pub fn uncork(&mut self, now: Instant) -> FlushDecision {
        self.hold.uncork(now).counted(&mut self.stats)
    }

    /// Releases everything (R10). A cork stays on.
    ///
    /// During the handshake everything waits until the handshake has ended.
    pub fn flush(&mut self, now: Instant) -> FlushDecision {
        self.release(now, FlushReason::Flush)
    }

    /// Releases everything, puts `close_notify` behind the last byte and refuses further writes
    /// (R11).
    ///
    /// Transmit until [`is_finished`](Self::is_finished). During the handshake, the release and
    /// `close_notify` wait until the handshake has ended. A further call changes nothing.
    ///
    /// Reading goes on: in TLS 1.3, `close_notify` closes one direction (RFC 8446, section 6.1).
    pub fn close(&mut self, now: Instant) -> FlushDecision {
        if self.state != State::Open {
            return self.hold_until();
        }
        self.state = State::Closing;
        if !self.hold.is_ready() {
            return self.hold_until();
        }
        self.release(now, FlushReason::Close).or_end(true)
    }

    /// Discards all plaintext that is not sealed and refuses further writes (R11). Returns the
    /// number of accepted bytes discarded.
    ///
    /// Does not wait for the handshake. A `close_notify` follows only if no byte was discarded:
    /// without one, the peer sees that the stream was cut. Transmit afterwards: sealed records and
    /// the `close_notify` still leave. Returns 0 and changes nothing if `close_notify` is already
    /// queued or the connection has failed.
    pub fn abort(&mut self) -> usize {
        if matches!(self.state, State::Closed | State::Failed) {
            return 0;
        }
        let discarded = self.discard();
        self.state = State::Closed;
        if discarded == 0 {
            // An error has the effect of a discarded byte: no `close_notify`.
            let _ = self.outlet.get_mut().close_notify();
        }
        discarded
    }

    /// Releases the held tail if its deadline has come (R5), and frees the buffers of an idle
    /// policy.
    ///
    /// Call it at the time that [`poll_timeout`](Self::poll_timeout) returns. A call before that
    /// time changes nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> FlushDecision {
        if self.idle_buffer_due().is_some_and(|due| due <= now) {
            self.spare.give_back(&mut self.queue);
        }
        self.hold.timeout(now).counted(&mut self.stats)
    }

    /// Releases what is held, because the caller is about to sleep until the peer sends something:
    /// the peer may be waiting for the held bytes (R12). If nothing waits, gives the buffer to the
    /// thread, so that an idle stream has none.
    ///
    /// Call it before the task sleeps, not each time a read returns `WouldBlock`. Releases nothing if
    /// [`flush_on_read_wait`](crate::CorkConfig::flush_on_read_wait) is off. A cork stays on.
    pub fn handle_read_wait(&mut self, now: Instant) -> FlushDecision {
        self.give_back_buffer();
        if !self.flush_on_read_wait || self.hold.held() == 0 {
            return self.hold_until();
        }
        self.release(now, FlushReason::ReadWait)
    }

    /// Releases everything that was written during the handshake (R6). A [`close`](Self::close)
    /// that waited for the handshake goes ahead.
    ///
    /// Does nothing before [`Seal::is_ready`], nor after the first call that found it true. Only
    /// users of their own [`Seal`] call it: [`Connection`](crate::Connection) calls it itself.
    pub fn handle_handshake_done(&mut self, now: Instant) -> FlushDecision {
        if self.hold.is_ready() || !self.outlet.get_ref().is_ready() || self.state == State::Failed {
            return self.hold_until();
        }
        self.hold.keys_exist(now).counted(&mut self.stats).or_end(self.state == State::Closing)
    }

    /// The time at which to call [`handle_timeout`](Self::handle_timeout); `None` if nothing is
    /// due.
    ///
    /// This is the deadline of the held tail. While no deadline runs, it is the time at which idle
    /// buffers are freed: 1 s after the last write. Every command, every `handle_*` call and every
    /// transmit can change it.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.hold.deadline().or_else(|| self.idle_buffer_due())
    }

    /// Whether a transmit would do something: offer output, seal plaintext, or return a deferred
    /// error.
    ///
    /// Every command, every `handle_*` call, every transmit and received bytes can change it.
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        self.outlet.severed().is_none() && self.outlet.has_output() || self.can_make_output()
    }

    /// Whether a transmit would make output or return a deferred error.
    #[inline]
    fn can_make_output(&self) -> bool {
        self.deferred.is_some()
            || (self.hold.is_ready()
                && (self.hold.unsealed() > 0 || self.state == State::Closing || self.has_control()))
    }

    /// Room in the buffer for plaintext, in bytes: the most that [`write_bytes`](Self::write_bytes)
    /// accepts now. It grows when plaintext is sealed by a transmit.
    ///
    /// Zero means that a write of data is refused: with [`WriteError::Blocked`] while the
    /// connection is open, else because of [`is_write_closed`](Self::is_write_closed). If it is not
    /// zero, [`write`](Self::write) accepts at least one byte. A large write that is sealed
    /// straight from its slices accepts up to one batch, which may be more or less than this.
    pub fn send_capacity(&self) -> usize {
        if self.is_write_closed() { 0 } else { self.send_buffer_limit.saturating_sub(self.queue.len()) }
    }

    /// Plaintext bytes accepted and not yet sealed.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.hold.waiting()
    }

    /// Whether further writes are refused: true for good after a close, an abort or a failure.
    pub fn is_write_closed(&self) -> bool {
        self.state != State::Open
    }

    /// Whether a [`close`](Self::close) is complete: all accepted bytes and the `close_notify` have
    /// been transmitted. False while a close waits for the handshake.
    ///
    /// Also true after an abort or a failure, once nothing is left to transmit.
    /// [`lost_bytes`](Self::lost_bytes) is not zero if a failure has discarded accepted bytes.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed)
            && self.hold.waiting() == 0
            && (self.outlet.severed().is_some() || !self.outlet.has_output())
            && self.deferred.is_none()
    }

    /// Accepted plaintext bytes that a failure has discarded; zero without a failure.
    ///
    /// Bytes that [`abort`](Self::abort) discarded do not count. Check it when a close is complete:
    /// an earlier call may have returned the failure.
    pub fn lost_bytes(&self) -> usize {
        self.lost
    }

    /// The error that ended this policy for good, as a transmit first returned it; `None` without
    /// one.
    ///
    /// An error that a write found is here at once; the next transmit returns it. A failure that
    /// the caller reported by [`handle_failure`](Self::handle_failure) is not here.
    pub fn failure(&self) -> Option<&TransmitError> {
        self.failure.as_deref()
    }

    /// A copy of the counters at this moment.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.longest_hold = self.hold.longest_hold();
        stats
    }

    /// Discards all plaintext that is not sealed, because the session has failed, for instance by
    /// the bytes it received (R11). Refuses further writes and returns the number of accepted bytes
    /// discarded.
    ///
    /// Transmit afterwards: sealed records and an alert of the session still leave. Only users of
    /// their own [`Seal`] call it: [`Connection`](crate::Connection) calls it itself.
    pub fn handle_failure(&mut self) -> usize {
        self.state = State::Failed;
        let discarded = self.discard();
        self.lost += discarded;
        discarded
    }

    /// The sealer.
    pub fn get_ref(&self) -> &S {
        self.outlet.get_ref()
    }

    /// The sealer, for its inbound half and its handshake. Give it no plaintext to send: all of
    /// that must come from this policy (R14).
    pub fn get_mut(&mut self) -> &mut S {
        self.outlet.get_mut()
    }

    /// Gives the buffer of an empty queue to the thread, because the stream is likely to be idle.
    pub(crate) fn give_back_buffer(&mut self) {
        self.queue.give_back();
    }

    /// Whether control output may be queued: none follows `close_notify`.
    fn has_control(&self) -> bool {
        matches!(self.state, State::Open | State::Closing) && self.outlet.get_ref().has_control()
    }

    fn check_open(&self) -> Result<(), WriteError> {
        match self.state {
            State::Open => Ok(()),
            State::Closing | State::Closed => Err(WriteError::Closed),
            State::Failed => Err(WriteError::Failed),
        }
    }

    /// R9: how many of the `offered` bytes fit the buffer.
    fn admit(&self, offered: usize) -> Result<usize, WriteError> {
        match offered.min(self.send_capacity()) {
            0 if offered > 0 => Err(WriteError::Blocked),
            n => Ok(n),
        }
    }

    #[inline(never)]
    fn written(&mut self, now: Instant, accepted: usize, offered: usize, flags: SendFlags) -> Written {
        let more = flags.contains(SendFlags::MORE);
        let decision = self.hold.write(now, accepted, more, accepted < offered).counted(&mut self.stats);
        Written { accepted, decision }
    }

    /// R7: nothing is sealed while sealed plaintext waits for the transport.
    fn can_seal_now(&self) -> bool {
        self.hold.is_ready() && !self.outlet.is_in_flight() && self.deferred.is_none()
    }

    /// An upper limit for the next batch, in bytes, wherever a ramp ends.
    fn largest_write_through(&self) -> usize {
        self.outlet.batch_size().max(self.hold.record_size())
    }

    fn push_copies(&mut self, bufs: &[IoSlice<'_>], skip: usize, len: usize) {
        match bufs {
            // Frequent, and without a cursor.
            [data] if skip == 0 => self.queue.push_copy(&data[..len.min(data.len())]),
            _ => gather::pieces(bufs, skip, len, |piece| self.queue.push_copy(piece)),
        }
        self.stats.count_copied(len);
    }

    /// R9: seals a large write straight from the caller's slices, behind what is queued. Only a
    /// held tail is copied.
    ///
    /// Returns `None` and does nothing if the queue alone makes the next batch.
    #[inline(never)] // keeps the path of small writes short
    fn write_through(
        &mut self,
        now: Instant,
        bufs: &[IoSlice<'_>],
        offered: usize,
        flags: SendFlags,
    ) -> Result<Option<Written>, WriteError> {
        let queued = self.queue.len();
        let mut hold = self.hold.clone();
        hold.restart_ramp(now);
        let room = hold.largest_batch(self.outlet.batch_size()).saturating_sub(queued);
        if room < offered && room < hold.record_size() {
            return Ok(None);
        }
        let mut accepted = offered.min(room);
        let released = hold.released();
        // R9: a short write counts as written with `MORE`.
        let decision = hold.write(now, accepted, flags.contains(SendFlags::MORE), accepted < offered);
        let batch = hold.next_batch(self.outlet.batch_size());
        let Some(direct) = batch.len.checked_sub(queued).filter(|direct| *direct > 0) else {
            return Ok(None);
        };
        self.hold = hold;
        if let Err((sealed, error)) = self.seal_batch(batch, bufs) {
            // Bytes that were not sealed do not count as accepted. The next transmit returns the
            // error.
            let taken = sealed.saturating_sub(queued);
            self.hold.unwrite(accepted - taken);
            self.deferred = Some(self.seal_failed(error));
            if taken == 0 {
                return Err(WriteError::Failed);
            }
            accepted = taken;
        } else {
            // Less than a record: the batch has the rest of the accepted bytes.
            self.push_copies(bufs, direct, accepted - direct);
        }
        let decision = decision.counted(&mut self.stats).of_sealed((self.hold.released() - released) as usize);
        Ok(Some(Written { accepted, decision }))
    }

    /// R4: seals `batch`, which is the queue and then the first bytes of `bufs`. If only a part was
    /// sealed, returns its length and the error that stopped it.
    #[inline(always)]
    fn seal_batch(&mut self, batch: Batch, bufs: &[IoSlice<'_>]) -> Result<(), (usize, SealError)> {
        let sealed = match self.queue.whole(batch.len) {
            // The most frequent case, without a list.
            Some(data) => self.outlet.seal(&[IoSlice::new(data)], batch),
            None => {
                let queued = batch.len.min(self.queue.len());
                let mut slices = Slices::new();
                self.queue.front(queued, &mut slices);
                if batch.len > queued {
                    gather::pieces(bufs, 0, batch.len - queued, |piece| slices.push(IoSlice::new(piece)));
                }
                self.outlet.seal(&slices, batch)
            }
        };
        let (sealed, records) = sealed.map_err(|error| (0, error))?;
        self.queue.consume(sealed.len);
        self.hold.sealed(sealed);
        self.stats.count_sealed(sealed, records);
        if sealed.len < batch.len { Err((sealed.len, SealError::KeysExhausted)) } else { Ok(()) }
    }

    fn seal_failed(&mut self, error: SealError) -> TransmitError {
        match error {
            SealError::Contract(how) => self.sever(Severed::Seal(how)),
            error => {
                let discarded = self.handle_failure();
                self.failure = Some(Box::new(TransmitError::Seal { error: error.clone(), discarded }));
                TransmitError::Seal { error, discarded }
            }
        }
    }

    /// Ends the policy: nothing more is offered to the transport. The batch in flight counts as
    /// lost, since an unknown part of it has arrived.
    fn sever(&mut self, why: Severed) -> TransmitError {
        let on_its_way = self.outlet.sever(why);
        let discarded = self.handle_failure() + on_its_way;
        self.lost += on_its_way;
        self.failure = Some(Box::new(why.error(discarded)));
        why.error(discarded)
    }

    fn discard(&mut self) -> usize {
        self.queue.clear();
        self.hold.discard()
    }

    fn release(&mut self, now: Instant, reason: FlushReason) -> FlushDecision {
        self.hold.release_all(now, reason).counted(&mut self.stats)
    }

    fn hold_until(&self) -> FlushDecision {
        FlushDecision::Hold { until: self.hold.deadline() }
    }

    fn idle_buffer_due(&self) -> Option<Instant> {
        self.spare.due(&self.queue, self.hold.last_write())
    }
}
