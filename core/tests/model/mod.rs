//! An exact model of a policy over [`Framed`](tls_cork_testing::harness::Framed): it predicts each decision,
//! deadline, record and send.
//!
//! The model counts record by record where the policy calculates, and keeps all output.

use std::time::{Duration, Instant};

use tls_cork::{CorkConfig, DynamicRecords, FlushDecision, FlushReason, WriteError};
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::{END, GATHER_MAX, GATHER_PAUSE, HANDSHAKE};

/// The limits that a model and its policy share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) record: usize,
    pub(crate) hold_limit: usize,
    pub(crate) max_hold: Duration,
    pub(crate) send_buffer: usize,
    pub(crate) batch: (usize, usize),
    pub(crate) ramp: Option<Ramp>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    pub(crate) segment: usize,
    pub(crate) bytes: usize,
    pub(crate) idle_reset: Duration,
}

impl Rules {
    pub(crate) fn config(&self) -> CorkConfig {
        let config = CorkConfig::default()
            .record_size(self.record)
            .hold_limit(self.hold_limit)
            .max_hold(self.max_hold)
            .send_buffer_limit(self.send_buffer)
            .batch_size(self.batch.0..=self.batch.1);
        match self.ramp {
            Some(ramp) => config.dynamic_records(
                DynamicRecords::default().segment_size(ramp.segment).ramp_bytes(ramp.bytes).idle_reset(ramp.idle_reset),
            ),
            None => config,
        }
    }
}

/// Offsets of the stream, and the times of its writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    pub(crate) written: usize,
    pub(crate) released: usize,
    pub(crate) sealed: usize,
    ramp_end: usize,
    /// The time at which the first byte that is held now was written.
    held_since: Option<Instant>,
    last_write: Option<Instant>,
    longest_hold: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Model {
    rules: Rules,
    pub(crate) ready: bool,
    corked: bool,
    state: State,
    pub(crate) at: Offsets,
    /// The end of each write, and its time.
    events: Vec<(usize, Instant)>,
    batch: usize,
    /// Whether a batch waits for the transport. `whole`: whether it is as large as batches may be.
    /// `pushed_back`: whether the transport has pushed back since.
    in_flight: bool,
    whole: bool,
    pushed_back: bool,
    /// All output so far; `sent` bytes of it have been taken.
    pub(crate) output: Vec<u8>,
    pub(crate) sent: usize,
    pub(crate) records: u64,
    pub(crate) transmits: u64,
    pub(crate) copied: u64,
    pub(crate) largest_batch: u64,
    pub(crate) flushes: [u64; FlushReason::ALL.len()],
}

