//! A policy over a sealer whose records are visible on the wire, and a simple model of the rules.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tls_cork::{
    CorkConfig, CorkPolicy, DynamicRecords, FlushDecision, MAX_RECORD_SIZE, Seal, SealError, SendFlags, TransmitError,
    Transmitted, WriteError, Written,
};

use crate::content::{slices, stream};

const RAMP_BYTES: usize = 5000;
const IDLE_RESET: Duration = Duration::from_millis(20);
pub const END: u32 = u32::MAX;
pub const HANDSHAKE: u32 = u32::MAX - 1;
/// The most bytes that [`Framed`] offers in one call.
pub const OFFER: usize = 40_000;

/// R1: a write of this many bytes does not gather.
pub const GATHER_MAX: usize = 2 * MAX_RECORD_SIZE;
/// R1: nor does one that fills a record this long after the one before while bytes are held.
pub const GATHER_PAUSE: Duration = Duration::from_millis(1);

/// The state of the sealer, shared with the test.
#[derive(Debug, Default)]
pub struct Seen {
    pub ready: bool,
    pub output: Vec<u8>,
    pub sent: usize,
    /// The offset in `output` at which the last application record ends.
    pub records_end: usize,
    /// Plaintext bytes sealed.
    pub sealed: usize,
    pub batches: Vec<usize>,
    /// Whether `close_notify` fails.
    pub close_fails: bool,
}

/// A sealer whose records are a four-byte length and the plaintext.
#[derive(Clone, Debug, Default)]
pub struct Framed(pub Rc<RefCell<Seen>>);

impl Framed {
    pub fn finish_handshake(&self) {
        let mut seen = self.0.borrow_mut();
        seen.ready = true;
        seen.output.extend(HANDSHAKE.to_be_bytes());
    }
}

impl Seal for Framed {
    fn is_ready(&self) -> bool {
        self.0.borrow().ready
    }

    fn max_record_size(&self) -> usize {
        MAX_RECORD_SIZE
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        let mut seen = self.0.borrow_mut();
        assert!(seen.ready, "sealed without keys");
        assert!(seen.sent >= seen.records_end, "R7: sealed while sealed records wait");
        let mut data = Vec::new();
        plaintext.iter().for_each(|piece| data.extend_from_slice(piece));
        assert!(!data.is_empty(), "sealed nothing");
        for record in data.chunks(record_size) {
            seen.output.extend((record.len() as u32).to_be_bytes());
            seen.output.extend(record);
        }
        seen.records_end = seen.output.len();
        seen.sealed += data.len();
        seen.batches.push(data.len());
        Ok(data.len().div_ceil(record_size))
    }

    fn has_output(&self) -> bool {
        let seen = self.0.borrow();
        seen.sent < seen.output.len()
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let (offer, rest) = {
            let seen = self.0.borrow();
            let waiting = &seen.output[seen.sent..];
            (waiting[..waiting.len().min(OFFER)].to_vec(), waiting.len() > OFFER)
        };
        let taken = send(&[IoSlice::new(&offer)], rest)?;
        self.0.borrow_mut().sent += taken;
        Ok(taken)
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        let mut seen = self.0.borrow_mut();
        if seen.close_fails {
            return Err(SealError::KeysExhausted);
        }
        seen.output.extend(END.to_be_bytes());
        Ok(())
    }
}

/// Returns the application records, and the header of the last frame.
pub fn parse(mut wire: &[u8]) -> (Vec<Vec<u8>>, Option<u32>) {
    let (mut records, mut last) = (Vec::new(), None);
    while let Some((head, rest)) = wire.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*head);
        last = Some(len);
        wire = rest;
        if len != END && len != HANDSHAKE {
            let (record, rest) = wire.split_at(len as usize);
            records.push(record.to_vec());
            wire = rest;
        }
    }
    assert!(wire.is_empty(), "half a frame on the wire");
    (records, last)
}

