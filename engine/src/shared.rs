//! Engines that more than one task reaches.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{PoisonError, TryLockError};
use std::task::{Context, Poll};

use crate::sync::{Arc, Mutex, MutexGuard};
use crate::{Engine, Session, Timer, Transport};

/// A handle of an engine that several tasks reach, each under a lock: split halves, and a
/// [`DeadlineTask`].
pub struct Shared<IO, S, T> {
    state: Arc<Mutex<State<IO, S, T>>>,
    shown: Shown,
}

/// Makes the deadlines of a shared engine fire while nothing else polls it.
///
/// The future ends when the engine has no [`Shared`] any more. It sleeps unless something is due.
#[must_use = "futures do nothing unless spawned or polled"]
pub struct DeadlineTask<IO, S, T>(Arc<Mutex<State<IO, S, T>>>);

struct State<IO, S, T> {
    /// There while there is a [`Shared`].
    engine: Option<Engine<IO, S, T>>,
    /// How many of them there are.
    handles: usize,
}

/// A copy of plaintext that the session still has: a borrow of it could not leave the lock.
#[derive(Default)]
struct Shown {
    copy: Vec<u8>,
    /// Bytes of `copy` that have been taken.
    taken: usize,
    /// What reads had taken of the stream then ([`Engine::taken`]). Other reads make the copy stale.
    at: u64,
}

/// An engine under its lock.
struct Guard<'a, IO, S, T>(MutexGuard<'a, State<IO, S, T>>);

impl<IO, S, T> Shared<IO, S, T> {
    /// The first handle of `engine`.
    pub fn new(engine: Engine<IO, S, T>) -> Self {
        let state = State { engine: Some(engine), handles: 1 };
        Self { state: Arc::new(Mutex::new(state)), shown: Shown::default() }
    }

    /// The engine, for one call: no call keeps the lock longer than its share of work (R16).
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

    /// A task for this engine's deadlines, to be spawned.
    pub fn deadline_task(&self) -> DeadlineTask<IO, S, T> {
        DeadlineTask(Arc::clone(&self.state))
    }

    /// Gives the engine back if this is its last handle, and ends its [`DeadlineTask`]s.
    ///
    /// # Errors
    ///
    /// This handle, unchanged, if there is another one. A [`DeadlineTask`] is none.
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
    /// As [`Engine::poll_fill_buf`], of a copy: a borrow of the session could not leave the lock.
    ///
    /// The session keeps the bytes until they are taken, so that a handle that is dropped loses
    /// none. The copy is one record at most, and goes when it is taken.
    ///
    /// # Errors
    ///
    /// As [`Engine::poll_read`].
    pub fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { state, shown } = self;
        let mut engine = Guard(lock(state));
        let taken = engine.taken();
        let plaintext = match engine.poll_fill_buf(cx) {
            Poll::Ready(Ok(plaintext)) => plaintext,
            other => {
                *shown = Shown::default();
                return other.map_ok(|_| &[][..]);
            }
        };
        if shown.at != taken || shown.copy.is_empty() {
            shown.copy.clear();
            shown.copy.extend_from_slice(plaintext);
            (shown.taken, shown.at) = (0, taken);
        }
        Poll::Ready(Ok(&shown.copy[shown.taken..]))
    }

    /// As [`Engine::consume`].
    pub fn consume(&mut self, len: usize) {
        let Self { state, shown } = self;
        let mut engine = Guard(lock(state));
        let before = engine.taken();
        engine.consume(len);
        let taken = shown.taken + (engine.taken() - before) as usize;
        if shown.at == before && taken < shown.copy.len() {
            (shown.taken, shown.at) = (taken, engine.taken());
        } else {
            *shown = Shown::default();
        }
    }
}

impl<IO, S, T> Clone for Shared<IO, S, T> {
    /// Another handle of the same engine.
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
            // Lets a deadline task see that there is nothing left to do.
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

/// One short line: the session, or that another call has the lock.
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
