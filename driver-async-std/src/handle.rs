//! Ways to an engine: a stream that has one to itself, and those that share one.

use std::marker::PhantomData;

use crate::io::{Engine, Shared};

/// What a [`Stream`](crate::Stream) is made of. Sealed.
pub trait Handle {
    /// The transport.
    type Io;

    /// Gives the engine to `f`, under its lock if it has one.
    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<Self::Io>) -> R) -> R;

    /// As [`with`](Self::with), for a look.
    fn look<R>(&self, f: impl FnOnce(&Engine<Self::Io>) -> R) -> R;
}

/// A handle for reading.
pub trait Reads: Handle {}

/// A handle for writing.
pub trait Writes: Handle {}

/// An engine that one stream has to itself.
#[derive(Debug)]
pub struct Own<IO, Side> {
    pub(crate) engine: Engine<IO>,
    side: PhantomData<Side>,
}

/// The client side.
#[derive(Clone, Copy, Debug)]
pub struct Client;

/// The server side.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// A share of an engine that several tasks reach.
#[derive(Debug)]
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
    pub(crate) fn new(engine: Engine<IO>) -> Self {
        Self { engine, side: PhantomData }
    }
}

impl<IO, Part> Share<IO, Part> {
    pub(crate) fn new(engine: Shared<IO>) -> Self {
        Self { engine, part: PhantomData }
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

impl<IO, Side> Reads for Own<IO, Side> {}
impl<IO, Side> Writes for Own<IO, Side> {}
impl<IO> Reads for Share<IO, Whole> {}
impl<IO> Writes for Share<IO, Whole> {}
impl<IO> Reads for Share<IO, Reading> {}
impl<IO> Writes for Share<IO, Writing> {}
