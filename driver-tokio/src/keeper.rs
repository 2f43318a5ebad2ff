//! `Keeper`: holds an engine in reach of the deadline task while something is due.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tls_cork::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::io::{Alarm, Io};
use crate::socket::send_more;

pub(crate) type Attended<IO> = Io<IO, Attendance<IO>>;
pub(crate) type Engine<IO> = tls_cork_engine::Engine<Attended<IO>, Connection, Alarm>;
pub(crate) type Handshake<IO> = tls_cork_engine::Handshake<Attended<IO>, Alarm>;

impl<IO> Attended<IO> {
    /// The transport of a stream whose deadlines fire only when it is polled.
    pub(crate) fn local(inner: IO) -> Self {
        Self { inner, send_more: None, attendance: None }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Attended<IO> {
    /// The transport of a stream whose deadlines fire while nothing polls it (R15).
    pub(crate) fn attended(inner: IO) -> Self {
        Self { inner, send_more: send_more(), attendance: Some(Attendance::new()) }
    }
}

/// Functions for a transport that another task may use.
///
/// They are function pointers in place of bounds, so that one stream type serves transports with
/// and without `Send + 'static`.
pub struct Attendance<IO> {
    /// Spawns the task that fires the deadlines of the keeper's engine.
    spawn: fn(&Handle, &Arc<Keeper<IO>>) -> AbortHandle,
    /// [`Engine::release`].
    release: fn(&mut Engine<IO>, &mut Context<'_>),
}

impl<IO> fmt::Debug for Attendance<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendance").finish_non_exhaustive()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Attendance<IO> {
    pub(crate) fn new() -> Self {
        Self {
            spawn: |runtime, keeper| runtime.spawn(DeadlineTask(Arc::downgrade(keeper))).abort_handle(),
            release: Engine::release,
        }
    }
}

/// The place in which a stream leaves its engine behind for the deadline task (R15).
///
/// A stream whose bytes have all left has its engine to itself, without a lock. A stream that holds
/// bytes or waits for the transport moves its engine here when a call ends. Later calls use the
/// engine in place, under the lock. The engine of split halves is always here.
pub(crate) struct Keeper<IO>(Mutex<Kept<IO>>);

pub(crate) struct Kept<IO> {
    /// `None` while the stream has the engine.
    engine: Option<Box<Engine<IO>>>,
    /// The deadline task; `None` before the first call that may hold.
    task: Option<AbortHandle>,
    /// The last waker of the task.
    waker: Option<Waker>,
    /// The task was polled while the engine was away. It is woken when the engine returns.
    missed: bool,
}

/// The current runtime.
///
/// # Errors
///
/// Outside of a runtime, where no task can be spawned and no timer fires.
pub(crate) fn runtime() -> io::Result<Handle> {
    let outside = "held bytes need a tokio runtime, whose timers release them: call this inside a runtime";
    Handle::try_current().map_err(|_| io::Error::other(outside))
}

/// Whether bytes must leave, now or at a deadline, without a further call of the program.
pub(crate) fn is_due<IO>(engine: &Engine<IO>) -> bool {
    let session = engine.session();
    session.wants_transmit() || session.poll_timeout().is_some()
}

/// Whether bytes are held.
pub(crate) fn is_holding<IO>(engine: &Engine<IO>) -> bool {
    let session = engine.session();
    session.waiting() > 0 && session.poll_timeout().is_some()
}

impl<IO> Keeper<IO> {
    pub(crate) fn new(engine: Option<Box<Engine<IO>>>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Kept { engine, task: None, waker: None, missed: false })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Kept<IO>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spawns the task, if none runs.
    ///
    /// # Errors
    ///
    /// Outside of a runtime.
    ///
    /// # Panics
    ///
    /// On a runtime without timers, as tokio's timers do.
    pub(crate) fn attend(self: &Arc<Self>, by: &Attendance<IO>) -> io::Result<()> {
        self.lock().attend(self, by.spawn)
    }

    /// Takes the engine over from the stream, and wakes the task if it was polled in between.
    pub(crate) fn keep(&self, engine: Box<Engine<IO>>) {
        let mut kept = self.lock();
        kept.engine = Some(engine);
        let waker = if kept.missed { kept.waker.clone() } else { None };
        kept.missed = false;
        drop(kept);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Calls `f` with the engine, under the lock.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        f(self.lock().engine())
    }

    /// As [`with`](Self::with), for a call that holds if `more` is true or the stream is corked.
    pub(crate) fn hold<T>(
        self: &Arc<Self>,
        more: bool,
        f: impl FnOnce(&mut Engine<IO>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut kept = self.lock();
        let engine = kept.engine();
        let spawn = engine.io().attendance.as_ref().map(|by| by.spawn);
        if more || engine.session().is_corked() {
            match spawn {
                Some(spawn) => kept.attend(self, spawn)?,
                None => drop(runtime()?),
            }
        }
        let done = f(kept.engine());
        // A short count counts as written with `MORE`.
        if let Some(spawn) = spawn
            && kept.task.is_none()
            && is_holding(kept.engine())
        {
            // An error means that no runtime runs. The caller has begun without one and sends the
            // rest without one.
            let _ = kept.attend(self, spawn);
        }
        done
    }

    /// Takes the engine, and releases held bytes first if a task was to send them.
    pub(crate) fn recall(&self) -> Option<Box<Engine<IO>>> {
        let mut kept = self.lock();
        let mut engine = kept.engine.take()?;
        // Without a task, no held bytes depend on it: they leave when the stream is polled.
        if kept.task.is_some()
            && is_due(&engine)
            && let Some(Attendance { release, .. }) = engine.io().attendance
        {
            release(&mut engine, &mut Context::from_waker(kept.waker.as_ref().unwrap_or(Waker::noop())));
        }
        Some(engine)
    }

    /// Prints the connection on one short line, without waiting for the lock.
    pub(crate) fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.0.try_lock().ok();
        match kept.as_ref().and_then(|kept| kept.get()) {
            Some(engine) => write!(f, "{name}({:?})", engine.session()),
            None => write!(f, "{name}(in use)"),
        }
    }

    /// Takes the engine as it is.
    pub(crate) fn take(&self) -> Option<Box<Engine<IO>>> {
        self.lock().engine.take()
    }
}

impl<IO> Kept<IO> {
    pub(crate) fn get(&self) -> Option<&Engine<IO>> {
        self.engine.as_deref()
    }

    fn engine(&mut self) -> &mut Engine<IO> {
        let Some(engine) = &mut self.engine else { unreachable!("a stream that has its engine does not look here") };
        engine
    }

    fn attend(
        &mut self,
        keeper: &Arc<Keeper<IO>>,
        spawn: fn(&Handle, &Arc<Keeper<IO>>) -> AbortHandle,
    ) -> io::Result<()> {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let runtime = runtime()?;
        // On a runtime without timers this panics here, in the call that holds, rather than in the
        // task.
        drop(tokio::time::sleep(Duration::ZERO));
        self.task = Some(spawn(&runtime, keeper));
        Ok(())
    }
}

impl<IO> Drop for Keeper<IO> {
    fn drop(&mut self) {
        let kept = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &kept.task {
            task.abort();
        }
    }
}

/// Fires deadlines, and transmits bytes that the transport did not take at once. Ends with the
/// stream.
struct DeadlineTask<IO>(Weak<Keeper<IO>>);

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for DeadlineTask<IO> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(keeper) = self.0.upgrade() else { return Poll::Ready(()) };
        let mut kept = keeper.lock();
        match &mut kept.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        match &mut kept.engine {
            Some(engine) => engine.attend(cx),
            None => kept.missed = true,
        }
        Poll::Pending
    }
}
