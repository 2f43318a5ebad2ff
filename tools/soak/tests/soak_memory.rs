//! What the soak's streams leave on the heap: nothing.
//!
//! In a process of its own, since it counts the allocations of the process.

use std::alloc::System;
use std::thread;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many bytes may stay behind of 27 streams. Each run leaks 480 bytes on purpose: the cipher
/// suites with short-lived keys.
const MOST_LEFT: usize = 4096;
/// For tasks that end after their stream has.
const LIMIT: Duration = Duration::from_secs(20);

fn in_use() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// Runs streams of every pairing, most of them with a fault, and returns how many.
fn run(rounds: u64) -> u64 {
    tls_cork_soak::run_rounds(rounds, 3).expect("every check").sum(|totals| totals.streams)
}

#[test]
fn streams_that_are_over_leave_nothing_on_the_heap() {
    // The first streams start what all share: the runtime's threads and tables.
    assert_eq!(run(2), 18);
    thread::sleep(Duration::from_millis(200));
    let before = in_use();
    assert_eq!(run(3), 27);
    let end = Instant::now() + LIMIT;
    while in_use() > before + MOST_LEFT {
        assert!(Instant::now() < end, "{before} bytes in use before, {} after", in_use());
        thread::sleep(Duration::from_millis(10));
    }
}
