//! One-way delay: from before a message's first write in one process to its last byte, decrypted and checked, in the other.

use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds: the same for all processes of a machine, which `Instant` does not promise.
#[must_use]
pub fn monotonic_ns() -> u64 {
    // It cannot fail on Linux; zero would show at once.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds * 1_000_000_000 + nanos
    })
}

/// Microseconds at the median and at the 99.9th percentile; `None` when there is nothing to take them of.
#[must_use]
pub fn percentiles(sent: &[u64], arrived: &[u64]) -> Option<(f64, f64)> {
    let mut delays: Vec<u64> = sent.iter().zip(arrived).map(|(sent, arrived)| arrived.saturating_sub(*sent)).collect();
    delays.sort_unstable();
    let at = |part: f64| {
        let rank = (delays.len() as f64 * part).ceil() as usize;
        delays.get(rank.saturating_sub(1)).map(|&ns| ns as f64 / 1e3)
    };
    Some((at(0.5)?, at(0.999)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_nearest() {
        assert_eq!(percentiles(&[], &[]), None);
        assert_eq!(percentiles(&[1000], &[3000]), Some((2.0, 2.0)));
        let sent = vec![0; 2000];
        let arrived: Vec<u64> = (1..=2000).rev().map(|us| us * 1000).collect();
        assert_eq!(percentiles(&sent, &arrived), Some((1000.0, 1998.0)));
    }

    #[test]
    fn the_clock_goes_forward() {
        let first = monotonic_ns();
        assert!(first > 0 && monotonic_ns() >= first);
    }
}
