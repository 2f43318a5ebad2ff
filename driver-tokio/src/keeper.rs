//! The task that fires deadlines, on tokio.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tls_cork::Connection;
use tls_cork_engine::{Attend, KeeperTask, Spawned};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::io::{Alarm, Io};
use crate::socket::send_more;

pub(crate) type Attended<IO> = Io<IO, Attendance<IO>>;
pub(crate) type Engine<IO> = tls_cork_engine::Engine<Attended<IO>, Connection, Alarm>;
pub(crate) type Owner<IO> = tls_cork_engine::Owner<Attended<IO>, Connection, Alarm>;
pub(crate) type Keeper<IO> = tls_cork_engine::Keeper<Attended<IO>, Connection, Alarm>;
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
            spawn: |runtime, keeper| runtime.spawn(KeeperTask::new(keeper)).abort_handle(),
            release: Engine::release,
        }
    }
}

/// A spawned [`KeeperTask`].
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Spawned for Task {
    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    fn abort(&self) {
        self.0.abort();
    }
}

impl<IO> Attend<Connection, Alarm> for Attended<IO> {
    type Task = Task;

    fn can_spawn(&self) -> io::Result<bool> {
        runtime().map(|_| self.attendance.is_some())
    }

    fn spawn(&self, keeper: &Arc<Keeper<IO>>) -> io::Result<Task> {
        let runtime = runtime()?;
        let by = self.attendance.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // On a runtime without timers this panics here, in the call that holds, rather than in the
        // task.
        drop(tokio::time::sleep(Duration::ZERO));
        Ok(Task((by.spawn)(&runtime, keeper)))
    }

    fn release(engine: &mut Engine<IO>, cx: &mut Context<'_>) {
        if let Some(Attendance { release, .. }) = engine.io().attendance {
            release(engine, cx);
        }
    }
}

/// The current runtime.
///
/// # Errors
///
/// Outside of a runtime, where no task can be spawned and no timer fires.
fn runtime() -> io::Result<Handle> {
    let outside = "held bytes need a tokio runtime, whose timers release them: call this inside a runtime";
    Handle::try_current().map_err(|_| io::Error::other(outside))
}
