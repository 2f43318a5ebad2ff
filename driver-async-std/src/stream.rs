//! Streams whose handshake is done.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use tls_cork::{Connection, SendFlags, Stats};

use crate::io::{Engine, Io};
use crate::methods::{ending, next_turn, reading, writing};
use crate::{DeadlineTask, ReadHalf, SharedStream, WriteHalf};

/// One side's stream over one engine.
macro_rules! side {
    ($side:literal) => {
        use super::*;

        #[doc = concat!("The ", $side, " side of a TLS stream over `IO`, with flags on its writes.")]
        #[derive(Debug)]
        pub struct TlsStream<IO> {
            engine: Engine<IO>,
        }

        impl<IO> TlsStream<IO> {
            pub(crate) fn new(engine: Engine<IO>) -> Self {
                Self { engine }
            }

            /// The transport, and the session: what was agreed on, and what waits.
            pub fn get_ref(&self) -> (&IO, &Connection) {
                (&self.engine.io().0, self.engine.session())
            }

            /// The transport, for instance to set its options, and the session. Reading from the transport or writing to it breaks the stream.
            pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
                let (io, session) = self.engine.parts_mut();
                (&mut io.0, session)
            }

            /// Takes the stream apart. What waits is in the connection still; it can be transmitted by hand.
            pub fn into_inner(self) -> (IO, Connection) {
                let (Io(io), session) = self.engine.into_parts();
                (io, session)
            }

            pub(crate) fn into_engine(self) -> Engine<IO> {
                self.engine
            }

            pub(crate) fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
                f(&self.engine)
            }

            pub(crate) fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
                f(&mut self.engine)
            }
        }

        reading!(TlsStream);
        writing!(TlsStream);
        ending!(TlsStream);
        sharing!(TlsStream);
        raw!(TlsStream);
    };
}

/// What turns a stream into one that several tasks reach.
macro_rules! sharing {
    ($stream:ident) => {
        impl<IO: AsyncRead + AsyncWrite + Unpin> $stream<IO> {
            /// Halves for two tasks, of which the writing one has `send` and its like.
            ///
            /// What the writing half holds is not released by a reading half that waits in another task.
            pub fn into_split(self) -> (ReadHalf<IO>, WriteHalf<IO>) {
                SharedStream::new(self.into_engine()).into_split()
            }

            /// The same stream, and a future that makes its deadlines fire while nothing of it is polled.
            ///
            /// ```no_run
            /// # async fn example(stream: tls_cork_async_std::TlsStream<async_std::net::TcpStream>) {
            /// let (stream, deadlines) = stream.with_deadline_task();
            /// async_std::task::spawn(deadlines); // or smol::spawn(deadlines).detach(), or tokio::spawn(deadlines)
            /// # }
            /// ```
            pub fn with_deadline_task(self) -> (SharedStream<IO>, DeadlineTask<IO>)
            where
                IO: Send + 'static,
            {
                let stream = SharedStream::new(self.into_engine());
                let task = stream.deadline_task();
                (stream, task)
            }
        }
    };
}

macro_rules! raw {
    ($stream:ident) => {
        #[cfg(unix)]
        impl<IO: std::os::fd::AsRawFd> std::os::fd::AsRawFd for $stream<IO> {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.get_ref().0.as_raw_fd()
            }
        }

        #[cfg(windows)]
        impl<IO: std::os::windows::io::AsRawSocket> std::os::windows::io::AsRawSocket for $stream<IO> {
            fn as_raw_socket(&self) -> std::os::windows::io::RawSocket {
                self.get_ref().0.as_raw_socket()
            }
        }
    };
}

/// The client side.
pub mod client {
    side!("client");
}

/// The server side.
pub mod server {
    side!("server");
}

/// Either side of a TLS stream over `IO`, with flags on its writes.
#[derive(Debug)]
pub enum TlsStream<IO> {
    /// The client side.
    Client(client::TlsStream<IO>),
    /// The server side.
    Server(server::TlsStream<IO>),
}

impl<IO> TlsStream<IO> {
    /// The transport, and the session: what was agreed on, and what waits.
    pub fn get_ref(&self) -> (&IO, &Connection) {
        match self {
            Self::Client(stream) => stream.get_ref(),
            Self::Server(stream) => stream.get_ref(),
        }
    }

    /// The transport, for instance to set its options, and the session. Reading from the transport or writing to it breaks the stream.
    pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
        match self {
            Self::Client(stream) => stream.get_mut(),
            Self::Server(stream) => stream.get_mut(),
        }
    }

    /// Takes the stream apart. What waits is in the connection still; it can be transmitted by hand.
    pub fn into_inner(self) -> (IO, Connection) {
        let (Io(io), session) = self.into_engine().into_parts();
        (io, session)
    }

    fn into_engine(self) -> Engine<IO> {
        match self {
            Self::Client(stream) => stream.into_engine(),
            Self::Server(stream) => stream.into_engine(),
        }
    }

    fn look<R>(&self, f: impl FnOnce(&Engine<IO>) -> R) -> R {
        match self {
            Self::Client(stream) => stream.look(f),
            Self::Server(stream) => stream.look(f),
        }
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut Engine<IO>) -> R) -> R {
        match self {
            Self::Client(stream) => stream.with(f),
            Self::Server(stream) => stream.with(f),
        }
    }
}

reading!(TlsStream);
writing!(TlsStream);
ending!(TlsStream);
sharing!(TlsStream);
raw!(TlsStream);

impl<IO> From<client::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: client::TlsStream<IO>) -> Self {
        Self::Client(stream)
    }
}

impl<IO> From<server::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: server::TlsStream<IO>) -> Self {
        Self::Server(stream)
    }
}
