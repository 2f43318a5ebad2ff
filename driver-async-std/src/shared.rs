//! Streams that more than one task reaches.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use tls_cork::{Connection, SendFlags, Stats};

use crate::io::{Alarm, Engine, Io, Shared};
use crate::methods::{ending, next_turn, reading, writing};

/// A TLS stream whose deadlines a [`DeadlineTask`] keeps, and which can be split for two tasks.
#[derive(Debug)]
pub struct SharedStream<IO>(Shared<IO>);

/// The reading half of a stream, for a task of its own.
#[derive(Debug)]
pub struct ReadHalf<IO>(Shared<IO>);

/// The writing half of a stream, for a task of its own.
///
/// Dropping it does not close the stream; [`poll_close`](AsyncWrite::poll_close) does.
#[derive(Debug)]
pub struct WriteHalf<IO>(Shared<IO>);

/// Makes the deadlines of a stream fire while nothing of it is polled: spawn it on any executor.
///
/// Held bytes leave within [`max_hold`](tls_cork::CorkConfig::max_hold) plus scheduling, and so does what the transport did not take at once. It ends when
/// the stream is dropped. It sleeps unless something is due; a stream that holds and releases all the time wakes it about once in each `max_hold`.
/// An error of the transport is told by the stream's next call.
#[derive(Debug)]
#[must_use = "futures do nothing unless spawned or polled"]
pub struct DeadlineTask<IO>(tls_cork_engine::DeadlineTask<Io<IO>, Connection, Alarm>);

impl<IO: AsyncRead + AsyncWrite + Unpin> SharedStream<IO> {
    pub(crate) fn new(engine: Engine<IO>) -> Self {
        Self(Shared::new(engine))
    }

    /// Halves for two tasks; a deadline task stays on.
    ///
    /// What the writing half holds is not released by a reading half that waits in another task.
    pub fn into_split(self) -> (ReadHalf<IO>, WriteHalf<IO>) {
        (ReadHalf(self.0.clone()), WriteHalf(self.0))
    }

    pub(crate) fn deadline_task(&self) -> DeadlineTask<IO> {
        DeadlineTask(self.0.deadline_task())
    }
}

/// Access to what the handles share.
macro_rules! handle {
    ($stream:ident) => {
        impl<IO> $stream<IO> {
            /// Looks at the transport and at the session: what was agreed on, and what waits. `f` must not use the stream itself.
            pub fn with_ref<R>(&self, f: impl FnOnce(&IO, &Connection) -> R) -> R {
                let engine = self.0.lock();
                f(&engine.io().0, engine.session())
            }

            fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
                f(&mut self.0.lock())
            }
        }
    };
}

handle!(SharedStream);
handle!(ReadHalf);
handle!(WriteHalf);
reading!(SharedStream);
reading!(ReadHalf);
writing!(SharedStream);
ending!(SharedStream);
writing!(WriteHalf);

impl<IO> SharedStream<IO> {
    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        f(&self.0.lock())
    }
}

impl<IO> WriteHalf<IO> {
    /// Halves into a stream again; both back if they are not of the same one.
    ///
    /// # Errors
    ///
    /// The halves, unchanged.
    pub fn reunite(self, reader: ReadHalf<IO>) -> Result<SharedStream<IO>, (Self, ReadHalf<IO>)> {
        if self.0.is_same(&reader.0) { Ok(SharedStream(self.0)) } else { Err((self, reader)) }
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        f(&self.0.lock())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for DeadlineTask<IO> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}