/// A policy, its transport, and the model of its rules.
pub struct Bench {
    pub policy: CorkPolicy<Framed>,
    pub framed: Framed,
    pub wire: Vec<u8>,
    pub now: Instant,
    pub config: Limits,
    /// The model: offsets of the stream, and the time at which each part was accepted.
    pub written: usize,
    pub released: usize,
    pub events: Vec<(usize, Instant)>,
    pub ready: bool,
    pub corked: bool,
    pub closed: bool,
    ramp_end: usize,
}

/// The output that there was before a call.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    released: usize,
    wants_transmit: bool,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub record_size: usize,
    pub hold_limit: usize,
    pub send_buffer: usize,
    pub batch: (usize, usize),
    pub ramp: bool,
    pub max_hold: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_size: MAX_RECORD_SIZE,
            hold_limit: MAX_RECORD_SIZE,
            send_buffer: 256 * 1024,
            batch: (64 * 1024, 256 * 1024),
            ramp: false,
            max_hold: Duration::from_millis(10),
        }
    }
}

impl Limits {
    /// R1: whether several records are held.
    fn gathers(&self) -> bool {
        self.hold_limit > self.record_size
    }

    /// The plaintext bytes of a small record.
    fn segment_size(&self) -> usize {
        self.record_size.min(100)
    }
}

impl Bench {
    pub fn new(config: Limits, ready: bool) -> Self {
        let mut cork = CorkConfig::default()
            .record_size(config.record_size)
            .hold_limit(config.hold_limit)
            .send_buffer_limit(config.send_buffer)
            .batch_size(config.batch.0..=config.batch.1)
            .max_hold(config.max_hold);
        if config.ramp {
            let ramp = DynamicRecords::default().ramp_bytes(RAMP_BYTES).idle_reset(IDLE_RESET);
            cork = cork.dynamic_records(ramp.segment_size(config.segment_size()));
        }
        let ramp_end = if config.ramp { RAMP_BYTES } else { 0 };
        let framed = Framed::default();
        framed.0.borrow_mut().ready = ready;
        let policy = CorkPolicy::new(framed.clone(), cork).expect("a valid configuration");
        Self {
            policy,
            framed,
            wire: Vec::new(),
            now: Instant::now(),
            config,
            written: 0,
            released: 0,
            events: Vec::new(),
            ready,
            corked: false,
            closed: false,
            ramp_end,
        }
    }

    pub fn sealed(&self) -> usize {
        self.framed.0.borrow().sealed
    }

    pub fn held(&self) -> usize {
        self.written - self.released
    }

    /// R7: sealing past the released offset fills a record with held bytes, which releases them.
    pub fn follow_filling(&mut self) {
        self.released = self.released.max(self.sealed());
    }

    pub fn release_all(&mut self) {
        if self.ready {
            self.released = self.written;
        }
    }

    /// The plaintext bytes of the record that begins at `offset`.
    fn record_size_at(&self, offset: usize) -> usize {
        if offset < self.ramp_end { self.config.segment_size() } else { self.config.record_size }
    }

    /// R1: the offset at which the last full record ends, if records are cut from `from` up to
    /// `to`.
    fn boundary(&self, from: usize, to: usize) -> usize {
        let mut offset = from;
        while offset + self.record_size_at(offset) <= to {
            offset += self.record_size_at(offset);
        }
        offset
    }

    /// R13: after a pause with nothing waiting, records are small again.
    fn restart_ramp(&mut self, waiting: usize) {
        let idle = self.events.last().is_some_and(|(_, at)| self.now - *at >= IDLE_RESET);
        if self.config.ramp && waiting == 0 && idle {
            self.ramp_end = self.written + RAMP_BYTES;
        }
    }

