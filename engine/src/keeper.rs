//! `Owner` and `Keeper`: an engine that its stream uses alone, or shares with a spawned task while
//! something is due.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
// loom has no `Weak`.
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};
use crate::{Engine, Session, Timer, Transport, wakers};

/// What an [`Owner`] needs of a transport: a task for its deadlines.
pub trait Attend<S, T>: Sized {
    /// A spawned task.
    type Task: Spawned;

    /// Whether another task can use the transport. If not, deadlines fire when the stream is polled.
    ///
    /// # Errors
    ///
    /// If no timer fires here.
    fn can_spawn(&self) -> io::Result<bool>;

    /// Spawns a [`KeeperTask`] of `keeper`, where [`can_spawn`](Self::can_spawn) is true.
    ///
    /// # Errors
    ///
    /// If no task can be spawned here.
    fn spawn(&self, keeper: &Arc<Keeper<Self, S, T>>) -> io::Result<Self::Task>;

    /// [`Engine::release`], if another task can use the transport.
    fn release(engine: &mut Engine<Self, S, T>, cx: &mut Context<'_>);
}

/// A handle of a spawned task.
pub trait Spawned {
    /// Whether the task has ended, for example with its runtime.
    fn is_finished(&self) -> bool;

    /// Ends the task.
    fn abort(&self);
}

/// The engine of one stream. While something is due, the engine is with a [`Keeper`], where the
/// deadline task reaches it.
pub struct Owner<IO: Attend<S, T>, S, T> {
    /// Empty while the keeper has the engine.
    home: OnceLock<Box<Engine<IO, S, T>>>,
    keeper: Option<Arc<Keeper<IO, S, T>>>,
}

/// The place in which a stream leaves its engine behind for the deadline task (R15).
///
/// A stream whose bytes have all left has its engine to itself, without a lock. A stream that holds
/// bytes or waits for the transport moves its engine here when a call ends. Later calls use the
/// engine in place, under the lock. The engine of split halves is always here.
pub struct Keeper<IO: Attend<S, T>, S, T>(Mutex<Kept<IO, S, T>>);

struct Kept<IO: Attend<S, T>, S, T> {
    /// `None` while the stream has the engine.
    engine: Option<Box<Engine<IO, S, T>>>,
    /// The deadline task; `None` before the first call that may hold.
    task: Option<IO::Task>,
    /// The last waker of the task.
    waker: Option<Waker>,
    /// The task was polled while the engine was away. It is woken when the engine returns.
    missed: bool,
}

impl<IO: Attend<S, T>, S: Session, T> Owner<IO, S, T> {
    /// The owner of an engine that no task uses.
    pub fn new(engine: impl Into<Box<Engine<IO, S, T>>>) -> Self {
        Self { home: OnceLock::from(engine.into()), keeper: None }
    }

    /// The owner of the engine that `keeper` has.
    pub fn of(keeper: Arc<Keeper<IO, S, T>>) -> Self {
        Self { home: OnceLock::new(), keeper: Some(keeper) }
    }

    /// Leaves the engine with a keeper for good.
    pub fn into_keeper(self) -> Arc<Keeper<IO, S, T>> {
        match (self.home.into_inner(), self.keeper) {
            (engine, None) => Keeper::new(engine),
            (Some(engine), Some(keeper)) => {
                keeper.keep(engine);
                keeper
            }
            (None, Some(keeper)) => keeper,
        }
    }

    /// Returns the engine as it is.
    pub fn into_engine(self) -> Engine<IO, S, T> {
        let engine = self.home.into_inner().map(|engine| *engine);
        let engine = engine.or_else(|| self.keeper.and_then(|keeper| keeper.take()));
        engine.unwrap_or_else(|| unreachable!("the engine is here or there"))
    }

    /// Whether no task has ever used the engine.
    pub fn is_alone(&self) -> bool {
        self.keeper.is_none()
    }

    /// Takes the engine back from the keeper, which releases held bytes first, and returns it.
    pub fn get(&self) -> &Engine<IO, S, T> {
        self.home.get_or_init(|| {
            let engine = self.keeper.as_ref().and_then(|keeper| keeper.recall());
            engine.unwrap_or_else(|| unreachable!("the engine is here or there"))
        })
    }

    /// As [`get`](Self::get).
    pub fn get_mut(&mut self) -> &mut Engine<IO, S, T> {
        self.get();
        self.home.get_mut().unwrap_or_else(|| unreachable!("just taken"))
    }

