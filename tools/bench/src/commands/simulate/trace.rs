//! What is written and when.

use std::time::Duration;

/// One write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    /// When, after the connection was established.
    pub(crate) time: Duration,
    /// Plaintext bytes.
    pub(crate) len: usize,
    /// Whether the writer promises more.
    pub(crate) more: bool,
}

/// A series of writes, in the order of their times.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// What tables call it.
    pub(crate) name: &'static str,
    /// At least one.
    pub(crate) writes: Vec<Write>,
}

/// The built-in patterns, in the order of the tables.
pub(crate) fn built_in() -> Vec<Trace> {
    let write = |us: u64, len: usize, more: bool| Write { time: Duration::from_micros(us), len, more };
    let chunks = (0..25).map(|i| write(i * 2_000, 8192, i < 24));
    let patterns = [
        // A file, handed over at once.
        ("page-static", turns(1, 0, &[200 * 1024])),
        // 300 bytes of headers, then 8 KiB each 2 ms: MORE until the last.
        ("page-generated", std::iter::once(write(0, 300, true)).chain(chunks).collect()),
        // 16 responses of HEADERS and DATA frames, multiplexed; one each millisecond, MORE within it.
        ("http2", turns(16, 1_000, &[9, 31, 9, 8192])),
        // A header for whose body something else has to happen first: it does after half a second.
        ("late-final", vec![write(0, 300, true), write(500_000, 8192, false)]),
        ("burst-100x120", turns(10, 100_000, &[120; 100])),
        // 16 requests in each turn of the event loop, a turn each 2 ms; all MORE but the last of the turn.
        ("nbd-512", turns(100, 2_000, &[28, 512].repeat(16))),
        ("nbd-64k", turns(8, 20_000, &[28, 65_536].repeat(16))),
        ("bulk-4m", turns(1, 0, &[65_536; 64])),
    ];
    patterns.into_iter().map(|(name, writes)| Trace { name, writes }).collect()
}

/// The same pieces in each turn, all MORE but the last.
fn turns(count: u64, apart_us: u64, pieces: &[usize]) -> Vec<Write> {
    let turn = |turn: u64| {
        let last = pieces.len() - 1;
        let time = Duration::from_micros(turn * apart_us);
        pieces.iter().enumerate().map(move |(i, &len)| Write { time, len, more: i < last })
    };
    (0..count).flat_map(turn).collect()
}
