//! `CorkPolicy`: write events in; flush decisions and encrypted output out.

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

/// Decides when plaintext becomes records and when records leave.
///
/// Four kinds of method, in the order in which a driver calls them: *commands* (`write`, `write_bytes`, `cork`, `uncork`, `flush`, `close`,
/// `abort`), *`handle_*`* for what happens outside, *output* (`transmit_with`, `poll_transmit`, `take_transmit`), and *getters*. `now`
/// must not go backwards.
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
    /// The final error of a transmit, for whoever asks again.
    failure: Option<TransmitError>,
    /// Accepted bytes that a failure discarded.
    lost: usize,
    stats: Stats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// No more writes; `close_notify` follows the last byte.
    Closing,
    Closed,
    Failed,
}

impl<S: Seal> CorkPolicy<S> {
    /// A policy over `seal`.
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
        if let [data] = bufs
            && self.join_held(data, flags)
        {
            self.hold.wrote(now);
            return Ok(Written { accepted: data.len(), decision: self.hold_until() });
        }
        self.check_open()?;
        // R16: of many small slices, no more are looked at than can be accepted.
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

    /// Writes `data` if all that this does is to make the held tail longer; else false, and nothing was done.
    ///
    /// Takes no time: the deadline of the tail runs already, and later writes do not push it back. Saves a caller with many small
    /// pieces a reading of the clock for each. What counts from the last write (idle times, and the longest hold where filling ends it) counts from
    /// the last one that came with its time.
    #[inline]
    #[must_use = "false: nothing was written"]
    pub fn join_held(&mut self, data: &[u8], flags: SendFlags) -> bool {
        // Less than a record waits then: within every limit, and never after a close or a failure.
        let joins = self.hold.join(data.len(), flags.contains(SendFlags::MORE));
        if joins {
            self.queue.push_copy(data);
            self.stats.count_copied(data.len());
        }
        joins
    }

    /// Writes owned bytes: what is accepted is split off the front of `data`, and large pieces are never copied.
    ///
    /// Otherwise as [`write`](Self::write). Shared bytes keep their whole allocation alive until they are sealed; the limit counts their length.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); `data` is unchanged then.
    pub fn write_bytes(&mut self, now: Instant, data: &mut Bytes, flags: SendFlags) -> Result<Written, WriteError> {
        self.check_open()?;
        let offered = data.len();
        let accepted = self.admit(offered)?;
        self.stats.count_copied(self.queue.push_bytes(data.split_to(accepted)));
        Ok(self.written(now, accepted, offered, flags))
    }

    /// From now on every write holds its tail, as if it had [`SendFlags::MORE`], until [`uncork`](Self::uncork).
    ///
    /// Size limit and deadline stay in force.
    pub fn cork(&mut self, _now: Instant) {
        self.hold.cork();
    }

    /// Ends [`cork`](Self::cork) and releases everything. Never blocks.
    pub fn uncork(&mut self, now: Instant) -> FlushDecision {
        self.hold.uncork(now).counted(&mut self.stats)
    }

    /// Releases everything; a cork stays on. During the handshake everything waits for its end.
    pub fn flush(&mut self, now: Instant) -> FlushDecision {
        self.release(now, FlushReason::Flush)
    }

    /// Releases everything, sends `close_notify` behind the last byte, and refuses further writes.
    ///
    /// During the handshake this waits for its end. Reading goes on: TLS 1.3 closes one direction at a time (RFC 8446, section 6.1).
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

    /// Gives up what is not yet sealed and refuses further writes; returns how many accepted bytes that costs.
    ///
    /// Does not wait for keys. The peer gets a `close_notify` only if nothing was lost: otherwise it has to see that the stream was cut.
    /// Transmit afterwards: sealed records, and the `close_notify`, still leave.
    pub fn abort(&mut self) -> usize {
        if matches!(self.state, State::Closed | State::Failed) {
            return 0;
        }
        let discarded = self.discard();
        self.state = State::Closed;
        if discarded == 0 {
            self.outlet.get_mut().close_notify();
        }
        discarded
    }

    /// Releases the held tail if its deadline has come, and gives an idle buffer back.
    pub fn handle_timeout(&mut self, now: Instant) -> FlushDecision {
        if self.idle_buffer_due().is_some_and(|due| due <= now) {
            self.spare.give_back(&mut self.queue);
        }
        self.hold.timeout(now).counted(&mut self.stats)
    }