    /// Calls `f` with the engine, for a call that holds nothing.
    #[inline]
    pub fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO, S, T>) -> R) -> R {
        if let Some(keeper) = self.away() {
            return keeper.with(f);
        }
        let done = f(self.here());
        self.leave();
        done
    }

    /// As [`with`](Self::with), for a call that holds if `more` is true or the stream is corked.
    /// Such a call spawns the deadline task if none runs (R15).
    ///
    /// # Errors
    ///
    /// Those of `f`, and of [`Attend::spawn`] before `f` was called.
    #[inline]
    pub fn hold<R>(
        &mut self,
        more: bool,
        f: impl FnOnce(&mut Engine<IO, S, T>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if let Some(keeper) = self.away() {
            return keeper.hold(more, f);
        }
        if more || self.here().session().is_corked() {
            self.attend()?;
        }
        let done = f(self.here());
        // A short count counts as written with `MORE`.
        if self.keeper.is_none() && is_holding(self.here()) {
            // An error means that no task can run. The caller has begun without one and sends the
            // rest without one.
            let _ = self.attend();
        }
        self.leave();
        done
    }

    /// Fast path of [`hold`](Self::hold): calls `f` if the keeper has the engine and a task runs.
    /// Returns false if not, or if `f` does; `f` must have done nothing then.
    #[inline]
    pub fn join(&mut self, f: impl FnOnce(&mut Engine<IO, S, T>) -> bool) -> bool {
        self.away().is_some_and(|keeper| keeper.join(f))
    }

    /// As [`with`](Self::with), with a shared reference.
    pub fn look<R>(&self, f: impl FnOnce(&Engine<IO, S, T>) -> R) -> R {
        if let Some(keeper) = self.away()
            && let Some(engine) = keeper.lock().engine.as_deref()
        {
            return f(engine);
        }
        // A `get` in another thread may be moving the engine here: wait for it.
        f(self.home.wait())
    }

    /// The keeper, if it has the engine.
    fn away(&self) -> Option<&Arc<Keeper<IO, S, T>>> {
        self.keeper.as_ref().filter(|_| self.home.get().is_none())
    }

    fn here(&mut self) -> &mut Engine<IO, S, T> {
        self.home.get_mut().unwrap_or_else(|| unreachable!("the keeper does not have it"))
    }

    /// Moves the engine to the keeper, if there is one and something is due.
    fn leave(&mut self) {
        if let Some(keeper) = &self.keeper
            && self.home.get().is_some_and(|engine| is_due(engine))
            && let Some(engine) = self.home.take()
        {
            keeper.keep(engine);
        }
    }

    /// Spawns the deadline task, if none runs and the transport allows one.
    fn attend(&mut self) -> io::Result<()> {
        let Self { home, keeper } = self;
        let Some(engine) = home.get() else { return Ok(()) };
        if keeper.as_ref().is_some_and(|keeper| keeper.lock().is_attended()) || !engine.io().can_spawn()? {
            return Ok(());
        }
        let keeper = keeper.get_or_insert_with(|| Keeper::new(None));
        let task = engine.io().spawn(keeper)?;
        keeper.lock().task = Some(task);
        Ok(())
    }
}

