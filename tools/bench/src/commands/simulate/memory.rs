//! What many connections hold together, from what one of them holds over time.

use std::time::Duration;

use tls_cork_testing::content;

/// When each of many connections starts: at random within a span, counted in slots.
#[derive(Debug)]
pub struct Starts {
    slot: Duration,
    counts: Vec<u64>,
}

/// Slots in the span within which connections start.
const SLOTS: usize = 1000;

impl Starts {
    /// `connections` starts within `span`, the same for the same seed.
    #[must_use]
    pub fn new(connections: u64, span: Duration, seed: u64) -> Self {
        let mut counts = vec![0; SLOTS];
        let mut random = seed;
        for _ in 0..connections {
            counts[(content::next(&mut random) % SLOTS as u64) as usize] += 1;
        }
        Self { slot: span / SLOTS as u32, counts }
    }

    /// The most that all connections together hold in one slot, if one of them holds `held`: bytes from each time on.
    ///
    /// Within a slot each connection counts with the most that it holds there.
    #[must_use]
    pub fn peak(&self, held: &[(Duration, usize)]) -> u64 {
        let profile = self.profile(held);
        let mut sums = vec![0u64; SLOTS + profile.len()];
        for (slot, count) in self.counts.iter().enumerate() {
            for (sum, bytes) in sums[slot..].iter_mut().zip(&profile) {
                *sum += count * bytes;
            }
        }
        sums.into_iter().max().unwrap_or(0)
    }

    /// The most held in each slot after the start, up to when nothing is held any more, or something for ever.
    fn profile(&self, held: &[(Duration, usize)]) -> Vec<u64> {
        let slot_of = |time: Duration| (time.as_nanos() / self.slot.as_nanos().max(1)) as usize;
        let mut profile: Vec<u64> = Vec::new();
        for (i, &(from, bytes)) in held.iter().enumerate() {
            // What is never let go is held until the last connection has started.
            let upto = held.get(i + 1).map_or(from + self.slot * SLOTS as u32, |next| next.0);
            if bytes == 0 || upto == from {
                continue;
            }
            let last = slot_of(upto.saturating_sub(Duration::from_nanos(1)));
            if profile.len() <= last {
                profile.resize(last + 1, 0);
            }
            for most in &mut profile[slot_of(from)..=last] {
                *most = (*most).max(bytes as u64);
            }
        }
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One slot lasts 10 ms.
    fn starts() -> Starts {
        Starts::new(100_000, ms(10_000), 1)
    }

    #[test]
    fn starts_are_spread_and_all_there() {
        let starts = starts();
        assert_eq!(starts.counts.iter().sum::<u64>(), 100_000);
        assert!(starts.counts.iter().all(|n| (30..200).contains(n)), "about 100 in each slot");
        assert_eq!(starts.counts, Starts::new(100_000, ms(10_000), 1).counts);
        assert_ne!(starts.counts, Starts::new(100_000, ms(10_000), 2).counts);
    }

    #[test]
    fn what_is_held_for_ever_is_held_by_all() {
        assert_eq!(starts().peak(&[(ms(0), 300)]), 300 * 100_000);
    }

    #[test]
    fn what_is_held_for_a_slot_is_held_by_those_that_start_in_it() {
        let starts = starts();
        let most = *starts.counts.iter().max().expect("slots");
        assert_eq!(starts.peak(&[(ms(0), 300), (ms(10), 0)]), 300 * most);
        // Across two slots: the fullest pair.
        let pair = starts.counts.windows(2).map(|pair| pair[0] + pair[1]).max().expect("slots");
        assert_eq!(starts.peak(&[(ms(5), 0), (ms(15), 7), (ms(25), 0)]), 7 * pair);
        // Within one slot the most counts.
        assert_eq!(starts.peak(&[(ms(0), 1), (ms(2), 300), (ms(3), 0)]), 300 * most);
    }

    #[test]
    fn nothing_held_is_nothing() {
        assert_eq!(starts().peak(&[]), 0);
        assert_eq!(starts().peak(&[(ms(0), 0)]), 0);
    }
}
