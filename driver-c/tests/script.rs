//! The random script of the policy's property test, by the C calls: after each call, the policy behind them is where
//! the policy of Rust is, which is compared with the model of the rules.
#![cfg(unix)]

mod support;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::{MS, World};
use tls_cork::FlushReason;
use tls_cork_c::*;
use tls_cork_testing::calls::{Op, limits, op};
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::{Bench, Limits};

/// The policy of Rust with its model, and that of C.
struct Both {
    rust: Bench,
    c: World,
    start: Instant,
}

impl Both {
    fn new(limits: Limits, ready: bool) -> Self {
        let config = tls_cork_config_new();
        // SAFETY: a configuration that is alive until the end of this block.
        let c = unsafe {
            assert_eq!(tls_cork_config_set_record_size(config, limits.record_size), 0);
            assert_eq!(tls_cork_config_set_hold_limit(config, limits.hold_limit), 0);
            assert_eq!(tls_cork_config_set_send_buffer_limit(config, limits.send_buffer), 0);
            assert_eq!(tls_cork_config_set_batch_size(config, limits.batch.0, limits.batch.1), 0);
            assert_eq!(tls_cork_config_set_max_hold(config, limits.max_hold.as_nanos() as i64), 0);
            if limits.ramp {
                // The ramp of `Bench`.
                let segment = limits.record_size.min(100);
                assert_eq!(tls_cork_config_set_dynamic_records(config, segment, 5000, 20 * MS), 0);
            }
            let c = World::new(config, ready);
            tls_cork_config_free(config);
            c
        };
        let rust = Bench::new(limits, ready);
        let start = rust.now;
        Self { rust, c, start }
    }

    /// The time of C, whose clock begins at 1 s.
    fn now(&self) -> i64 {
        self.nanos(self.rust.now)
    }

    fn nanos(&self, at: Instant) -> i64 {
        1000 * MS + (at - self.start).as_nanos() as i64
    }

    fn write(&mut self, pieces: &[usize], more: bool) {
        // Miri is some thousand times slower.
        let most = if cfg!(miri) { 2000 } else { usize::MAX };
        let pieces: Vec<usize> = pieces.iter().map(|len| *len.min(&most)).collect();
        let mut at = self.rust.written;
        let data: Vec<Vec<u8>> = pieces
            .iter()
            .map(|len| {
                at += len;
                stream(at - len, *len)
            })
            .collect();
        let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let wrote = self.c.writev(self.now(), &slices, if more { TLS_CORK_MORE } else { 0 });
        let closed = self.rust.closed;
        match self.rust.write(&pieces, more) {
            Ok(accepted) => assert_eq!(wrote, accepted as isize),
            Err(_) => assert_eq!(wrote as i32, if closed { -libc::EPIPE } else { -libc::EAGAIN }),
        }
    }

    /// Makes a call that may release something, in both.
    fn decide(&mut self, rust: fn(&mut Bench), c: unsafe extern "C" fn(*mut tls_cork_policy, i64) -> i32) {
        let before = self.releases();
        let released = self.c.at(c, self.now());
        rust(&mut self.rust);
        assert_eq!(released == 1, self.releases() > before, "{released}");
    }

    fn releases(&self) -> i64 {
        (0..TLS_CORK_REASONS).map(|reason| self.c.releases(reason)).sum()
    }

    fn close(&mut self) {
        let now = self.now();
        self.c.at(tls_cork_close, now);
        self.rust.close();
    }

    fn finish_handshake(&mut self) {
        if !self.rust.ready {
            self.c.finish_handshake();
            self.c.at(tls_cork_handle_handshake_done, self.now());
            self.rust.finish_handshake();
        }
    }

    fn advance(&mut self, time: Duration) {
        self.rust.advance(time);
        self.c.at(tls_cork_handle_timeout, self.now());
    }

    fn transmit(&mut self, capacity: usize, step: usize) {
        let blocked = self.rust.transmit(capacity, step).expect("no faults").blocked;
        assert_eq!(self.c.transmit(capacity, step), if blocked { -libc::EAGAIN } else { 0 });
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Write(len, more) | Op::WriteBytes(len, more) => self.write(&[len], more),
            Op::Vectored(lens, more) => self.write(&lens, more),
            Op::Cork => {
                self.c.at(tls_cork_cork, self.now());
                self.rust.cork();
            }
            Op::Uncork => self.decide(Bench::uncork, tls_cork_uncork),
            Op::Flush => self.decide(Bench::flush, tls_cork_flush),
            Op::Advance(ms) => self.advance(Duration::from_millis(ms)),
            Op::Deadline => {
                let due = self.rust.deadline().map(|due| due.saturating_duration_since(self.rust.now));
                self.advance(due.unwrap_or_default());
            }
            Op::ReadWait => self.decide(Bench::read_wait, tls_cork_handle_read_wait),
            Op::Transmit(capacity, step) => self.transmit(capacity, step),
            Op::Drain => self.transmit(usize::MAX, usize::MAX),
            Op::HandshakeDone => self.finish_handshake(),
            Op::Close => self.close(),
        }
    }

    fn compare(&self) {
        let (rust, c) = (&self.rust.policy, &self.c);
        assert!(self.rust.wire == c.wire, "the bytes on the wire");
        assert_eq!(c.get(tls_cork_wants_transmit), i32::from(rust.wants_transmit()));
        assert_eq!(c.get(tls_cork_is_corked), i32::from(rust.is_corked()));
        assert_eq!(c.get(tls_cork_is_write_closed), i32::from(rust.is_write_closed()));
        assert_eq!(c.get(tls_cork_is_finished), i32::from(rust.is_finished()));
        assert_eq!(c.get(tls_cork_send_capacity), rust.send_capacity() as isize);
        assert_eq!(c.get(tls_cork_waiting), rust.waiting() as isize);
        let due = rust.poll_timeout().map_or(TLS_CORK_NEVER, |at| self.nanos(at));
        assert_eq!(c.get(tls_cork_timeout), due);
        let (rust, c) = (rust.stats(), c.stats());
        assert_eq!((c.records, c.plaintext_bytes), (rust.records, rust.plaintext_bytes));
        assert_eq!((c.wire_bytes, c.copied_bytes), (rust.wire_bytes, rust.copied_bytes));
        assert_eq!((c.transmits, c.largest_batch), (rust.transmits, rust.largest_batch));
        assert_eq!(u128::from(c.longest_hold), rust.longest_hold.as_nanos());
        for (n, reason) in FlushReason::ALL.iter().enumerate() {
            assert_eq!(self.c.releases(n as u32), rust.flushes(*reason) as i64, "{reason:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 }, failure_persistence: None, max_shrink_iters: 300,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_c_calls_do_what_those_of_rust_do(
        limits in limits(), ready in any::<bool>(), ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut both = Both::new(limits, ready);
        for op in ops {
            both.apply(op);
            both.compare();
        }
        both.finish_handshake();
        both.close();
        both.transmit(usize::MAX, usize::MAX);
        both.compare();
        prop_assert_eq!(both.c.get(tls_cork_is_finished), 1);
        prop_assert_eq!(both.c.seen().sealed.get(), both.rust.written);
    }
}
