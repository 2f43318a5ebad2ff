//! The rules of corking, compared with the model of the property tests.
#![no_main]

use std::io::ErrorKind;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tls_cork::{TransmitError, WriteError};
use tls_cork_fuzz::{Cork, Len};
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::{Bench, END, Limits, parse};

#[derive(Arbitrary, Debug)]
struct Input {
    cork: Cork,
    max_hold: u8,
    ready: bool,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Write(Len, bool),
    WriteBytes(Len, bool),
    Vectored(Vec<Len>, bool),
    Cork,
    Uncork,
    Flush,
    Advance(u8),
    Deadline,
    ReadWait,
    Transmit(Len, Option<u16>),
    Take,
    Fail(Failure),
    Drain,
    HandshakeDone,
    Close,
    Abort,
}

/// The transport's answer to a send that takes no bytes.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Failure {
    Reset,
    Zero,
    Interrupted,
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        record_size: input.cork.record_size(),
        hold_limit: input.cork.hold_limit(),
        send_buffer: input.cork.send_buffer(),
        batch: input.cork.batches(),
        ramp: input.cork.ramp(),
        max_hold: Duration::from_millis(1 + u64::from(input.max_hold % 40)),
    };
    let mut bench = Bench::new(limits, input.ready);
    for op in input.ops.iter().take(100) {
        match op {
            Op::Write(len, more) => _ = bench.write(&[len.get()], *more),
            Op::WriteBytes(len, more) => _ = bench.write_bytes(len.get(), *more),
            Op::Vectored(lens, more) => {
                let lens: Vec<usize> = lens.iter().take(20).map(|len| len.get()).collect();
                let _ = bench.write(&lens, *more);
            }
            Op::Cork => bench.cork(),
            Op::Uncork => bench.uncork(),
            Op::Flush => bench.flush(),
            Op::Advance(ms) => advance(&mut bench, Duration::from_millis((*ms).into())),
            Op::Deadline => {
                if let Some(due) = bench.policy.poll_timeout() {
                    let held = bench.ready && bench.held() > 0;
                    let time = due.saturating_duration_since(bench.now);
                    advance(&mut bench, time);
                    if held {
                        bench.drain();
                        assert_eq!(bench.policy.waiting(), 0, "R5: the deadline releases everything");
                    }
                }
            }
            Op::ReadWait => bench.read_wait(),
            Op::Transmit(capacity, step) => {
                let step = step.map_or(usize::MAX, |step| 1 + usize::from(step));
                let _ = bench.transmit(capacity.get(), step).expect("a transport that only pushes back");
            }
            Op::Take => take(&mut bench),
            Op::Fail(failure) => fail(&mut bench, *failure),
            Op::Drain => bench.drain(),
            Op::HandshakeDone => bench.finish_handshake(),
            Op::Close => bench.close(),
            Op::Abort => return abort(bench),
        }
    }
    bench.finish_handshake();
    bench.close();
    bench.drain();
    assert!(bench.policy.is_finished() && !bench.policy.wants_transmit());
    assert_eq!(check_wire(&bench, bench.written), Some(END), "R11: the end marker comes last");
    assert_eq!(bench.write(&[1], false), Err(WriteError::Closed));
});

fn advance(bench: &mut Bench, time: Duration) {
    bench.advance(time);
    let next = bench.policy.poll_timeout();
    assert!(next.is_none_or(|at| at > bench.now), "a timeout that is due again at once");
}

fn take(bench: &mut Bench) {
    while let Some(output) = bench.policy.take_transmit().expect("this sealer does not fail") {
        bench.follow_filling();
        assert!(!output.data.is_empty());
        assert_eq!(output.more, bench.released > bench.sealed(), "R8");
        bench.wire.extend(&output.data);
        bench.check();
    }
    assert!(!bench.policy.wants_transmit());
}

/// Makes one transmit that fails. Nothing is lost by it.
fn fail(bench: &mut Bench, failure: Failure) {
    let mut calls = 0;
    let done = bench.policy.transmit_with(|_bufs, _more| {
        calls += 1;
        match failure {
            Failure::Zero => Ok(0),
            Failure::Interrupted if calls < 3 => Err(ErrorKind::Interrupted.into()),
            _ => Err(ErrorKind::ConnectionReset.into()),
        }
    });
    match done {
        Ok(done) => assert!(calls == 0 && done.bytes == 0 && !done.blocked),
        Err(TransmitError::WriteZero) => assert!(matches!(failure, Failure::Zero)),
        Err(TransmitError::Io(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        Err(error) => panic!("{error}"),
    }
    bench.follow_filling();
    bench.check();
}

/// R11: plaintext that is not sealed is discarded, and the peer can see that the stream was cut.
fn abort(mut bench: Bench) {
    let lost = bench.written - bench.sealed();
    let discarded = bench.policy.abort();
    assert_eq!(discarded, lost);
    assert_eq!(bench.policy.waiting(), 0);
    let mut out = Vec::new();
    bench.policy.poll_transmit(&mut out).expect("a transport without limits");
    bench.wire.extend(out);
    assert!(bench.policy.is_finished() && !bench.policy.wants_transmit());
    let last = check_wire(&bench, bench.written - lost);
    assert!((last == Some(END)) == (discarded == 0), "an end only if nothing was lost");
    assert_eq!(bench.policy.abort(), 0);
}

/// Checks content and order; returns the header of the last frame.
fn check_wire(bench: &Bench, len: usize) -> Option<u32> {
    let (records, last) = parse(&bench.wire);
    assert!(records.iter().all(|record| record.len() <= bench.config.record_size));
    assert!(records.concat() == stream(0, len), "content and order");
    last
}
