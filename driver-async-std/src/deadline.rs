//! A timer that is armed only while something is due, and seldom.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use async_io::Timer;

use crate::wakers::Wakers;

/// Wakes at or before the time asked for, and never later.
///
/// Arming costs a wake-up of the reactor's thread. A timer that is armed for an earlier time is left alone, whatever has become of what
/// it was armed for; so a stream that holds and releases all the time arms it once in each `max_hold`.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    /// Boxed: an idle stream has none.
    armed: Option<Box<(Instant, Timer)>>,
}

impl Deadline {
    /// Whoever waits is woken at `at` at the latest, or now if that is past.
    pub(crate) fn wake_by(&mut self, now: Instant, at: Instant, wakers: &Wakers) {
        if self.armed.as_ref().is_some_and(|armed| now < armed.0 && armed.0 <= at) {
            return;
        }
        let mut timer = Timer::at(at);
        match Pin::new(&mut timer).poll(&mut Context::from_waker(&wakers.alarm())) {
            Poll::Ready(_) => {
                self.armed = None;
                wakers.wake();
            }
            Poll::Pending => self.armed = Some(Box::new((at, timer))),
        }
    }

    /// Nothing is due.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.armed.take_if(|armed| armed.0 <= now);
    }
}