impl<IO: Attend<S, T>, S: Session, T> Keeper<IO, S, T> {
    fn new(engine: Option<Box<Engine<IO, S, T>>>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Kept { engine, task: None, waker: None, missed: false })))
    }

    /// Takes the engine over from the stream, and wakes the task if it was polled in between.
    fn keep(&self, engine: Box<Engine<IO, S, T>>) {
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
    pub fn with<R>(&self, f: impl FnOnce(&mut Engine<IO, S, T>) -> R) -> R {
        f(self.lock().engine())
    }

    /// As [`Owner::hold`].
    ///
    /// # Errors
    ///
    /// As [`Owner::hold`].
    pub fn hold<R>(
        self: &Arc<Self>,
        more: bool,
        f: impl FnOnce(&mut Engine<IO, S, T>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let mut kept = self.lock();
        if more || kept.engine().session().is_corked() {
            kept.attend(self)?;
        }
        let done = f(kept.engine());
        // A short count counts as written with `MORE`.
        if kept.task.is_none() && is_holding(kept.engine()) {
            // As in `Owner::hold`.
            let _ = kept.attend(self);
        }
        done
    }

    /// As [`Owner::join`].
    #[inline]
    pub fn join(&self, f: impl FnOnce(&mut Engine<IO, S, T>) -> bool) -> bool {
        let mut kept = self.lock();
        kept.is_attended() && f(kept.engine())
    }

    /// Takes the engine, and releases held bytes first if a task was to send them.
    fn recall(&self) -> Option<Box<Engine<IO, S, T>>> {
        let mut kept = self.lock();
        let mut engine = kept.engine.take()?;
        // Without a task, no held bytes depend on it: they leave when the stream is polled.
        if kept.task.is_some() && is_due(&engine) {
            IO::release(&mut engine, &mut Context::from_waker(kept.waker.as_ref().unwrap_or(Waker::noop())));
        }
        Some(engine)
    }

    /// Takes the engine as it is; `None` if it was taken before.
    pub fn take(&self) -> Option<Engine<IO, S, T>> {
        self.lock().engine.take().map(|engine| *engine)
    }
}

impl<IO: Attend<S, T>, S, T> Keeper<IO, S, T> {
    fn lock(&self) -> MutexGuard<'_, Kept<IO, S, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<IO: Attend<S, T>, S, T> Kept<IO, S, T> {
    fn engine(&mut self) -> &mut Engine<IO, S, T> {
        let Some(engine) = &mut self.engine else { unreachable!("a stream that has its engine does not look here") };
        engine
    }

    /// As [`Owner::attend`].
    fn attend(&mut self, keeper: &Arc<Keeper<IO, S, T>>) -> io::Result<()> {
        if !self.is_attended() && self.engine().io().can_spawn()? {
            self.task = Some(self.engine().io().spawn(keeper)?);
        }
        Ok(())
    }

    fn is_attended(&self) -> bool {
        self.task.as_ref().is_some_and(|task| !task.is_finished())
    }
}

impl<IO: Attend<S, T>, S, T> Drop for Keeper<IO, S, T> {
    fn drop(&mut self) {
        if let Some(task) = &self.0.get_mut().unwrap_or_else(PoisonError::into_inner).task {
            task.abort();
        }
    }
}

/// Fires the deadlines of a [`Keeper`]'s engine, and transmits bytes that the transport did not take
/// at once. Ends with the keeper.
#[must_use = "futures do nothing unless spawned or polled"]
pub struct KeeperTask<IO: Attend<S, T>, S, T>(Weak<Keeper<IO, S, T>>);

impl<IO: Attend<S, T>, S, T> KeeperTask<IO, S, T> {
    /// A task for `keeper`; spawn it.
    pub fn new(keeper: &Arc<Keeper<IO, S, T>>) -> Self {
        Self(Arc::downgrade(keeper))
    }
}

impl<IO: Attend<S, T> + Transport, S: Session, T: Timer> Future for KeeperTask<IO, S, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(keeper) = self.0.upgrade() else { return Poll::Ready(()) };
        let mut kept = keeper.lock();
        wakers::keep(&mut kept.waker, cx.waker());
        match &mut kept.engine {
            Some(engine) => engine.attend(cx),
            None => kept.missed = true,
        }
        Poll::Pending
    }
}

/// Whether bytes must leave, now or at a deadline, without a further call of the program.
fn is_due<IO, S: Session, T>(engine: &Engine<IO, S, T>) -> bool {
    engine.session().wants_transmit() || engine.session().poll_timeout().is_some()
}

/// Whether bytes are held.
fn is_holding<IO, S: Session, T>(engine: &Engine<IO, S, T>) -> bool {
    engine.session().waiting() > 0 && engine.session().poll_timeout().is_some()
}

/// Prints the session, or `in use` while another call has the lock, on one short line.
impl<IO: Attend<S, T>, S: fmt::Debug, T> fmt::Debug for Owner<IO, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.home.get(), &self.keeper) {
            (Some(engine), _) => engine.session().fmt(f),
            (None, Some(keeper)) => fmt::Debug::fmt(keeper, f),
            (None, None) => f.write_str("in use"),
        }
    }
}

/// Prints the session, or `in use` while another call has the lock, on one short line.
impl<IO: Attend<S, T>, S: fmt::Debug, T> fmt::Debug for Keeper<IO, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.0.try_lock().ok();
        match kept.as_ref().and_then(|kept| kept.engine.as_deref()) {
            Some(engine) => engine.session().fmt(f),
            None => f.write_str("in use"),
        }
    }
}

impl<IO: Attend<S, T>, S, T> fmt::Debug for KeeperTask<IO, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperTask").finish_non_exhaustive()
    }
}
