//! `Handle`: how a stream or a half reaches its engine.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tls_cork_engine::Shown;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::keeper::{Engine, Keeper, Owner};

/// The way of a [`Stream`](crate::Stream) to its engine. Sealed.
pub trait Handle {
    /// The transport.
    type Io;

    /// Calls `f` with the engine, for a call that holds nothing.
    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<Self::Io>) -> R) -> R;

    /// As [`with`](Self::with), for a call that holds if `more` is true or the stream is corked.
    /// Such a call spawns the deadline task if none runs (R15).
    fn hold<T>(
        &mut self,
        more: bool,
        f: impl FnOnce(&mut Engine<Self::Io>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>;

    /// Fast path of [`hold`](Self::hold): calls `f` if the deadline task runs and can reach the engine.
    /// Returns false if not, or if `f` does; `f` must have done nothing then.
    fn join(&mut self, f: impl FnOnce(&mut Engine<Self::Io>) -> bool) -> bool;

    /// As [`with`](Self::with), with a shared reference.
    fn look<R>(&self, f: impl FnOnce(&Engine<Self::Io>) -> R) -> R;
}

/// A handle for reading.
pub trait Reads: Handle {
    /// As [`Engine::poll_fill_buf`].
    fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>>
    where
        Self::Io: AsyncRead + AsyncWrite + Unpin;

    /// As [`Engine::consume`].
    fn consume(&mut self, len: usize)
    where
        Self::Io: AsyncRead + AsyncWrite + Unpin;
}

/// A handle for writing.
pub trait Writes: Handle {}

/// The engine of one stream.
pub struct Own<IO, Side> {
    owner: Owner<IO>,
    /// The copy of received plaintext, for streams with a deadline task.
    shown: Shown,
    side: PhantomData<Side>,
}

/// The client side.
#[derive(Clone, Copy, Debug)]
pub struct Client;

/// The server side.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// The handle of a half: both halves of a stream use one engine.
pub struct Share<IO, Part> {
    keeper: Arc<Keeper<IO>>,
    /// Both halves have a clone. Its count shows whether the other half still exists.
    halves: Arc<()>,
    is_client: bool,
    part: Part,
}

/// The reading half.
#[derive(Debug)]
pub struct Reading(Shown);

/// The writing half.
#[derive(Debug)]
pub struct Writing;

/// A [`Client`] or a [`Server`].
pub trait Side {
    /// True for the [`Client`].
    const IS_CLIENT: bool;
}

impl Side for Client {
    const IS_CLIENT: bool = true;
}

impl Side for Server {
    const IS_CLIENT: bool = false;
}

impl<IO, S: Side> Own<IO, S> {
    pub(crate) fn new(engine: Box<Engine<IO>>) -> Self {
        Self { owner: Owner::new(engine), shown: Shown::default(), side: PhantomData }
    }

    pub(crate) fn into_shares(self) -> (Share<IO, Reading>, Share<IO, Writing>) {
        let keeper = self.owner.into_keeper();
        let (halves, is_client) = (Arc::new(()), S::IS_CLIENT);
        let part = Reading(Shown::default());
        let reading = Share { keeper: Arc::clone(&keeper), halves: Arc::clone(&halves), is_client, part };
        (reading, Share { keeper, halves, is_client, part: Writing })
    }

    /// The engine, for a reference to its transport or its session. Held bytes are released first
    /// if a task was to release them.
    pub(crate) fn get(&self) -> &Engine<IO> {
        self.owner.get()
    }

    /// As [`get`](Self::get).
    pub(crate) fn get_mut(&mut self) -> &mut Engine<IO> {
        self.owner.get_mut()
    }

    pub(crate) fn into_engine(self) -> Engine<IO> {
        self.owner.into_engine()
    }
}

impl<IO, Part> Share<IO, Part> {
    pub(crate) fn is_same<Other>(&self, other: &Share<IO, Other>) -> bool {
        Arc::ptr_eq(&self.keeper, &other.keeper)
    }

    pub(crate) fn is_client(&self) -> bool {
        self.is_client
    }

    /// The engine, if this is its only handle.
    pub(crate) fn into_engine(self) -> Result<Engine<IO>, Self> {
        if Arc::strong_count(&self.halves) > 1 {
            return Err(self);
        }
        self.keeper.take().ok_or(self)
    }
}

impl<IO> Share<IO, Reading> {
    /// The handle of the whole stream.
    pub(crate) fn reunited<S: Side>(self) -> Own<IO, S> {
        Own { owner: Owner::of(self.keeper), shown: self.part.0, side: PhantomData }
    }
}

impl<IO, S: Side> Handle for Own<IO, S> {
    type Io = IO;

    #[inline]
    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        self.owner.with(f)
    }

    #[inline]
    fn hold<T>(&mut self, more: bool, f: impl FnOnce(&mut Engine<IO>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.owner.hold(more, f)
    }

    #[inline]
    fn join(&mut self, f: impl FnOnce(&mut Engine<IO>) -> bool) -> bool {
        self.owner.join(f)
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        self.owner.look(f)
    }
}

impl<IO, Part> Handle for Share<IO, Part> {
    type Io = IO;

    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        self.keeper.with(f)
    }

    fn hold<T>(&mut self, more: bool, f: impl FnOnce(&mut Engine<IO>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.keeper.hold(more, f)
    }

    #[inline]
    fn join(&mut self, f: impl FnOnce(&mut Engine<IO>) -> bool) -> bool {
        self.keeper.join(f)
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        self.keeper.with(|engine| f(engine))
    }
}

impl<IO, S: Side> Reads for Own<IO, S> {
    fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if self.owner.is_alone() {
            return self.owner.get_mut().poll_fill_buf(cx);
        }
        // A copy, because the task may use the engine while the caller has the slice.
        let mut shown = mem::take(&mut self.shown);
        let filled = self.with(|engine| shown.poll_fill_buf(engine, cx).map_ok(drop));
        self.shown = shown;
        ready!(filled)?;
        Poll::Ready(Ok(self.shown.get()))
    }

    fn consume(&mut self, len: usize)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut shown = mem::take(&mut self.shown);
        self.with(|engine| shown.consume(engine, len));
        self.shown = shown;
    }
}

impl<IO> Reads for Share<IO, Reading> {
    fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { keeper, part: Reading(shown), .. } = self;
        keeper.with(|engine| shown.poll_fill_buf(engine, cx))
    }

    fn consume(&mut self, len: usize)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { keeper, part: Reading(shown), .. } = self;
        keeper.with(|engine| shown.consume(engine, len));
    }
}

impl<IO, S: Side> Writes for Own<IO, S> {}
impl<IO> Writes for Share<IO, Writing> {}

/// Prints the connection, or `in use` while the deadline task has the lock, on one short line.
impl<IO, S: Side> fmt::Debug for Own<IO, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({:?})", self.owner)
    }
}

/// Prints the connection, or `in use` while another task has the lock, on one short line.
impl<IO> fmt::Debug for Share<IO, Reading> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedReadHalf({:?})", self.keeper)
    }
}

/// Prints the connection, or `in use` while another task has the lock, on one short line.
impl<IO> fmt::Debug for Share<IO, Writing> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedWriteHalf({:?})", self.keeper)
    }
}
