//! Every sequence of up to six operations, compared with the model after each operation.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

mod model;

use std::io::{self, IoSlice};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{Model, Ramp, Rules};
use tls_cork::{CorkPolicy, FlushReason, SendFlags};
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::Framed;

const DEPTH: usize = 6;
/// The time between two operations, so that each has its own time. Two writes in a row gather; with
/// another operation in between they do not (`GATHER_PAUSE`).
const TICK: Duration = Duration::from_micros(900);
/// The time after which an idle policy frees its buffer.
const IDLE_BUFFER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Op {
    /// The lengths of the slices, and whether the write has `MORE`.
    Write(&'static [usize], bool),
    WriteBytes(usize, bool),
    Cork,
    Uncork,
    Flush,
    ReadWait,
    /// Advances to the next deadline, or by a fixed time if there is none.
    Wait,
    /// Transmits everything, or this many bytes before the transport blocks.
    Transmit(usize),
    Take,
    Close,
    Abort,
    HandshakeDone,
}

use Op::*;

const ALL: Op = Transmit(usize::MAX);
const MORE: bool = true;
const LAST: bool = false;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A policy, the bytes that its transport took, and the model of both.
struct Run {
    policy: CorkPolicy<Framed>,
    framed: Framed,
    model: Model,
    wire: Vec<u8>,
    now: Instant,
}

impl Run {
    fn new(rules: Rules, ready: bool, start: Instant) -> Self {
        let framed = Framed::default();
        framed.0.borrow_mut().ready = ready;
        let policy = CorkPolicy::new(framed.clone(), rules.config()).expect("a valid configuration");
        Self { policy, framed, model: Model::new(rules, ready), wire: Vec::new(), now: start }
    }

    fn apply(&mut self, op: Op) {
        self.now += TICK;
        let (now, policy, model) = (self.now, &mut self.policy, &mut self.model);
        match op {
            Write(lens, more) => {
                let data = stream(model.at.written, lens.iter().sum());
                let mut rest = &data[..];
                let bufs: Vec<_> =
                    lens.iter().map(|len| IoSlice::new(rest.split_off(..*len).expect("a piece"))).collect();
                let expected = model.write(now, data.len(), more, false);
                let written = policy.write(now, &bufs, SendFlags::more_if(more));
                assert_eq!(written.map(|written| (written.accepted, written.decision)), expected);
            }
            WriteBytes(len, more) => {
                let mut data = Bytes::from(stream(model.at.written, len));
                let expected = model.write(now, len, more, true);
                let written = policy.write_bytes(now, &mut data, SendFlags::more_if(more));
                let written = written.map(|written| (written.accepted, written.decision));
                assert_eq!(data.len(), len - written.map_or(0, |(accepted, _)| accepted), "exactly that is split off");
                assert_eq!(written, expected);
            }
            Cork => {
                policy.cork(now);
                model.cork();
            }
            Uncork => assert_eq!(policy.uncork(now), model.uncork(now)),
            Flush => assert_eq!(policy.flush(now), model.release_all(now, FlushReason::Flush)),
            ReadWait => assert_eq!(policy.handle_read_wait(now), model.release_all(now, FlushReason::ReadWait)),
            Wait => {
                self.now = policy.poll_timeout().unwrap_or(now + ms(7)).max(now);
                assert_eq!(policy.handle_timeout(self.now), model.timeout(self.now));
                assert!(policy.poll_timeout().is_none_or(|at| at > self.now), "due again at once");
            }
            Transmit(capacity) => self.transmit(capacity),
            Take => {
                let taken = policy.take_transmit().expect("nothing fails here");
                assert_eq!(taken.as_ref().map(|output| (output.data.len(), output.more)), model.take(), "R8");
                self.wire.extend(taken.iter().flat_map(|output| &output.data));
            }
            Close => assert_eq!(policy.close(now), model.close(now)),
            Abort => assert_eq!(policy.abort(), model.abort()),
            HandshakeDone => {
                if !model.ready {
                    self.framed.finish_handshake();
                }
                assert_eq!(policy.handle_handshake_done(now), model.handshake_done(now));
            }
        }
    }

    fn transmit(&mut self, capacity: usize) {
        let (mut room, mut sends, wire) = (capacity, Vec::new(), &mut self.wire);
        let before = wire.len();
        let done = self.policy.transmit_with(|bufs, more| {
            sends.push((bufs[0].len(), more)); // `Framed` offers one slice
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bufs[0].len().min(room);
            room -= taken;
            wire.extend_from_slice(&bufs[0][..taken]);
            Ok(taken)
        });
        let (expected, blocked) = self.model.transmit(capacity);
        assert_eq!(sends, expected, "R8: what was offered, and `more`");
        let done = done.expect("nothing fails here");
        assert_eq!((done.bytes, done.blocked), (wire.len() - before, blocked));
    }

    fn check(&self) {
        let (policy, model, seen) = (&self.policy, &self.model, self.framed.0.borrow());
        assert!(seen.output == model.output, "records: {:?}, not {:?}", seen.output, model.output);
        assert!(self.wire == model.output[..model.sent], "content and order");
        assert_eq!(policy.waiting(), model.waiting());
        assert_eq!(policy.send_capacity(), model.capacity(), "R9");
        assert_eq!(policy.is_write_closed(), model.is_closed());
        assert_eq!(policy.is_finished(), model.is_finished(), "R11");
        assert_eq!(policy.wants_transmit(), model.wants_transmit());
        assert_eq!(policy.lost_bytes(), 0);
        match (policy.poll_timeout(), model.deadline()) {
            (Some(at), None) => assert_eq!(Some(at), model.last_write().map(|last| last + IDLE_BUFFER)),
            (at, deadline) => assert_eq!(at, deadline, "R5"),
        }
        let stats = policy.stats();
        assert_eq!(stats.records, model.records);
        assert_eq!(stats.plaintext_bytes, model.at.sealed as u64);
        assert_eq!(stats.wire_bytes, model.sent as u64);
        assert_eq!(stats.copied_bytes, model.copied);
        assert_eq!(stats.transmits, model.transmits);
        assert_eq!(stats.largest_batch, model.largest_batch);
        assert_eq!(stats.longest_hold, model.longest_hold());
        let flushes: Vec<_> = FlushReason::ALL.iter().map(|reason| stats.flushes(*reason)).collect();
        assert_eq!(flushes, model.flushes);
    }
}

/// Runs every sequence of one to [`DEPTH`] operations from `alphabet` and checks it after its last
/// operation. The earlier operations have been checked as a shorter sequence.
fn walk(what: &str, rules: Rules, ready: bool, alphabet: &[Op]) -> usize {
    let start = Instant::now();
    let mut count = 0;
    let mut failing = Failing(Vec::new());
    for depth in 1..=DEPTH {
        let mut digits = vec![0; depth];
        loop {
            let mut run = Run::new(rules, ready, start);
            failing.0.clear();
            for digit in &digits {
                failing.0.push(alphabet[*digit]);
                run.apply(alphabet[*digit]);
            }
            run.check();
            count += 1;
            let Some(last) = digits.iter().rposition(|digit| digit + 1 < alphabet.len()) else {
                break;
            };
            digits[last] += 1;
            digits[last + 1..].fill(0);
        }
    }
    println!("{what}: {count} sequences of 1 to {DEPTH} out of {} operations", alphabet.len());
    count
}

/// The sequence that runs; printed if it fails.
struct Failing(Vec<Op>);

impl Drop for Failing {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("in the sequence {:?}", self.0);
        }
    }
}

