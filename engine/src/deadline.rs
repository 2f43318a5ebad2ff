//! `Deadline`: a timer that is armed only while something is due, and as seldom as possible.

use std::time::Instant;

use crate::Timer;
use crate::wakers::Wakers;

/// A timer that wakes at the requested time or earlier.
///
/// Arming can cost a wake-up of a reactor's thread. A timer armed for an earlier time therefore
/// stays, even if that earlier deadline no longer exists. A stream that holds and releases all the
/// time arms it once in each `max_hold`.
#[derive(Debug)]
pub(crate) struct Deadline<T> {
    armed: Option<T>,
}

impl<T> Deadline<T> {
    pub(crate) fn new() -> Self {
        Self { armed: None }
    }
}

impl<T: Timer> Deadline<T> {
    /// Wakes the waiting tasks at `at` at the latest, or now if `at` is past.
    pub(crate) fn wake_by(&mut self, now: Instant, at: Instant, wakers: &Wakers) {
        if self.armed.as_ref().is_some_and(|armed| now < armed.at() && armed.at() <= at) {
            return;
        }
        self.armed = T::arm(at, &wakers.alarm());
        if self.armed.is_none() {
            wakers.wake();
        }
    }

    /// Whether a timer that has not fired will do so at `at` at the latest.
    pub(crate) fn fires_by(&self, at: Instant, wakers: &Wakers) -> bool {
        self.armed.as_ref().is_some_and(|armed| armed.at() <= at) && !wakers.has_fired()
    }

    /// Drops a timer that has fired. Call it when nothing is due.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.armed.take_if(|armed| armed.at() <= now);
    }
}
