//! Random scripts of calls of a policy, and random limits, for property tests of every sealer.

use proptest::prelude::*;
use tls_cork::MAX_RECORD_SIZE;

use crate::harness::Limits;

/// One call. Lengths are in bytes, times in milliseconds.
#[derive(Clone, Debug)]
pub enum Op {
    /// With `MORE` if the second is true, as in the next two.
    Write(usize, bool),
    WriteBytes(usize, bool),
    Vectored(Vec<usize>, bool),
    Cork,
    Uncork,
    Flush,
    Advance(u64),
    /// Advances to the deadline of the held bytes.
    Deadline,
    ReadWait,
    /// To a transport with this much room, which takes at most the second in one send.
    Transmit(usize, usize),
    Drain,
    HandshakeDone,
    Close,
}

/// Mostly short, sometimes of several records.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0), 6 => 1usize..300, 2 => 300usize..5000, 2 => 5000usize..40_000, 1 => 100_000usize..400_000]
}

pub fn op() -> impl Strategy<Value = Op> {
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

pub fn limits() -> impl Strategy<Value = Limits> {
    (
        prop_oneof![2 => Just(MAX_RECORD_SIZE), 1 => 16usize..2000],
        prop_oneof![2 => Just(16_384), 1 => 1usize..3000, 1 => 3000usize..131_072],
        prop_oneof![2 => Just(256 * 1024), 1 => 16_384usize..70_000],
        prop_oneof![2 => Just((64 * 1024, 256 * 1024)), 1 => Just((16 * 1024, 32 * 1024))],
        prop::bool::weighted(0.2),
    )
        .prop_map(|(record_size, hold_limit, send_buffer, batch, ramp)| Limits {
            record_size,
            hold_limit: hold_limit.min(record_size.max(send_buffer / 2)),
            send_buffer,
            batch,
            ramp,
            ..Limits::default()
        })
}
