//! A timer that is armed only while something is due, and seldom.

use std::time::Instant;

use crate::Timer;
use crate::wakers::Wakers;

/// Wakes at or before the time asked for, and never later.
///
/// Arming can cost a wake-up of a reactor's thread. A timer that is armed for an earlier time is
/// left alone, whatever has become of what it was armed for; so a stream that holds and releases
/// all the time arms it once in each `max_hold`.
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
    /// Whoever waits is woken at `at` at the latest, or now if that is past.
    pub(crate) fn wake_by(&mut self, now: Instant, at: Instant, wakers: &Wakers) {
        if self.armed.as_ref().is_some_and(|armed| now < armed.at() && armed.at() <= at) {
            return;
        }
        self.armed = T::arm(at, &wakers.alarm());
        if self.armed.is_none() {
            wakers.wake();
        }
    }

    /// Nothing is due.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.armed.take_if(|armed| armed.at() <= now);
    }
}
