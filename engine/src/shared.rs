//! `Shared`: an engine that several tasks use, and its `DeadlineTask`.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{PoisonError, TryLockError};
use std::task::{Context, Poll};

use crate::sync::{Arc, Mutex, MutexGuard};
use crate::{Engine, Session, Shown, Timer, Transport};

/// A handle of an engine that several tasks use under a lock: split halves and a [`DeadlineTask`].
pub struct Shared<IO, S, T> {
    state: Arc<Mutex<State<IO, S, T>>>,
    shown: Shown,
}

/// A future that fires the deadlines of a shared engine while nothing else polls the engine.
///
/// It ends when the last [`Shared`] of the engine has been dropped or taken apart.
#[must_use = "futures do nothing unless spawned or polled"]
pub struct DeadlineTask<IO, S, T>(Arc<Mutex<State<IO, S, T>>>);

struct State<IO, S, T> {
    /// `Some` while a [`Shared`] exists.
    engine: Option<Engine<IO, S, T>>,
    /// The number of [`Shared`]s.
    handles: usize,
}

/// An engine under its lock.
struct Guard<'a, IO, S, T>(MutexGuard<'a, State<IO, S, T>>);

impl<IO, S, T> Shared<IO, S, T> {
    /// Creates the first handle of `engine`.
    pub fn new(engine: Engine<IO, S, T>) -> Self {
        let state = State { engine: Some(engine), handles: 1 };
        Self { state: Arc::new(Mutex::new(state)), shown: Shown::default() }
    }

    /// Locks the engine, and waits while another call has the lock.
    ///
    /// Hold the lock for one poll only, whose work is bounded (R16).
    pub fn lock(&self) -> impl DerefMut<Target = Engine<IO, S, T>> {
        Guard(lock(&self.state))
    }

    /// As [`lock`](Self::lock); `None` while another call has the lock.
    pub fn try_lock(&self) -> Option<impl DerefMut<Target = Engine<IO, S, T>>> {
        match self.state.try_lock() {
            Ok(state) => Some(Guard(state)),
            Err(TryLockError::Poisoned(state)) => Some(Guard(state.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether both are handles of the same engine.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// A task for this engine's deadlines; spawn it.
    pub fn deadline_task(&self) -> DeadlineTask<IO, S, T> {
        DeadlineTask(Arc::clone(&self.state))
    }

    /// Returns the engine if this is its last handle, and ends its [`DeadlineTask`]s.
    ///
    /// # Errors
    ///
    /// This handle, unchanged, if another one exists. A [`DeadlineTask`] does not count as one.
    pub fn into_inner(self) -> Result<Engine<IO, S, T>, Self> {
        let mut state = lock(&self.state);
        let last = state.handles == 1;
        let engine = state.engine.take_if(|_| last);
        drop(state);
        match engine {
            Some(engine) => {
                engine.wake();
                Ok(engine)
            }
            None => Err(self),
        }
    }
}

impl<IO: Transport, S: Session, T: Timer> Shared<IO, S, T> {
    /// As [`Engine::poll_fill_buf`], but returns a copy, because a borrow cannot leave the lock.
    ///
    /// The session keeps the bytes until they are taken, so a handle that is dropped loses none.
    /// The copy is one record at most, and is freed when all of it has been taken.
    ///
    /// # Errors
    ///
    /// As [`Engine::poll_read`].
    pub fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { state, shown } = self;
        shown.poll_fill_buf(&mut Guard(lock(state)), cx)
    }

    /// As [`Engine::consume`].
    pub fn consume(&mut self, len: usize) {
        let Self { state, shown } = self;
        shown.consume(&mut Guard(lock(state)), len);
    }
}

impl<IO, S, T> Clone for Shared<IO, S, T> {
    /// Creates another handle of the same engine.
    fn clone(&self) -> Self {
        lock(&self.state).handles += 1;
        Self { state: Arc::clone(&self.state), shown: Shown::default() }
    }
}

impl<IO, S, T> Drop for Shared<IO, S, T> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.handles -= 1;
        let last = state.handles == 0;
        let engine = state.engine.take_if(|_| last);
        drop(state);
        if let Some(engine) = engine {
            // A deadline task ends at its next poll.
            engine.wake();
        }
    }
}

impl<IO: Transport, S: Session, T: Timer> Future for DeadlineTask<IO, S, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut lock(&self.0).engine {
            Some(engine) => {
                engine.attend(cx);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

/// Prints the session, or `in use` while another call has the lock, on one short line.
impl<IO, S: fmt::Debug, T> fmt::Debug for Shared<IO, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(engine) => write!(f, "Shared({:?})", engine.session()),
            None => f.write_str("Shared(in use)"),
        }
    }
}

impl<IO, S, T> fmt::Debug for DeadlineTask<IO, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineTask").finish_non_exhaustive()
    }
}

impl<IO, S, T> Deref for Guard<'_, IO, S, T> {
    type Target = Engine<IO, S, T>;

    fn deref(&self) -> &Self::Target {
        let Some(engine) = &self.0.engine else { unreachable!("the handle that locked it keeps the engine") };
        engine
    }
}

impl<IO, S, T> DerefMut for Guard<'_, IO, S, T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        let Some(engine) = &mut self.0.engine else { unreachable!("the handle that locked it keeps the engine") };
        engine
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
