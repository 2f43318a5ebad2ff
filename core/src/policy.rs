//! `CorkPolicy`: write events in; flush decisions and encrypted output out.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::batch::BatchSize;
use crate::config::in_range;
use crate::gather::{self, Slices};
use crate::hold::{Batch, Hold};
use crate::queue::Queue;
use crate::{
    ConfigError, CorkConfig, FlushDecision, FlushReason, Output, Seal, SealError, SendFlags, Stats, TransmitError,
    Transmitted, WriteError, Written,
};

/// After how long without a write an idle policy gives its buffer back.
const IDLE_BUFFER: Duration = Duration::from_secs(1);
/// Wire bytes of output in a row that no handshake comes near to.
const OUTPUT_MAX: usize = 64 << 20;
/// Wire bytes for each byte of plaintext that no record comes near to.
const RECORD_OVERHEAD: usize = 512;

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
    seal: S,
    hold: Hold,
    queue: Queue,
    batch: BatchSize,
    send_buffer_limit: usize,
    flush_on_read_wait: bool,
    /// Plaintext bytes of the batch that waits, sealed, for the transport.
    in_flight: usize,
    /// Wire bytes of the output that waits which have been transmitted already.
    sent_of_output: usize,
    /// It is as large as batches may be now.
    whole_batch: bool,
    /// The buffer of the last `Output`, to be filled again once that has been dropped.
    taken: Option<BytesMut>,
    pushed_back: bool,
    state: State,
    deferred: Option<TransmitError>,
    /// Why nothing more may be transmitted.
    severed: Option<Severed>,
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

