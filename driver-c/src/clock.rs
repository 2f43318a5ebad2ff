//! Nanoseconds of CLOCK_MONOTONIC as the core's `Instant`, and back.

use std::time::{Duration, Instant};

use crate::error::Error;

/// Both clocks run at the same speed, so any pair of times will do as their common zero.
#[derive(Debug)]
pub(crate) struct Clock {
    zero: Instant,
    /// The latest time of a call, in nanoseconds.
    latest: i64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { zero: Instant::now(), latest: 0 }
    }

    /// The time of a call. Never earlier than that of an earlier call.
    pub(crate) fn at(&mut self, now: i64) -> Result<Instant, Error> {
        let nanos = u64::try_from(now).map_err(|_| Error::invalid("now is negative"))?;
        // So far from its end that a deadline can be added.
        const FAR: Duration = Duration::from_secs(3600);
        let at = self.zero.checked_add(Duration::from_nanos(nanos.max(self.latest.unsigned_abs())));
        let at = at.filter(|at| at.checked_add(FAR).is_some()).ok_or(Error::invalid("now is too late"))?;
        self.latest = self.latest.max(now);
        Ok(at)
    }

    /// The nanoseconds of `at`; at most `i64::MAX`.
    pub(crate) fn nanos(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.zero).as_nanos()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_and_never_decreases() {
        let mut clock = Clock::new();
        for now in [0, 1, 999_999_999, 1_000_000_000, i64::MAX / 2, i64::MAX] {
            let at = clock.at(now).unwrap();
            assert_eq!(clock.nanos(at), now);
        }
        assert_eq!(clock.at(5).unwrap(), clock.at(i64::MAX).unwrap());
        assert!(clock.at(-1).is_err());
    }
}