fn small() -> Rules {
    Rules { record: 16, hold_limit: 12, max_hold: ms(4), send_buffer: 40, batch: (16, 32), ramp: None }
}

#[test]
fn with_keys_from_the_start() {
    let alphabet = [
        Write(&[5], MORE),
        Write(&[5], LAST),
        Write(&[15], MORE),
        Write(&[3, 0, 16], LAST),
        Write(&[45], MORE),
        WriteBytes(33, MORE),
        Flush,
        Wait,
        ALL,
        Transmit(1),
        Close,
        Abort,
    ];
    assert_eq!(walk("with keys from the start", small(), true, &alphabet), 3_257_436);
}

#[test]
fn with_records_that_gather() {
    let rules = Rules { hold_limit: 40, send_buffer: 90, batch: (32, 48), ..small() };
    let alphabet = [
        Write(&[5], MORE),
        Write(&[5], LAST),
        Write(&[15], MORE),
        Write(&[3, 0, 30], MORE),
        Write(&[45], MORE),
        WriteBytes(33, MORE),
        Cork,
        Wait,
        ALL,
        Transmit(1),
        Close,
    ];
    assert_eq!(walk("with records that gather", rules, true, &alphabet), 1_948_716);
}

#[test]
fn while_keys_are_missing() {
    let alphabet = [
        Write(&[5], MORE),
        Write(&[0], LAST),
        Write(&[30], LAST),
        Cork,
        Flush,
        ReadWait,
        Wait,
        ALL,
        Transmit(1),
        HandshakeDone,
        Close,
        Abort,
    ];
    assert_eq!(walk("while keys are missing", small(), false, &alphabet), 3_257_436);
}

#[test]
fn corked_and_with_dynamic_records() {
    let ramp = Ramp { segment: 16, bytes: 40, idle_reset: ms(5) };
    let rules = Rules { record: 24, hold_limit: 24, send_buffer: 60, batch: (32, 64), ramp: Some(ramp), ..small() };
    let alphabet = [
        Write(&[5], MORE),
        Write(&[5], LAST),
        Write(&[20], MORE),
        Write(&[1, 49], LAST),
        WriteBytes(40, LAST),
        Cork,
        Uncork,
        ReadWait,
        Wait,
        Take,
        Transmit(1),
        Close,
    ];
    assert_eq!(walk("corked and with dynamic records", rules, true, &alphabet), 3_257_436);
}

#[test]
fn with_bytes_that_stay_whole() {
    let rules = Rules { record: 1100, hold_limit: 1100, send_buffer: 4000, batch: (1100, 2200), ..small() };
    let alphabet = [
        Write(&[5], MORE),
        Write(&[1099], MORE),
        WriteBytes(1025, MORE),
        WriteBytes(3000, LAST),
        Flush,
        Wait,
        ALL,
        Transmit(1),
        Transmit(1104),
        Close,
    ];
    assert_eq!(walk("with bytes that stay whole", rules, true, &alphabet), 1_111_110);
}