impl Model {
    pub(crate) fn new(rules: Rules, ready: bool) -> Self {
        Self {
            rules,
            ready,
            corked: false,
            state: State::Open,
            at: Offsets {
                written: 0,
                released: 0,
                sealed: 0,
                ramp_end: rules.ramp.map_or(0, |ramp| ramp.bytes),
                held_since: None,
                last_write: None,
                longest_hold: Duration::ZERO,
            },
            events: Vec::new(),
            batch: rules.batch.0,
            in_flight: false,
            whole: false,
            pushed_back: false,
            output: Vec::new(),
            sent: 0,
            records: 0,
            transmits: 0,
            copied: 0,
            largest_batch: 0,
            flushes: [0; FlushReason::ALL.len()],
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.at.held_since.map(|since| since + self.rules.max_hold)
    }

    pub(crate) fn last_write(&self) -> Option<Instant> {
        self.at.last_write
    }

    pub(crate) fn longest_hold(&self) -> Duration {
        self.at.longest_hold
    }

    pub(crate) fn waiting(&self) -> usize {
        self.at.written - self.at.sealed
    }

    pub(crate) fn capacity(&self) -> usize {
        if self.is_closed() { 0 } else { self.rules.send_buffer - self.waiting() }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state != State::Open
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state == State::Ended && !self.has_output()
    }

    pub(crate) fn wants_transmit(&self) -> bool {
        self.has_output() || self.ready && (self.at.released > self.at.sealed || self.state == State::Closing)
    }

    fn has_output(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Owned bytes always wait first. A borrowed write that makes a record is sealed in the call if
    /// no sealed bytes wait.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        offered: usize,
        more: bool,
        owned: bool,
    ) -> Result<(usize, FlushDecision), WriteError> {
        if self.is_closed() {
            return Err(WriteError::Closed);
        }
        if offered > 0 && self.capacity() == 0 {
            return Err(WriteError::Blocked);
        }
        let idle = !owned && self.ready && !self.in_flight;
        if idle && self.waiting() + offered >= self.rules.record {
            let (before, events, queued) = (self.at, self.events.len(), self.waiting());
            self.restart_ramp(now);
            let room = self.largest_batch().saturating_sub(queued);
            if room >= offered.min(self.rules.record) {
                let accepted = offered.min(room);
                let decision = self.wrote(now, accepted, more, accepted < offered);
                let batch = self.next_batch();
                if batch > queued {
                    self.copied += (accepted - (batch - queued)) as u64;
                    let (decision, released) = (self.counted(decision), self.at.released);
                    self.seal(batch);
                    let filled = self.at.released - released;
                    let new = FlushDecision::Flush { bytes: filled, reason: FlushReason::Filled };
                    return Ok((accepted, if filled > 0 { new } else { decision }));
                }
            }
            self.at = before;
            self.events.truncate(events);
        }
        let accepted = offered.min(self.capacity());
        let decision = self.wrote(now, accepted, more, accepted < offered);
        self.copied += if owned && accepted > 1024 { 0 } else { accepted as u64 };
        Ok((accepted, self.counted(decision)))
    }

    fn wrote(&mut self, now: Instant, accepted: usize, more: bool, short: bool) -> FlushDecision {
        self.restart_ramp(now);
        let last_write = self.at.last_write.replace(now);
        let held = self.at.written - self.at.released;
        let paused = held > 0 && last_write.is_some_and(|last| now - last >= GATHER_PAUSE);
        let before = self.at.written;
        self.at.written += accepted;
        self.events.push((self.at.written, now));
        if !self.ready {
            return FlushDecision::Hold { until: None };
        }
        let held = self.at.written - self.at.released;
        let gathers = self.rules.hold_limit > self.rules.record
            && !short
            && accepted < GATHER_MAX
            && !(paused && self.last_boundary() > before);
        let (to, reason) = if !more && !short && !self.corked {
            (self.at.written, FlushReason::Last)
        } else if gathers && held <= self.rules.hold_limit {
            (self.at.released, FlushReason::RecordFull)
        } else {
            let whole = self.last_boundary().max(self.at.released);
            if self.at.written - whole > self.rules.hold_limit {
                (self.at.written, FlushReason::HoldLimit)
            } else {
                (whole, FlushReason::RecordFull)
            }
        };
        let decision = self.release(now, to, reason);
        if self.at.held_since.is_none() {
            self.at.held_since = self.first_held();
        }
        if decision.is_flush() { decision } else { self.hold() }
    }

    pub(crate) fn cork(&mut self) {
        self.corked = true;
    }

    pub(crate) fn uncork(&mut self, now: Instant) -> FlushDecision {
        self.corked = false;
        self.release_all(now, FlushReason::Uncork)
    }

    pub(crate) fn release_all(&mut self, now: Instant, reason: FlushReason) -> FlushDecision {
        let to = if self.ready { self.at.written } else { self.at.released };
        let decision = self.release(now, to, reason);
        self.counted(decision)
    }

    pub(crate) fn timeout(&mut self, now: Instant) -> FlushDecision {
        if self.deadline().is_some_and(|due| due <= now) {
            self.release_all(now, FlushReason::Deadline)
        } else {
            self.hold()
        }
    }

    pub(crate) fn close(&mut self, now: Instant) -> FlushDecision {
        if self.is_closed() {
            return self.hold();
        }
        self.state = State::Closing;
        match self.release_all(now, FlushReason::Close) {
            FlushDecision::Hold { .. } if self.ready => FlushDecision::Flush { bytes: 0, reason: FlushReason::Close },
            decision => decision,
        }
    }

    /// R11: returns the number of discarded bytes. The end of the stream is queued only if that is
    /// zero.
    pub(crate) fn abort(&mut self) -> usize {
        if self.state == State::Ended {
            return 0;
        }
        let lost = self.waiting();
        self.state = State::Ended;
        (self.at.written, self.at.released) = (self.at.sealed, self.at.sealed);
        self.at.held_since = None;
        if lost == 0 {
            self.output.extend(END.to_be_bytes());
        }
        lost
    }

    pub(crate) fn handshake_done(&mut self, now: Instant) -> FlushDecision {
        if self.ready {
            return self.hold();
        }
        self.output.extend(HANDSHAKE.to_be_bytes());
        self.ready = true;
        match self.release_all(now, FlushReason::HandshakeDone) {
            FlushDecision::Hold { .. } if self.state == State::Closing => {
                FlushDecision::Flush { bytes: 0, reason: FlushReason::Close }
            }
            decision => decision,
        }
    }

    /// One transmit to a transport that takes `capacity` bytes and then blocks. Returns the offered
    /// length and `more` of each send, and whether the transport blocked.
    pub(crate) fn transmit(&mut self, mut capacity: usize) -> (Vec<(usize, bool)>, bool) {
        let mut sends = Vec::new();
        loop {
            self.prepare();
            let offered = self.output.len() - self.sent;
            if offered == 0 {
                return (sends, false);
            }
            sends.push((offered, self.at.released > self.at.sealed));
            if capacity == 0 {
                self.pushed_back = true;
                self.batch = self.rules.batch.0;
                return (sends, true);
            }
            let taken = offered.min(capacity);
            capacity -= taken;
            self.took(taken);
        }
    }

    /// Takes one batch as a buffer; returns its length and its `more`.
    pub(crate) fn take(&mut self) -> Option<(usize, bool)> {
        self.prepare();
        let offered = self.output.len() - self.sent;
        (offered > 0).then(|| {
            self.took(offered);
            (offered, self.at.released > self.at.sealed)
        })
    }

    fn took(&mut self, taken: usize) {
        self.sent += taken;
        self.transmits += 1;
        if !self.has_output() {
            if self.whole && !self.pushed_back {
                self.batch = (self.batch * 2).min(self.rules.batch.1);
            }
            self.whole = false;
            self.in_flight = false;
        }
    }

    fn prepare(&mut self) {
        if self.in_flight || !self.ready {
            return;
        }
        if self.at.released > self.at.sealed {
            self.seal(self.next_batch());
        }
        if self.state == State::Closing && self.waiting() == 0 {
            self.output.extend(END.to_be_bytes());
            self.state = State::Ended;
        }
    }

    fn seal(&mut self, len: usize) {
        self.whole = len == self.largest_batch();
        let (mut offset, end) = (self.at.sealed, self.at.sealed + len);
        let size = self.record_at(offset);
        while offset < end {
            let record = size.min(end - offset);
            self.output.extend((record as u32).to_be_bytes());
            self.output.extend(stream(offset, record));
            self.records += 1;
            offset += record;
        }
        self.at.sealed = end;
        if self.at.released < end {
            // R7: the last record was filled up.
            self.at.released = end;
            self.flushes[FlushReason::Filled as usize] += 1;
            let last = self.at.last_write;
            self.left_hold(last.expect("what fills was written"));
        }
        self.in_flight = true;
        self.pushed_back = false;
        self.largest_batch = self.largest_batch.max(len as u64);
    }

    /// R7: all released bytes up to one batch, the last record filled up with held bytes.
    fn next_batch(&self) -> usize {
        let most = self.largest_batch().min(self.waiting());
        let (unsealed, size) = (self.at.released - self.at.sealed, self.record_at(self.at.sealed));
        let mut full = 0;
        while full < unsealed {
            full += size;
        }
        full.min(most)
    }

    /// The largest batch: full records of one size.
    fn largest_batch(&self) -> usize {
        let size = self.record_at(self.at.sealed);
        let mut len = size;
        while len + size <= self.batch && self.record_at(self.at.sealed + len) == size {
            len += size;
        }
        len
    }

    /// The offset at which the last full record ends, if records are cut from `sealed`.
    fn last_boundary(&self) -> usize {
        let mut offset = self.at.sealed;
        while offset + self.record_at(offset) <= self.at.written {
            offset += self.record_at(offset);
        }
        offset
    }

    fn record_at(&self, offset: usize) -> usize {
        match self.rules.ramp {
            Some(ramp) if offset < self.at.ramp_end => ramp.segment,
            _ => self.rules.record,
        }
    }

    fn restart_ramp(&mut self, now: Instant) {
        if let (Some(ramp), Some(last)) = (self.rules.ramp, self.at.last_write)
            && self.waiting() == 0
            && now - last >= ramp.idle_reset
        {
            self.at.ramp_end = self.at.written + ramp.bytes;
        }
    }

    fn release(&mut self, now: Instant, to: usize, reason: FlushReason) -> FlushDecision {
        if to == self.at.released {
            return self.hold();
        }
        let bytes = to - self.at.released;
        self.at.released = to;
        self.left_hold(now);
        FlushDecision::Flush { bytes, reason }
    }

    fn left_hold(&mut self, now: Instant) {
        if let Some(since) = self.at.held_since.take() {
            self.at.longest_hold = self.at.longest_hold.max(now - since);
        }
        self.at.held_since = self.first_held();
    }

    /// R5: the time at which the first byte that is held was written.
    fn first_held(&self) -> Option<Instant> {
        let at = &self.at;
        if at.written == at.released {
            return None;
        }
        self.events.iter().find(|(end, _)| *end > at.released).map(|(_, since)| *since)
    }

    fn hold(&self) -> FlushDecision {
        FlushDecision::Hold { until: self.deadline() }
    }

    fn counted(&mut self, decision: FlushDecision) -> FlushDecision {
        if let FlushDecision::Flush { reason, .. } = decision {
            self.flushes[reason as usize] += 1;
        }
        decision
    }
}
