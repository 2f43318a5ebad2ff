//! The rules of corking, checked against a plain model over a sealer whose records are visible on the wire.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use tls_cork::{
    CorkConfig, CorkPolicy, DynamicRecords, FlushDecision, FlushReason, MAX_RECORD_SIZE, Seal, SealError, SendFlags,
    TransmitError, Transmitted, WriteError,
};

const END: u32 = u32::MAX;
const HANDSHAKE: u32 = u32::MAX - 1;
/// What [`Framed`] offers in one call.
const OFFER: usize = 40_000;

/// What the sealer did, shared with the test.
#[derive(Debug, Default)]
struct Seen {
    ready: bool,
    output: Vec<u8>,
    sent: usize,
    /// Where the last application record ends in `output`.
    records_end: usize,
    /// Plaintext bytes sealed.
    sealed: usize,
    batches: Vec<usize>,
}

/// Each record is a four-byte length and its payload.
#[derive(Clone, Debug, Default)]
struct Framed(Rc<RefCell<Seen>>);

impl Framed {
    fn finish_handshake(&self) {
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
        let data: Vec<u8> = plaintext.iter().flat_map(|piece| piece.iter().copied()).collect();
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

    fn close_notify(&mut self) {
        self.0.borrow_mut().output.extend(END.to_be_bytes());
    }
}

/// Application records, and the kind of the frame that came last.
fn parse(mut wire: &[u8]) -> (Vec<Vec<u8>>, Option<u32>) {
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

/// The byte at `offset` of every stream here.
fn pattern(offset: usize) -> u8 {
    ((offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8
}

fn stream(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(pattern).collect()
}

/// A policy, its transport, and the model of what it has to do.
struct Bench {
    policy: CorkPolicy<Framed>,
    framed: Framed,
    wire: Vec<u8>,
    now: Instant,
    config: Limits,
    /// The model: offsets of the stream, and when each part of it was accepted.
    written: usize,
    released: usize,
    events: Vec<(usize, Instant)>,
    ready: bool,
    corked: bool,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Limits {
    record_size: usize,
    hold_limit: usize,
    send_buffer: usize,
    batch: (usize, usize),
    ramp: bool,
    max_hold: Duration,
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

impl Bench {
    fn new(config: Limits, ready: bool) -> Self {
        let mut cork = CorkConfig::default()
            .record_size(config.record_size)
            .hold_limit(config.hold_limit)
            .send_buffer_limit(config.send_buffer)
            .batch_size(config.batch.0..=config.batch.1)
            .max_hold(config.max_hold);
        if config.ramp {
            let segment = config.record_size.min(100);
            let ramp = DynamicRecords::default().ramp_bytes(5000).idle_reset(Duration::from_millis(20));
            cork = cork.dynamic_records(ramp.segment_size(segment));
        }
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
        }
    }

    fn sealed(&self) -> usize {
        self.framed.0.borrow().sealed
    }

    fn held(&self) -> usize {
        self.written - self.released
    }

    /// Sealing past the released offset fills a record with held bytes, which releases them.
    fn follow_filling(&mut self) {
        self.released = self.released.max(self.sealed());
    }

    fn release_all(&mut self) {
        if self.ready {
            self.released = self.written;
        }
    }

    fn accepted(&mut self, sealed_before: usize, accepted: usize, more: bool) {
        self.written += accepted;
        self.events.push((self.written, self.now));
        if self.ready {
            if !more && !self.corked {
                self.release_all();
            } else if !self.config.ramp {
                let size = self.config.record_size;
                let whole = sealed_before + (self.written - sealed_before) / size * size;
                self.released = self.released.max(whole);
                if self.held() > self.config.hold_limit {
                    self.release_all();
                }
            } else {
                // With small records first, only the policy's own bound is known here.
                self.released = self.released.max(self.written.saturating_sub(self.config.hold_limit));
            }
        }
        self.follow_filling();
    }

    /// Splits `len` bytes into pieces and writes them as one event.
    fn write(&mut self, pieces: &[usize], more: bool) -> Result<usize, WriteError> {
        let total = pieces.iter().sum();
        let data = stream(self.written, total);
        let mut rest = &data[..];
        let bufs: Vec<IoSlice<'_>> = pieces
            .iter()
            .map(|len| {
                let (piece, tail) = rest.split_at(*len);
                rest = tail;
                IoSlice::new(piece)
            })
            .collect();
        let sealed = self.sealed();
        let full = self.policy.send_capacity() == 0;
        let result = self.policy.write(self.now, &bufs, SendFlags::more_if(more));
        self.wrote(sealed, total, full, more, result.map(|written| written.accepted))
    }

    fn write_bytes(&mut self, len: usize, more: bool) -> Result<usize, WriteError> {
        let mut data = Bytes::from(stream(self.written, len));
        let sealed = self.sealed();
        let full = self.policy.send_capacity() == 0;
        let result = self.policy.write_bytes(self.now, &mut data, SendFlags::more_if(more));
        let accepted = result.as_ref().map_or(0, |written| written.accepted);
        assert_eq!(data.len(), len - accepted, "exactly what was accepted is split off");
        self.wrote(sealed, len, full, more, result.map(|written| written.accepted))
    }

    fn wrote(
        &mut self,
        sealed_before: usize,
        offered: usize,
        full: bool,
        more: bool,
        result: Result<usize, WriteError>,
    ) -> Result<usize, WriteError> {
        match result {
            Ok(accepted) => {
                assert!(!self.closed, "R11: a write after close was accepted");
                assert!(accepted <= offered);
                assert!(accepted > 0 || offered == 0, "nothing accepted, and no error");
                assert!(accepted == 0 || !full, "R9: accepted without capacity");
                self.accepted(sealed_before, accepted, more || accepted < offered);
            }
            Err(WriteError::Blocked) => assert!(full && !self.closed, "R9: Blocked with room left"),
            Err(error) => assert!(self.closed && error == WriteError::Closed, "{error}"),
        }
        self.check();
        result
    }

    fn flush(&mut self) {
        let _ = self.policy.flush(self.now);
        self.release_all();
    }

    fn uncork(&mut self) {
        let _ = self.policy.uncork(self.now);
        self.corked = false;
        self.release_all();
    }

    fn cork(&mut self) {
        self.policy.cork(self.now);
        self.corked = true;
    }

    fn read_wait(&mut self) {
        let _ = self.policy.handle_read_wait(self.now);
        self.release_all();
    }

    fn close(&mut self) {
        let _ = self.policy.close(self.now);
        self.closed = true;
        self.release_all();
    }

    fn finish_handshake(&mut self) {
        if !self.ready {
            self.framed.finish_handshake();
            self.ready = true;
            let _ = self.policy.handle_handshake_done(self.now);
            self.release_all();
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        let due = self.deadline().is_some_and(|due| due <= self.now);
        let decision = self.policy.handle_timeout(self.now);
        if !self.config.ramp {
            assert_eq!(decision.is_flush(), due, "R5: {decision:?}");
        }
        if due {
            self.release_all();
        }
    }

    /// When the model's first held byte has to leave.
    fn deadline(&self) -> Option<Instant> {
        if !self.ready || self.held() == 0 {
            return None;
        }
        let first = self.events.iter().find(|(end, _)| *end > self.released).expect("a held byte was written");
        Some(first.1 + self.config.max_hold)
    }

    fn transmit(&mut self, mut capacity: usize, step: usize) -> Result<Transmitted, TransmitError> {
        let limit = self.config.batch.1;
        let (shared, wire, released, exact) = (&self.framed.0, &mut self.wire, self.released, !self.config.ramp);
        let done = self.policy.transmit_with(|bufs, more| {
            let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
            let seen = shared.borrow();
            let behind = seen.output.len() - seen.sent > offered || released > seen.sealed;
            if exact {
                assert_eq!(more, behind, "R8");
            }
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

    fn drain(&mut self) {
        let unsealed = self.released - self.sealed();
        // R7: a last record that is not full takes all the held bytes that there are, R1 having left less than a record.
        let left = if unsealed.is_multiple_of(self.config.record_size) { self.held() } else { 0 };
        let done = self.transmit(usize::MAX, usize::MAX).expect("a transport without limits");
        assert!(!done.blocked && (self.config.ramp || self.closed || !self.policy.wants_transmit()));
        if self.ready && !self.config.ramp {
            assert_eq!(self.policy.waiting(), left, "R2, R3: what may leave has left, what is held has not");
        }
    }

    fn check(&mut self) {
        let waiting = self.policy.waiting();
        assert_eq!(waiting, self.written - self.sealed());
        let bound = self.config.send_buffer;
        assert!(waiting <= bound, "R9: {waiting} bytes wait, {:?}", self.config);
        assert_eq!(self.policy.send_capacity(), self.config.send_buffer.saturating_sub(waiting));
        if !self.ready {
            assert_eq!(self.policy.poll_timeout().filter(|_| waiting > 0), None, "R6: no deadline before keys exist");
            return;
        }
        assert!(self.held() <= self.config.hold_limit, "R1: hold limit");
        if !self.config.ramp {
            assert!(self.held() < self.config.record_size || self.held() == 0, "R1: a whole record is held");
            if let Some(due) = self.deadline() {
                assert!(self.policy.poll_timeout().is_some_and(|at| at <= due), "R5: deadline");
            }
        }
    }

    fn records(&self) -> Vec<Vec<u8>> {
        parse(&self.wire).0
    }
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, bool),
    WriteBytes(usize, bool),
    Vectored(Vec<usize>, bool),
    Cork,
    Uncork,
    Flush,
    Advance(u64),
    Deadline,
    ReadWait,
    Transmit(usize, usize),
    Drain,
    HandshakeDone,
    Close,
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0), 6 => 1usize..300, 2 => 300usize..5000, 2 => 5000usize..40_000, 1 => 100_000usize..400_000]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (length(), any::<bool>()).prop_map(|(len, more)| Op::Write(len, more)),
        6 => (length(), any::<bool>()).prop_map(|(len, more)| Op::WriteBytes(len, more)),
        6 => (prop::collection::vec(length(), 0..5), any::<bool>()).prop_map(|(lens, more)| Op::Vectored(lens, more)),
        2 => Just(Op::Cork),
        2 => Just(Op::Uncork),
        2 => Just(Op::Flush),
        4 => (0u64..15).prop_map(Op::Advance),
        2 => Just(Op::Deadline),
        2 => Just(Op::ReadWait),
        6 => (0usize..100_000, prop_oneof![Just(usize::MAX), 500usize..9000]).prop_map(|(cap, step)| Op::Transmit(cap, step)),
        4 => Just(Op::Drain),
        3 => Just(Op::HandshakeDone),
        1 => Just(Op::Close),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        prop_oneof![2 => Just(MAX_RECORD_SIZE), 1 => 16usize..2000],
        prop_oneof![2 => Just(usize::MAX), 1 => 1usize..3000],
        prop_oneof![2 => Just(256 * 1024), 1 => 16_384usize..70_000],
        prop_oneof![2 => Just((64 * 1024, 256 * 1024)), 1 => Just((16 * 1024, 32 * 1024))],
        prop::bool::weighted(0.2),
    )
        .prop_map(|(record_size, hold_limit, send_buffer, batch, ramp)| Limits {
            record_size,
            hold_limit: hold_limit.min(record_size),
            send_buffer,
            batch,
            ramp,
            ..Limits::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_holds_whatever_the_caller_does(
        limits in limits(), ready in any::<bool>(), ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut bench = Bench::new(limits, ready);
        for op in ops {
            match op {
                Op::Write(len, more) => { let _ = bench.write(&[len], more); }
                Op::WriteBytes(len, more) => { let _ = bench.write_bytes(len, more); }
                Op::Vectored(lens, more) => { let _ = bench.write(&lens, more); }
                Op::Cork => bench.cork(),
                Op::Uncork => bench.uncork(),
                Op::Flush => bench.flush(),
                Op::Advance(ms) => bench.advance(Duration::from_millis(ms)),
                Op::Deadline => {
                    if let Some(due) = bench.policy.poll_timeout().filter(|_| bench.ready && bench.held() > 0) {
                        bench.advance(due.saturating_duration_since(bench.now));
                        bench.drain();
                        prop_assert_eq!(bench.policy.waiting(), 0, "R5: the deadline releases everything");
                    }
                }
                Op::ReadWait => bench.read_wait(),
                Op::Transmit(capacity, step) => { let _ = bench.transmit(capacity, step); }
                Op::Drain => bench.drain(),
                Op::HandshakeDone => bench.finish_handshake(),
                Op::Close => bench.close(),
            }
        }
        bench.finish_handshake();
        bench.close();
        bench.drain();
        prop_assert_eq!(bench.policy.waiting(), 0);
        prop_assert!(!bench.policy.wants_transmit());
        let (records, last) = parse(&bench.wire);
        prop_assert_eq!(last, Some(END), "R11: the end marker comes last");
        prop_assert!(records.iter().all(|record| record.len() <= bench.config.record_size));
        prop_assert!(records.concat() == stream(0, bench.written), "content and order");
        prop_assert_eq!(bench.write(&[1], false), Err(WriteError::Closed));
    }
}

fn ready() -> Bench {
    Bench::new(Limits::default(), true)
}

#[test]
fn header_with_more_and_body_are_one_record() {
    let mut bench = ready();
    bench.write(&[28], true).unwrap();
    bench.drain();
    assert!(bench.wire.is_empty());
    bench.write(&[512], false).unwrap();
    bench.drain();
    assert_eq!(bench.records(), [stream(0, 540)]);
}

#[test]
fn a_vectored_write_below_a_record_is_one_record() {
    for pieces in [&[1, 1, 1][..], &[28, 0, 4096], &[5; 40], &[16_382, 1], &[16_383]] {
        let mut bench = ready();
        bench.write(pieces, false).unwrap();
        bench.drain();
        assert_eq!(bench.records().len(), 1, "{pieces:?}");
        assert_eq!(bench.policy.waiting(), 0);
    }
}

#[test]
fn plaintext_written_during_the_handshake_is_one_record_after_it() {
    let mut bench = Bench::new(Limits::default(), false);
    for _ in 0..10 {
        bench.write(&[10], false).unwrap();
    }
    bench.drain();
    assert!(bench.wire.is_empty());
    bench.finish_handshake();
    bench.drain();
    assert_eq!(bench.records(), [stream(0, 100)]);
}

#[test]
fn point_4_the_final_piece_never_comes() {
    for corked in [false, true] {
        let mut bench = ready();
        if corked {
            bench.cork();
        }
        let start = bench.now;
        bench.write(&[100], true).unwrap();
        bench.advance(Duration::from_millis(9));
        bench.write(&[100], true).unwrap(); // does not push the deadline back
        assert_eq!(bench.policy.poll_timeout(), Some(start + Duration::from_millis(10)));
        bench.drain();
        assert_eq!(bench.policy.waiting(), 200);
        bench.advance(Duration::from_millis(1));
        bench.drain();
        assert_eq!(bench.records(), [stream(0, 200)]);
        assert_eq!(bench.policy.stats().flushes(FlushReason::Deadline), 1);
        bench.write(&[5], false).unwrap();
        bench.drain();
        assert_eq!(bench.policy.waiting(), if corked { 5 } else { 0 }, "the cork stays on");
    }
}

#[test]
fn point_5_a_reader_waits_for_the_answer_to_a_held_request() {
    let mut bench = ready();
    bench.cork();
    bench.write(&[100], false).unwrap();
    let decision = bench.policy.handle_read_wait(bench.now);
    assert_eq!(decision, FlushDecision::Flush { bytes: 100, reason: FlushReason::ReadWait });
    bench.release_all();
    bench.drain();
    assert_eq!(bench.records().len(), 1);
    bench.write(&[7], false).unwrap();
    bench.drain();
    assert_eq!(bench.policy.waiting(), 7, "the cork stays on");

    let off = CorkConfig::default().flush_on_read_wait(false);
    let framed = Framed::default();
    framed.0.borrow_mut().ready = true;
    let mut policy = CorkPolicy::new(framed, off).unwrap();
    let _ = policy.write(bench.now, &[IoSlice::new(b"x")], SendFlags::MORE).unwrap();
    assert!(!policy.handle_read_wait(bench.now).is_flush());
}

#[test]
fn point_7_interrupted_is_tried_again() {
    let mut bench = ready();
    bench.write(&[100], false).unwrap();
    let mut calls = 0;
    let done = bench.policy.transmit_with(|bufs, _| {
        calls += 1;
        if calls < 4 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(bufs[0].len()) }
    });
    assert_eq!(done.unwrap(), Transmitted { bytes: 104, blocked: false });
    assert_eq!(calls, 4);
}

#[test]
fn point_7_zero_and_errors_leave_everything_waiting() {
    let mut bench = ready();
    bench.write(&[100], false).unwrap();
    assert!(matches!(bench.policy.transmit_with(|_, _| Ok(0)), Err(TransmitError::WriteZero)));
    let reset = bench.policy.transmit_with(|_, _| Err(io::ErrorKind::ConnectionReset.into()));
    assert!(matches!(reset, Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    bench.drain();
    assert_eq!(bench.records(), [stream(0, 100)]);
}

#[test]
fn point_7_one_byte_windows() {
    let mut bench = ready();
    bench.write(&[300], false).unwrap();
    let mut rounds = 0;
    while bench.policy.wants_transmit() {
        let done = bench.transmit(1, 1).unwrap();
        assert_eq!(done.bytes, 1);
        rounds += 1;
        if rounds % 10 == 0 && rounds <= 100 {
            bench.write(&[20], false).unwrap(); // joins what waits: the record on the wire does not change
        }
    }
    assert_eq!(bench.records(), [stream(0, 300), stream(300, 200)]);
}

#[test]
fn point_8_a_full_buffer_says_so_and_recovers() {
    let mut bench = ready();
    bench.write(&[1], false).unwrap();
    assert!(bench.transmit(0, 1).unwrap().blocked); // one record is sealed and stuck
    let mut accepted = 0;
    let refused = loop {
        match bench.write(&[50_000], false) {
            Ok(n) => accepted += n,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, WriteError::Blocked);
    assert_eq!(accepted, bench.config.send_buffer);
    assert_eq!(bench.policy.send_capacity(), 0);
    let mut shared = Bytes::from_static(b"unchanged");
    assert_eq!(bench.policy.write_bytes(bench.now, &mut shared, SendFlags::NONE), Err(WriteError::Blocked));
    assert_eq!(&shared[..], b"unchanged");
    assert_eq!(bench.write(&[0], false), Ok(0), "an empty write needs no room");
    bench.drain();
    assert_eq!(bench.policy.send_capacity(), bench.config.send_buffer);
    assert_eq!(bench.write(&[100], false), Ok(100));
    bench.drain();
    assert_eq!(bench.records().concat(), stream(0, 1 + accepted + 100));
}

#[test]
fn point_9_close_under_a_full_buffer() {
    let mut bench = ready();
    bench.write(&[1], false).unwrap();
    assert!(bench.transmit(0, 1).unwrap().blocked);
    while bench.write(&[50_000], true).is_ok() {}
    bench.close();
    assert_eq!(bench.write(&[1], false), Err(WriteError::Closed));
    while bench.policy.wants_transmit() {
        assert!(bench.transmit(1000, 999).unwrap().bytes > 0);
    }
    let (records, last) = parse(&bench.wire);
    assert_eq!(records.concat(), stream(0, bench.written));
    assert_eq!(last, Some(END));
}
