//! What the futures of connector and acceptor have in common.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::server::AcceptedAlert;
use tls_cork::{Connection, ConnectionError};

use crate::adapt::Writer;
use crate::driver::Driver;

#[derive(Debug)]
pub(crate) enum Handshake<IO> {
    Going(Box<Driver<IO>>),
    /// Refused; the peer is told first.
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

impl<IO> Handshake<IO> {
    pub(crate) fn new(io: IO, connection: Result<Connection, ConnectionError>) -> Self {
        match connection {
            Ok(connection) => Self::Going(Box::new(Driver::new(io, connection))),
            Err(error) => Self::Refused { io, error: error.into() },
        }
    }

    pub(crate) fn refused(io: IO, error: rustls::Error) -> Self {
        Self::Refused { io, error: io::Error::other(error) }
    }

    pub(crate) fn alert(io: IO, alert: AcceptedAlert, error: rustls::Error) -> Self {
        Self::Alert { io, alert: Box::new(alert), error: io::Error::other(error) }
    }

    pub(crate) fn io(&self) -> Option<&IO> {
        match self {
            Self::Going(driver) => Some(driver.io()),
            Self::Alert { io, .. } | Self::Refused { io, .. } => Some(io),
            Self::Done => None,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Handshake<IO> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Driver<IO>, (io::Error, IO)>> {
        let pending = match self {
            Self::Going(driver) => match driver.poll_handshake(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => {
                    let Self::Going(driver) = mem::replace(self, Self::Done) else { unreachable!("matched above") };
                    return Poll::Ready(Err((error, driver.into_parts().0)));
                }
            },
            Self::Alert { io, alert, .. } => poll_alert(io, alert, cx).is_pending(),
            Self::Refused { .. } | Self::Done => false,
        };
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(match mem::replace(self, Self::Done) {
            Self::Going(driver) => Ok(*driver),
            Self::Alert { io, error, .. } | Self::Refused { io, error } => Err((error, io)),
            Self::Done => panic!("a handshake was polled after it had ended"),
        })
    }
}

/// Sends `alert` as far as the transport takes it; its errors do not count beside the one that is told.
pub(crate) fn poll_alert<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    alert: &mut AcceptedAlert,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        match alert.write(&mut Writer { io, cx }) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(_) => return Poll::Ready(()),
        }
    }
    Pin::new(io).poll_flush(cx).map(drop)
}
