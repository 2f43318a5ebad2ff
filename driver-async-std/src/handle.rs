//! `Handle`: how a stream reaches its engine, alone or with others.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use crate::io::{Engine, Shared};

/// The way of a [`Stream`](crate::Stream) to its engine. Sealed.
pub trait Handle {
    /// The transport.
    type Io;

    /// Calls `f` with the engine, under its lock if it has one.
    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<Self::Io>) -> R) -> R;

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

/// The use of a handle of a shared engine.
pub trait Part {
    /// The alias of such a stream.
    const NAME: &'static str;
}

/// A part that reads.
pub trait ReadingPart: Part {}

/// The engine of one stream, without a lock.
pub struct Own<IO, Side> {
    /// A stream is moved about while it is being set up.
    pub(crate) engine: Box<Engine<IO>>,
    side: PhantomData<Side>,
}

/// The client side.
#[derive(Clone, Copy, Debug)]
pub struct Client;

/// The server side.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// A handle of an engine that several tasks use.
pub struct Share<IO, Part> {
    pub(crate) engine: Shared<IO>,
    part: PhantomData<Part>,
}

/// Both halves.
#[derive(Clone, Copy, Debug)]
pub struct Whole;

/// The reading half.
#[derive(Clone, Copy, Debug)]
pub struct Reading;

/// The writing half.
#[derive(Clone, Copy, Debug)]
pub struct Writing;

impl<IO, Side> Own<IO, Side> {
    pub(crate) fn new(engine: Box<Engine<IO>>) -> Self {
        Self { engine, side: PhantomData }
    }
}

impl<IO, Part> Share<IO, Part> {
    pub(crate) fn new(engine: Shared<IO>) -> Self {
        Self { engine, part: PhantomData }
    }

    /// The engine, if this is its only handle.
    pub(crate) fn into_engine(self) -> Result<Engine<IO>, Self> {
        self.engine.into_inner().map_err(Self::new)
    }
}

impl<IO, Side> Handle for Own<IO, Side> {
    type Io = IO;

    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        f(&mut self.engine)
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        f(&self.engine)
    }
}

impl<IO, Part> Handle for Share<IO, Part> {
    type Io = IO;

    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        f(&mut self.engine.lock())
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        f(&self.engine.lock())
    }
}

impl<IO, Side> Reads for Own<IO, Side> {
    fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.engine.poll_fill_buf(cx)
    }

    fn consume(&mut self, len: usize)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.engine.consume(len);
    }
}

impl<IO, P: ReadingPart> Reads for Share<IO, P> {
    fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.engine.poll_fill_buf(cx)
    }

    fn consume(&mut self, len: usize)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.engine.consume(len);
    }
}

impl<IO, Side> Writes for Own<IO, Side> {}
impl<IO> Writes for Share<IO, Whole> {}
impl<IO> Writes for Share<IO, Writing> {}

impl Part for Whole {
    const NAME: &'static str = "SharedStream";
}

impl Part for Reading {
    const NAME: &'static str = "ReadHalf";
}

impl Part for Writing {
    const NAME: &'static str = "WriteHalf";
}

impl ReadingPart for Whole {}
impl ReadingPart for Reading {}

/// Prints the connection, on one short line.
impl<IO, Side> fmt::Debug for Own<IO, Side> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({:?})", self.engine.session())
    }
}

/// Prints the connection, or `in use` while another task has the lock, on one short line.
impl<IO, P: Part> fmt::Debug for Share<IO, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.engine.try_lock() {
            Some(engine) => write!(f, "{}({:?})", P::NAME, engine.session()),
            None => write!(f, "{}(in use)", P::NAME),
        }
    }
}
