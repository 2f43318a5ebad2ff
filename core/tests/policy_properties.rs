//! The rules of corking, compared with the model over random sequences of calls.
#![allow(clippy::disallowed_methods)] // the start of virtual time

use std::time::Duration;

use proptest::prelude::*;
use tls_cork::{MAX_RECORD_SIZE, WriteError};
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::{Bench, END, Limits, parse};

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