    /// The caller is about to sleep until the peer sends something: releases what is held, since the peer may be waiting for it.
    ///
    /// Call it when about to sleep, not whenever a read would block. Does nothing if
    /// [`flush_on_read_wait`](crate::CorkConfig::flush_on_read_wait) is off. A cork stays on.
    pub fn handle_read_wait(&mut self, now: Instant) -> FlushDecision {
        if !self.flush_on_read_wait || self.hold.held() == 0 {
            return self.hold_until();
        }
        self.release(now, FlushReason::ReadWait)
    }

    /// The handshake has ended: all that was written during it is released, and a
    /// [`close`](Self::close) that waited goes ahead.
    ///
    /// [`Connection`](crate::Connection) calls this; only users of a [`Seal`] of their own need to. Does nothing before
    /// [`Seal::is_ready`].
    pub fn handle_handshake_done(&mut self, now: Instant) -> FlushDecision {
        if self.hold.is_ready() || !self.outlet.get_ref().is_ready() || self.state == State::Failed {
            return self.hold_until();
        }
        self.hold.keys_exist(now).counted(&mut self.stats).or_end(self.state == State::Closing)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.hold.deadline().or_else(|| self.idle_buffer_due())
    }

    /// Whether [`transmit_with`](Self::transmit_with) would have something to do.
    pub fn wants_transmit(&self) -> bool {
        self.outlet.severed().is_none() && self.outlet.has_output()
            || self.deferred.is_some()
            || (self.hold.is_ready()
                && (self.hold.unsealed() > 0 || self.state == State::Closing || self.has_control()))
    }

    /// Room in the buffer for plaintext, in bytes: what [`write_bytes`](Self::write_bytes) would
    /// accept now. Grows by transmitting.
    ///
    /// Zero means that any write of data is refused: [`WriteError::Blocked`] while open, otherwise
    /// [`is_write_closed`](Self::is_write_closed). If it is not zero, [`write`](Self::write) accepts at least a
    /// byte; a large write that is sealed straight from its slices accepts up to one batch, which
    /// may be more than this or less.
    pub fn send_capacity(&self) -> usize {
        if self.is_write_closed() { 0 } else { self.send_buffer_limit.saturating_sub(self.queue.len()) }
    }

    /// Plaintext bytes accepted and not yet sealed.
    pub fn waiting(&self) -> usize {
        self.hold.waiting()
    }

    /// Whether no further write will be accepted: closed, aborted or failed.
    pub fn is_write_closed(&self) -> bool {
        self.state != State::Open
    }