    /// `short`: whether the write was accepted in part.
    pub fn accepted(&mut self, sealed_before: usize, accepted: usize, more: bool, short: bool) {
        self.restart_ramp(self.written - sealed_before);
        let last = self.events.last().map(|(_, at)| *at);
        let paused = self.held() > 0 && last.is_some_and(|last| self.now - last >= GATHER_PAUSE);
        let before = self.written;
        self.written += accepted;
        self.events.push((self.written, self.now));
        if self.ready {
            let late = paused && self.boundary(sealed_before, self.written) > before;
            let gathers = self.config.gathers() && accepted < GATHER_MAX && !short && !late;
            if !more && !short && !self.corked {
                self.release_all();
            } else if !gathers || self.held() > self.config.hold_limit {
                self.released = self.released.max(self.boundary(sealed_before, self.written));
                if self.held() > self.config.hold_limit {
                    self.release_all();
                }
            }
        }
        self.follow_filling();
    }

    /// Writes pieces of these lengths as one event.
    pub fn write(&mut self, pieces: &[usize], more: bool) -> Result<usize, WriteError> {
        let total = pieces.iter().sum();
        let data = stream(self.written, total);
        let bufs = slices(&data, pieces);
        let (sealed, before) = (self.sealed(), self.before());
        let full = self.policy.send_capacity() == 0;
        let result = self.policy.write(self.now, &bufs, SendFlags::more_if(more));
        self.wrote(sealed, total, full, more, before, result)
    }

    pub fn write_bytes(&mut self, len: usize, more: bool) -> Result<usize, WriteError> {
        let mut data = Bytes::from(stream(self.written, len));
        let (sealed, before) = (self.sealed(), self.before());
        let full = self.policy.send_capacity() == 0;
        let result = self.policy.write_bytes(self.now, &mut data, SendFlags::more_if(more));
        let accepted = result.as_ref().map_or(0, |written| written.accepted);
        assert_eq!(data.len(), len - accepted, "exactly what was accepted is split off");
        self.wrote(sealed, len, full, more, before, result)
    }

    pub fn wrote(
        &mut self,
        sealed_before: usize,
        offered: usize,
        full: bool,
        more: bool,
        before: Before,
        result: Result<Written, WriteError>,
    ) -> Result<usize, WriteError> {
        match result {
            Ok(Written { accepted, decision, .. }) => {
                assert!(!self.closed, "R11: a write after close was accepted");
                assert!(accepted <= offered);
                assert!(accepted > 0 || offered == 0, "nothing accepted, and no error");
                assert!(accepted == 0 || !full, "R9: accepted without capacity");
                self.accepted(sealed_before, accepted, more, accepted < offered);
                self.decided(before, false, decision);
            }
            Err(WriteError::Blocked) => assert!(full && !self.closed, "R9: Blocked with room left"),
            Err(error) => assert!(self.closed && error == WriteError::Closed, "{error}"),
        }
        self.check();
        result.map(|written| written.accepted)
    }

    pub fn before(&self) -> Before {
        Before { released: self.released, wants_transmit: self.policy.wants_transmit() }
    }

    /// Checks that a decision is a flush exactly if its call released plaintext or the end of the
    /// stream.
    pub fn decided(&self, before: Before, ends: bool, decision: FlushDecision) {
        let released = self.released - before.released;
        match decision {
            FlushDecision::Flush { bytes, .. } => {
                assert!(released > 0 || ends, "nothing new: {decision:?}");
                assert_eq!(bytes, released, "{decision:?}");
                assert!(self.policy.wants_transmit(), "{decision:?}");
            }
            FlushDecision::Hold { until } => {
                assert!(released == 0 && !ends, "{released} bytes are new, or the end is: {ends}; {decision:?}");
                assert!(before.wants_transmit || !self.policy.wants_transmit(), "{decision:?}");
                assert_eq!(until, self.deadline().and(self.policy.poll_timeout()), "R5");
            }
            other => panic!("a decision that no rule makes: {other:?}"),
        }
    }

    pub fn flush(&mut self) {
        let before = self.before();
        let decision = self.policy.flush(self.now);
        self.release_all();
        self.decided(before, false, decision);
    }

    pub fn uncork(&mut self) {
        let before = self.before();
        let decision = self.policy.uncork(self.now);
        self.corked = false;
        self.release_all();
        self.decided(before, false, decision);
    }

