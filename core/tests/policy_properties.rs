//! The rules of corking, compared with the model over random sequences of calls.
#![allow(clippy::disallowed_methods)] // the start of virtual time

use std::time::Duration;

use proptest::prelude::*;
use tls_cork::WriteError;
use tls_cork_testing::calls::{Op, limits, op};
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::{Bench, END, parse};

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
