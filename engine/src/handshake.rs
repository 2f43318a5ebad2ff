//! `Handshake`: the common part of the futures of connectors and acceptors.

use std::io;
use std::mem;
use std::task::{Context, Poll};

use rustls::server::AcceptedAlert;
use tls_cork::{Connection, ConnectionError};

use crate::adapt::Writer;
use crate::{Engine, Timer, Transport};

/// A TLS handshake over `IO`. It may have been refused before its start.
#[derive(Debug)]
pub struct Handshake<IO, T>(State<IO, T>);

/// The result of a [`Handshake`]: an engine, or an error and the transport.
pub type Outcome<IO, T> = Result<Box<Engine<IO, Connection, T>>, (io::Error, IO)>;

#[derive(Debug)]
enum State<IO, T> {
    Going(Box<Engine<IO, Connection, T>>),
    /// Refused; the alert is sent first.
    Alert {
        io: IO,
        alert: Box<AcceptedAlert>,
        error: io::Error,
    },
    Refused {
        io: IO,
        error: io::Error,
    },
    Done,
}

impl<IO, T> Handshake<IO, T> {
    /// The handshake of `connection` over `io`. If `connection` is an error, the first poll returns
    /// it.
    pub fn new(io: IO, connection: Result<Connection, ConnectionError>) -> Self {
        Self(match connection {
            Ok(connection) => State::Going(Box::new(Engine::new(io, connection))),
            Err(error) => State::Refused { io, error: error.into() },
        })
    }

    /// A handshake whose session could not be set up: the first poll returns `error`.
    pub fn refused(io: IO, error: rustls::Error) -> Self {
        Self(State::Refused { io, error: io::Error::other(error) })
    }

    /// As [`refused`](Self::refused), but `alert` is sent before `error` is returned.
    pub fn alert(io: IO, alert: AcceptedAlert, error: rustls::Error) -> Self {
        Self(State::Alert { io, alert: Box::new(alert), error: io::Error::other(error) })
    }

    /// The transport; `None` after [`poll`](Self::poll) was ready.
    pub fn io(&self) -> Option<&IO> {
        match &self.0 {
            State::Going(engine) => Some(engine.io()),
            State::Alert { io, .. } | State::Refused { io, .. } => Some(io),
            State::Done => None,
        }
    }

    /// As [`io`](Self::io). Reading from it or writing to it breaks the handshake.
    pub fn io_mut(&mut self) -> Option<&mut IO> {
        match &mut self.0 {
            State::Going(engine) => Some(engine.parts_mut().0),
            State::Alert { io, .. } | State::Refused { io, .. } => Some(io),
            State::Done => None,
        }
    }
}

impl<IO: Transport, T: Timer> Handshake<IO, T> {
    /// Ready with the engine when the handshake is complete and its messages have been transmitted.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS, together with the transport.
    ///
    /// # Panics
    ///
    /// If polled again after it was ready.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<IO, T>> {
        let state = &mut self.0;
        let pending = match state {
            State::Going(engine) => match engine.poll_handshake(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => {
                    let State::Going(engine) = mem::replace(state, State::Done) else { unreachable!("matched above") };
                    return Poll::Ready(Err((error, engine.into_parts().0)));
                }
            },
            State::Alert { io, alert, .. } => poll_alert(io, alert, cx).is_pending(),
            State::Refused { .. } | State::Done => false,
        };
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(match mem::replace(state, State::Done) {
            State::Going(engine) => Ok(engine),
            State::Alert { io, error, .. } | State::Refused { io, error } => Err((error, io)),
            State::Done => panic!("a handshake was polled after it had ended"),
        })
    }
}

/// Sends `alert`. Ready when the transport has taken and flushed it, or has failed.
///
/// An error of the transport is ignored: the caller has the error that caused the alert.
pub fn poll_alert<IO: Transport>(io: &mut IO, alert: &mut AcceptedAlert, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        match alert.write(&mut Writer { io, cx }) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(_) => return Poll::Ready(()),
        }
    }
    io.poll_flush(cx).map(drop)
}