    pub fn cork(&mut self) {
        self.policy.cork(self.now);
        self.corked = true;
    }

    pub fn read_wait(&mut self) {
        let before = self.before();
        let decision = self.policy.handle_read_wait(self.now);
        self.release_all();
        self.decided(before, false, decision);
    }

    pub fn close(&mut self) {
        let before = self.before();
        let decision = self.policy.close(self.now);
        self.release_all();
        self.decided(before, self.ready && !self.closed, decision);
        self.closed = true;
    }

    pub fn finish_handshake(&mut self) {
        if !self.ready {
            self.framed.finish_handshake();
            self.ready = true;
            let before = self.before();
            let decision = self.policy.handle_handshake_done(self.now);
            self.release_all();
            self.decided(before, self.closed, decision);
        }
    }

    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        let due = self.deadline().is_some_and(|due| due <= self.now);
        let before = self.before();
        let decision = self.policy.handle_timeout(self.now);
        assert_eq!(decision.is_flush(), due, "R5: {decision:?}");
        if due {
            self.release_all();
        }
        self.decided(before, false, decision);
    }

    /// R5: the time at which the model's first held byte has to leave.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.ready || self.held() == 0 {
            return None;
        }
        let first = self.events.iter().find(|(end, _)| *end > self.released).expect("a held byte was written");
        Some(first.1 + self.config.max_hold)
    }

    pub fn transmit(&mut self, mut capacity: usize, step: usize) -> Result<Transmitted, TransmitError> {
        let limit = self.config.batch.1;
        let (shared, wire, released) = (&self.framed.0, &mut self.wire, self.released);
        let done = self.policy.transmit_with(|bufs, more| {
            let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
            let seen = shared.borrow();
            let behind = seen.output.len() - seen.sent > offered || released > seen.sealed;
            assert_eq!(more, behind, "R8");
            assert!(seen.batches.iter().all(|len| *len <= limit), "R7: batch size");
            if capacity == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let take = offered.min(capacity).min(step);
            capacity -= take;
            wire.extend(&bufs[0][..take]); // `Framed` offers one slice
            Ok(take)
        });
        self.follow_filling();
        self.check();
        done
    }

    pub fn drain(&mut self) {
        // R7: a last record that is not full is filled up with held bytes.
        let last = self.boundary(self.sealed(), self.released);
        let room = if last == self.released { 0 } else { last + self.record_size_at(last) - self.released };
        let left = self.held().saturating_sub(room);
        let done = self.transmit(usize::MAX, usize::MAX).expect("a transport without limits");
        assert!(!done.blocked && (self.closed || !self.policy.wants_transmit()));
        if self.ready {
            assert_eq!(self.policy.waiting(), left, "R2, R3: what may leave has left, what is held has not");
        }
    }

    pub fn check(&mut self) {
        let waiting = self.policy.waiting();
        assert_eq!(waiting, self.written - self.sealed());
        let bound = self.config.send_buffer;
        assert!(waiting <= bound, "R9: {waiting} bytes wait, {:?}", self.config);
        let room = if self.closed { 0 } else { self.config.send_buffer.saturating_sub(waiting) };
        assert_eq!(self.policy.send_capacity(), room, "R9");
        assert_eq!(self.policy.is_write_closed(), self.closed);
        if !self.ready {
            assert_eq!(self.policy.poll_timeout().filter(|_| waiting > 0), None, "R6: no deadline before keys exist");
            return;
        }
        assert!(self.held() <= self.config.hold_limit, "R1: hold limit");
        let whole = self.held() >= self.config.record_size && self.held() > 0;
        assert!(self.config.gathers() || !whole, "R1: a whole record is held");
        if let Some(due) = self.deadline() {
            assert!(self.policy.poll_timeout().is_some_and(|at| at <= due), "R5: deadline");
        }
    }

    pub fn records(&self) -> Vec<Vec<u8>> {
        parse(&self.wire).0
    }
}

/// A policy that has keys and the default limits.
pub fn ready() -> Bench {
    Bench::new(Limits::default(), true)
}