    /// Whether a [`close`](Self::close) is through: all that was accepted and the end of the stream have been transmitted.
    ///
    /// Also true when an abort or a failure has nothing left to send. False while a close waits for keys.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed)
            && self.hold.waiting() == 0
            && (self.outlet.severed().is_some() || !self.outlet.has_output())
            && self.deferred.is_none()
    }

    /// Accepted plaintext bytes that a failure has discarded; zero while there was none.
    ///
    /// What [`abort`](Self::abort) gave up does not count. Look at it when a close is through: a
    /// failure that was returned by another call may have cost bytes.
    pub fn lost_bytes(&self) -> usize {
        self.lost
    }

    /// The error that ended this policy for good, as it was first returned by a transmit; `None`
    /// while there was none.
    ///
    /// An error that a write has found is here at once, and returned by the next transmit. What
    /// [`handle_failure`](Self::handle_failure) reported is its caller's to remember.
    pub fn failure(&self) -> Option<&TransmitError> {
        self.failure.as_ref()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.longest_hold = self.hold.longest_hold();
        stats
    }

    /// The session has failed, for instance by what it received: discards what is not sealed, refuses further writes, and returns how many accepted
    /// bytes that costs.
    ///
    /// [`Connection`](crate::Connection) calls this; only users of a [`Seal`] of their own need to.
    pub fn handle_failure(&mut self) -> usize {
        self.state = State::Failed;
        let discarded = self.discard();
        self.lost += discarded;
        discarded
    }

    /// The session.
    pub fn get_ref(&self) -> &S {
        self.outlet.get_ref()
    }

    /// The session, for its inbound half and its handshake. What it is given to send must come from this policy alone.
    pub fn get_mut(&mut self) -> &mut S {
        self.outlet.get_mut()
    }

    /// Nothing follows `close_notify`.
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

    /// How much of `offered` fits the buffer.
    fn admit(&self, offered: usize) -> Result<usize, WriteError> {
        match offered.min(self.send_capacity()) {
            0 if offered > 0 => Err(WriteError::Blocked),
            n => Ok(n),
        }
    }

    fn written(&mut self, now: Instant, accepted: usize, offered: usize, flags: SendFlags) -> Written {
        let more = is_more(accepted, offered, flags);
        let decision = self.hold.write(now, accepted, more).counted(&mut self.stats);
        Written { accepted, decision }
    }

    /// R7: nothing is sealed while sealed application bytes still wait.
    fn can_seal_now(&self) -> bool {
        self.hold.is_ready() && !self.outlet.is_in_flight() && self.deferred.is_none()
    }

    /// No batch is larger than this now, wherever a ramp ends.
    fn largest_write_through(&self) -> usize {
        self.outlet.batch_size().max(self.hold.record_size())
    }

    fn push_copies(&mut self, bufs: &[IoSlice<'_>], skip: usize, len: usize) {
        gather::pieces(bufs, skip, len, |piece| self.queue.push_copy(piece));
        self.stats.count_copied(len);
    }

    /// Seals a large write straight from the caller's slices, behind what is queued; only a held tail is copied.
    ///
    /// `None`, and nothing done, if the queue alone makes the next batch.
    #[inline(never)] // not in the way of small writes
    fn write_through(
        &mut self,
        now: Instant,
        bufs: &[IoSlice<'_>],
        offered: usize,
        flags: SendFlags,
    ) -> Result<Option<Written>, WriteError> {
        let queued = self.queue.len();
        let mut hold = self.hold;
        hold.restart_ramp(now);
        let room = hold.largest_batch(self.outlet.batch_size()).saturating_sub(queued);
        if room < offered && room < hold.record_size() {
            return Ok(None);
        }
        let mut accepted = offered.min(room);
        let released = hold.released();
        let decision = hold.write(now, accepted, is_more(accepted, offered, flags));
        let batch = hold.next_batch(self.outlet.batch_size());
        let Some(direct) = batch.len.checked_sub(queued).filter(|direct| *direct > 0) else {
            return Ok(None);
        };
        self.hold = hold;
        if let Err((sealed, error)) = self.seal_batch(batch, bufs) {
            // What was not sealed does not count as accepted; the next transmit tells why.
            let taken = sealed.saturating_sub(queued);
            self.hold.unwrite(accepted - taken);
            self.deferred = Some(self.seal_failed(error));
            if taken == 0 {
                return Err(WriteError::Failed);
            }
            accepted = taken;
        } else {
            // Less than a record: all else of what was accepted is in the batch.
            self.push_copies(bufs, direct, accepted - direct);
        }
        let decision = decision.counted(&mut self.stats).of_sealed((self.hold.released() - released) as usize);
        Ok(Some(Written { accepted, decision }))
    }

    /// Seals `batch`: what is queued, and behind it what `bufs` begins with. If not all could be sealed, says how many bytes were, and why no more.
    fn seal_batch(&mut self, batch: Batch, bufs: &[IoSlice<'_>]) -> Result<(), (usize, SealError)> {
        let queued = batch.len.min(self.queue.len());
        let mut slices = Slices::new();
        self.queue.front(queued, &mut slices);
        gather::pieces(bufs, 0, batch.len - queued, |piece| slices.push(IoSlice::new(piece)));
        let (sealed, records) = self.outlet.seal(&slices, batch).map_err(|error| (0, error))?;
        drop(slices);
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
                self.failure = Some(TransmitError::Seal { error: error.clone(), discarded });
                TransmitError::Seal { error, discarded }
            }
        }
    }

    /// Fails for good: nothing more is offered. The batch in flight counts as lost, since an
    /// unknown part of it has arrived.
    fn sever(&mut self, why: Severed) -> TransmitError {
        let on_its_way = self.outlet.sever(why);
        let discarded = self.handle_failure() + on_its_way;
        self.lost += on_its_way;
        self.failure = Some(why.error(discarded));
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

/// R9: what a short write accepted counts as written with `MORE`.
fn is_more(accepted: usize, offered: usize, flags: SendFlags) -> bool {
    accepted < offered || flags.contains(SendFlags::MORE)
}
