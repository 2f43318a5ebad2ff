//! Engines that more than one task reaches.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use crate::{Engine, Session, Timer, Transport};

/// An engine that several handles reach, each under a lock: split halves, and a [`DeadlineTask`].
#[derive(Debug)]
pub struct Shared<IO, S, T>(Arc<Locked<IO, S, T>>);

/// Makes the deadlines of a shared engine fire while nothing else polls it.
///
/// The future ends when the last [`Shared`] is dropped. It sleeps unless something is due.
#[derive(Debug)]
#[must_use = "futures do nothing unless spawned or polled"]
pub struct DeadlineTask<IO, S, T>(Weak<Locked<IO, S, T>>);

#[derive(Debug)]
struct Locked<IO, S, T>(Mutex<Engine<IO, S, T>>);

impl<IO, S, T> Locked<IO, S, T> {
    fn lock(&self) -> MutexGuard<'_, Engine<IO, S, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<IO, S, T> Drop for Locked<IO, S, T> {
    fn drop(&mut self) {
        // Lets a deadline task see that there is nothing left to do.
        self.lock().wake();
    }
}

impl<IO, S, T> Shared<IO, S, T> {
    /// The first handle of `engine`.
    pub fn new(engine: Engine<IO, S, T>) -> Self {
        Self(Arc::new(Locked(Mutex::new(engine))))
    }

    /// The engine, for one call: no call keeps the lock longer than its share of work (R16).
    pub fn lock(&self) -> MutexGuard<'_, Engine<IO, S, T>> {
        self.0.lock()
    }

    /// Whether both are handles of the same engine.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A task for this engine's deadlines, to be spawned.
    pub fn deadline_task(&self) -> DeadlineTask<IO, S, T> {
        DeadlineTask(Arc::downgrade(&self.0))
    }
}

impl<IO, S, T> Clone for Shared<IO, S, T> {
    /// Another handle of the same engine.
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<IO: Transport, S: Session, T: Timer> Future for DeadlineTask<IO, S, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.upgrade() {
            Some(shared) => {
                shared.lock().attend(cx);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}