/// Why the position in the peer's stream is unknown.
#[derive(Clone, Copy, Debug)]
enum Severed {
    /// A transport that took more than it was offered.
    Overrun { offered: usize, reported: usize },
    /// A sealer that broke its contract.
    Seal(&'static str),
}

impl Severed {
    fn error(self, discarded: usize) -> TransmitError {
        match self {
            Self::Overrun { offered, reported } => TransmitError::Overrun { offered, reported, discarded },
            Self::Seal(how) => TransmitError::Seal { error: SealError::Contract(how), discarded },
        }
    }
}

/// What became of the send that a sealer makes in one transmit.
#[derive(Clone, Copy)]
enum Sent {
    NotAsked,
    Took(usize),
    Failed(io::ErrorKind),
    Severed(Severed),
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
            seal,
            queue: Queue::default(),
            batch: BatchSize::new(config.batch_min, config.batch_max),
            send_buffer_limit: config.send_buffer_limit,
            flush_on_read_wait: config.flush_on_read_wait,
            in_flight: 0,
            sent_of_output: 0,
            taken: None,
            whole_batch: false,
            pushed_back: false,
            state: State::Open,
            deferred: None,
            severed: None,
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
            self.stats.copied_bytes += data.len() as u64;
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
        self.stats.copied_bytes += self.queue.push_bytes(data.split_to(accepted)) as u64;
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
            self.seal.close_notify();
        }
        discarded
    }

    /// Releases the held tail if its deadline has come, and gives an idle buffer back.
    pub fn handle_timeout(&mut self, now: Instant) -> FlushDecision {
        if self.idle_buffer_due().is_some_and(|due| due <= now) {
            self.queue.clear();
            self.taken = None;
        }
        self.hold.timeout(now).counted(&mut self.stats)
    }

    /// The caller is about to sleep until the peer sends something: releases what is held, since the peer may be waiting for it.
    ///
    /// Call it when about to sleep, not whenever a read would block. Does nothing if
    /// [`flush_on_read_wait`](CorkConfig::flush_on_read_wait) is off. A cork stays on.
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
        if self.hold.is_ready() || !self.seal.is_ready() || self.state == State::Failed {
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
        self.severed.is_none() && (self.in_flight > 0 || self.seal.has_output())
            || self.deferred.is_some()
            || (self.hold.is_ready()
                && (self.hold.unsealed() > 0 || self.state == State::Closing || self.has_control()))
    }

    /// Room in the buffer for plaintext, in bytes: what [`write_bytes`](Self::write_bytes) would
    /// accept now. Grows by transmitting.
    ///
    /// Zero means that any write of data is refused: [`WriteError::Blocked`] while open, otherwise
    /// [`is_closed`](Self::is_closed). If it is not zero, [`write`](Self::write) accepts at least a
    /// byte; a large write that is sealed straight from its slices accepts up to one batch, which
    /// may be more than this or less.
    pub fn send_capacity(&self) -> usize {
        if self.is_closed() { 0 } else { self.send_buffer_limit.saturating_sub(self.queue.len()) }
    }

    /// Plaintext bytes accepted and not yet sealed.
    pub fn waiting(&self) -> usize {
        self.hold.waiting()
    }

    /// Whether no further write will be accepted: closed, aborted or failed.
    pub fn is_closed(&self) -> bool {
        self.state != State::Open
    }

    /// Whether a [`close`](Self::close) is through: all that was accepted and the end of the stream have been transmitted.
    ///
    /// Also true when an abort or a failure has nothing left to send. False while a close waits for keys.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed)
            && self.hold.waiting() == 0
            && self.in_flight == 0
            && (self.severed.is_some() || !self.seal.has_output())
            && self.deferred.is_none()
    }

    /// Returns an error if a failure has discarded accepted bytes. What [`abort`](Self::abort) gave
    /// up does not count.
    ///
    /// # Errors
    ///
    /// [`WriteError::Failed`] from the failure on, if it discarded accepted bytes. The error that was returned then says how many.
    pub fn check_loss(&self) -> Result<(), WriteError> {
        if self.lost == 0 { Ok(()) } else { Err(WriteError::Failed) }
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.longest_hold = self.hold.longest_hold();
        stats
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
        self.transmit_up_to(usize::MAX, send)
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
        mut send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        let mut bytes = 0;
        loop {
            if bytes >= limit {
                return Ok(Transmitted { bytes, blocked: false });
            }
            self.prepare()?;
            if self.in_flight == 0 && !self.seal.has_output() {
                return Ok(Transmitted { bytes, blocked: false });
            }
            match self.send_once(&mut send) {
                Ok(0) => return Err(TransmitError::WriteZero),
                Ok(n) => bytes += n,
                Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pushed_back = true;
                    self.batch.pushed_back();
                    return Ok(Transmitted { bytes, blocked: true });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends all output that can leave now to `out`; returns how many bytes that was. For tests, simulators and memory transports.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`], as [`transmit_with`](Self::transmit_with).
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Result<usize, TransmitError> {
        let done = self.transmit_with(|bufs, _more| {
            bufs.iter().for_each(|buf| out.extend_from_slice(buf));
            Ok(gather::total(bufs))
        })?;
        Ok(done.bytes)
    }

    /// Takes one batch of output as an owned buffer, for loops whose sends own their buffers until they complete.
    ///
    /// `None` if nothing can leave now. Take the next when this one has been sent: plaintext that waits meanwhile shares records.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`], as [`transmit_with`](Self::transmit_with).
    pub fn take_transmit(&mut self) -> Result<Option<Output>, TransmitError> {
        self.prepare()?;
        if self.in_flight == 0 && !self.seal.has_output() {
            return Ok(None);
        }
        let mut data = self.taken.take().unwrap_or_default();
        let transmits = self.stats.transmits;
        loop {
            let sent = self.send_once(&mut |bufs, _more| {
                data.reserve(gather::total(bufs));
                bufs.iter().for_each(|buf| data.extend_from_slice(buf));
                Ok(gather::total(bufs))
            });
            match sent {
                Ok(_) if self.seal.has_output() => {}
                Ok(_) => break,
                Err(error) if data.is_empty() => return Err(error),
                // What was taken before it is the caller's.
                Err(error) => {
                    self.deferred = Some(error);
                    break;
                }
            }
        }
        self.stats.transmits = transmits + 1; // one send, however often the sealer was asked
        let output = Output { data: data.split().freeze(), more: self.hold.unsealed() > 0 };
        self.taken = Some(data);
        Ok(Some(output))
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
        &self.seal
    }

    /// The session, for its inbound half and its handshake. What it is given to send must come from this policy alone.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.seal
    }

    /// Nothing follows `close_notify`.
    fn has_control(&self) -> bool {
        matches!(self.state, State::Open | State::Closing) && self.seal.has_control()
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
        self.hold.is_ready() && self.in_flight == 0 && self.deferred.is_none()
    }

    /// No batch is larger than this now, wherever a ramp ends.
    fn largest_write_through(&self) -> usize {
        self.batch.current().max(self.hold.record_size())
    }

    fn push_copies(&mut self, bufs: &[IoSlice<'_>], skip: usize, len: usize) {
        gather::pieces(bufs, skip, len, |piece| self.queue.push_copy(piece));
        self.stats.copied_bytes += len as u64;
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
        let room = hold.largest_batch(self.batch.current()).saturating_sub(queued);
        if room < offered && room < hold.record_size() {
            return Ok(None);
        }
        let mut accepted = offered.min(room);
        let released = hold.released();
        let decision = hold.write(now, accepted, is_more(accepted, offered, flags));
        let batch = hold.next_batch(self.batch.current());
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

    /// Has output ready if anything may leave: a batch, the end of the stream, or what the session itself has to say.
    fn prepare(&mut self) -> Result<(), TransmitError> {
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        if let Some(severed) = self.severed {
            return Err(severed.error(0));
        }
        if self.in_flight > 0 {
            let kept = self.seal.has_output();
            return if kept { Ok(()) } else { Err(self.sever(Severed::Seal("sealed output was there and is gone"))) };
        }
        if !self.hold.is_ready() {
            return Ok(());
        }
        if self.hold.unsealed() > 0 {
            self.seal_queued()?;
        }
        if self.state == State::Closing && self.hold.waiting() == 0 {
            self.seal.close_notify();
            self.state = State::Closed;
        }
        if !self.seal.has_output() && self.has_control() {
            self.seal.queue_control();
            if self.has_control() {
                return Err(self.sever(Severed::Seal("has_control stays true behind queue_control")));
            }
        }
        Ok(())
    }

    fn seal_queued(&mut self) -> Result<(), TransmitError> {
        let batch = self.hold.next_batch(self.batch.current());
        self.seal_batch(batch, &[]).map_err(|(_, error)| self.seal_failed(error))
    }

    /// Seals `batch`: what is queued, and behind it what `bufs` begins with. If not all could be sealed, says how many bytes were, and why no more.
    fn seal_batch(&mut self, batch: Batch, bufs: &[IoSlice<'_>]) -> Result<(), (usize, SealError)> {
        let queued = batch.len.min(self.queue.len());
        let mut slices = Slices::new();
        self.queue.front(queued, &mut slices);
        gather::pieces(bufs, 0, batch.len - queued, |piece| slices.push(IoSlice::new(piece)));
        let records = self.seal.seal(&slices, batch.record_size).map_err(|error| (0, error))?;
        drop(slices);
        if records > batch.len {
            return Err((0, SealError::Contract("seal returned more records than it was given bytes")));
        }
        let sealed = batch.first(records);
        if sealed.len > 0 && !self.seal.has_output() {
            return Err((0, SealError::Contract("seal left no output")));
        }
        self.queue.consume(sealed.len);
        self.count_sealed(sealed, records);
        if sealed.len < batch.len { Err((sealed.len, SealError::KeysExhausted)) } else { Ok(()) }
    }

    fn count_sealed(&mut self, batch: Batch, records: usize) {
        self.hold.sealed(batch);
        self.whole_batch = batch.whole;
        if batch.filled > 0 {
            self.stats.count_flush(FlushReason::Filled);
        }
        self.in_flight = batch.len;
        self.sent_of_output = 0;
        self.pushed_back = false;
        self.stats.records += records as u64;
        self.stats.plaintext_bytes += batch.len as u64;
        self.stats.largest_batch = self.stats.largest_batch.max(batch.len as u64);
    }

    fn send_once(
        &mut self,
        send: &mut impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<usize, TransmitError> {
        // R8: the kernel may wait for more exactly if more is already waiting here; held bytes do not count.
        let released = self.hold.unsealed() > 0;
        let mut seen = Sent::NotAsked;
        let done = self.seal.transmit(&mut |bufs, rest| {
            let result = seen.offer(bufs, |bufs| send(bufs, rest || released));
            if let Sent::Severed(_) = seen { Err(io::ErrorKind::InvalidData.into()) } else { result }
        });
        let sent = match (seen, done) {
            (Sent::Took(taken), Ok(sent)) if taken == sent => sent,
            (Sent::Failed(kind), Err(error)) if kind == error.kind() => return Err(TransmitError::Io(error)),
            (Sent::Severed(why), _) => return Err(self.sever(why)),
            (Sent::NotAsked, _) => return Err(self.sever(Severed::Seal("transmit did not call send"))),
            _ => return Err(self.sever(Severed::Seal("transmit did not return what send did"))),
        };
        self.sent_of_output += sent;
        if sent > 0 {
            self.stats.transmits += 1;
            self.stats.wire_bytes += sent as u64;
        }
        if !self.seal.has_output() {
            if self.sent_of_output < self.in_flight {
                return Err(self.sever(Severed::Seal("its output ended before its plaintext did")));
            }
            if self.whole_batch && !self.pushed_back {
                self.batch.taken_whole();
            }
            self.whole_batch = false;
            self.in_flight = 0;
            self.sent_of_output = 0;
        } else if self.sent_of_output > OUTPUT_MAX && self.sent_of_output / RECORD_OVERHEAD > self.in_flight {
            return Err(self.sever(Severed::Seal("its output has no end")));
        }
        Ok(sent)
    }

    fn seal_failed(&mut self, error: SealError) -> TransmitError {
        match error {
            SealError::Contract(how) => self.sever(Severed::Seal(how)),
            error => TransmitError::Seal { error, discarded: self.handle_failure() },
        }
    }

    /// Fails for good: nothing more is offered. The batch in flight counts as lost, since an
    /// unknown part of it has arrived.
    fn sever(&mut self, why: Severed) -> TransmitError {
        let on_its_way = std::mem::take(&mut self.in_flight);
        let discarded = self.handle_failure() + on_its_way;
        self.lost += on_its_way;
        self.severed = Some(why);
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
        let last = self.hold.last_write()?;
        let spare = self.queue.has_spare() || (self.taken.is_some() && self.queue.len() == 0);
        spare.then(|| last + IDLE_BUFFER)
    }
}

impl Sent {
    /// Calls `send` and records the outcome. Refuses a second call in one transmit, and an empty
    /// offer.
    #[inline]
    fn offer(
        &mut self,
        bufs: &[IoSlice<'_>],
        send: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let offered = gather::total(bufs);
        if !matches!(self, Self::NotAsked) || offered == 0 {
            *self = Self::Severed(Severed::Seal("transmit called send twice, or with nothing to send"));
            return Ok(0);
        }
        let result = send(bufs);
        *self = match &result {
            Ok(reported) if *reported > offered => Self::Severed(Severed::Overrun { offered, reported: *reported }),
            Ok(taken) => Self::Took(*taken),
            Err(error) => Self::Failed(error.kind()),
        };
        result
    }
}

impl FlushDecision {
    fn counted(self, stats: &mut Stats) -> Self {
        if let Self::Flush { reason, .. } = self {
            stats.count_flush(reason);
        }
        self
    }

    /// A flush also if nothing was released, but the end of the stream may leave now.
    fn or_end(self, ends: bool) -> Self {
        match self {
            Self::Hold { .. } if ends => Self::Flush { bytes: 0, reason: FlushReason::Close },
            decision => decision,
        }
    }

    /// The decision about a write that was sealed at once and released `bytes`. They include bytes
    /// that filled up a record, and exclude those that the keys refused.
    fn of_sealed(self, bytes: usize) -> Self {
        match self {
            Self::Hold { .. } if bytes > 0 => Self::Flush { bytes, reason: FlushReason::Filled },
            Self::Flush { reason, .. } => Self::Flush { bytes, reason },
            hold @ Self::Hold { .. } => hold,
        }
    }
}

/// R9: what a short write accepted counts as written with `MORE`.
fn is_more(accepted: usize, offered: usize, flags: SendFlags) -> bool {
    accepted < offered || flags.contains(SendFlags::MORE)
}
