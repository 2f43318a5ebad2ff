//! The errors of a TLS session; those of a policy are in `error.rs`.

use std::error::Error as StdError;
use std::{fmt, io};

use thiserror::Error;

use crate::error::Lost;
use crate::{ConfigError, TransmitError};

const NOT_TLS: &str =
    "; the peer does not seem to speak TLS: check its address and port, and whether TLS begins later (STARTTLS)";

/// Received bytes could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The reader returned an error, which may be `WouldBlock` or `Interrupted`. It ends nothing by
    /// itself.
    #[error("the transport failed to receive: receive again, or drop the connection")]
    Io(#[source] io::Error),
    /// The peer broke the protocol, or the handshake failed. The session has ended. If there is an
    /// alert for the peer, it waits to be transmitted.
    #[error("TLS failed: {error}{}{}", if *not_tls { NOT_TLS } else { "" }, Lost(*discarded))]
    Tls {
        /// The error of rustls. Its text is part of this error's text.
        error: ::rustls::Error,
        /// Whether the first bytes from the peer were no TLS record: it speaks another protocol, or
        /// begins TLS only after a command such as STARTTLS.
        not_tls: bool,
        /// Accepted plaintext bytes that will never reach the peer. Zero when a further call
        /// returns the error again.
        discarded: usize,
    },
    /// The transport ended before the handshake did.
    #[error("the peer closed the connection during the TLS handshake: look for the reason in its log{}", Lost(*discarded))]
    HandshakeEof {
        /// Accepted plaintext bytes that will never reach the peer. Zero when a further call
        /// returns the error again.
        discarded: usize,
    },
}

/// [`ReceiveError::Io`] becomes the transport's own error, unchanged. Every other error is inside
/// the new one ([`io::Error::get_ref`]).
impl From<ReceiveError> for io::Error {
    fn from(error: ReceiveError) -> Self {
        let kind = match error {
            ReceiveError::Io(source) => return source,
            ReceiveError::Tls { .. } => io::ErrorKind::InvalidData,
            ReceiveError::HandshakeEof { .. } => io::ErrorKind::UnexpectedEof,
        };
        Self::new(kind, error)
    }
}

/// The error that ended a connection for good. Its text and its source are those of the error
/// inside.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// A receive failed for good.
    Receive(&'a ReceiveError),
    /// A transmit failed for good.
    Transmit(&'a TransmitError),
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive(error) => error.fmt(f),
            Self::Transmit(error) => error.fmt(f),
        }
    }
}

impl StdError for Failure<'_> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Receive(error) => error.source(),
            Self::Transmit(error) => error.source(),
        }
    }
}

/// A refusal of [`refresh_traffic_keys`](crate::Connection::refresh_traffic_keys).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The handshake has not ended, so that there are no keys to refresh.
    #[error("the TLS handshake has not ended: refresh the keys after it")]
    Handshaking,
    /// The session uses TLS 1.2, which has no KeyUpdate.
    #[error("TLS 1.2 cannot refresh its keys: use TLS 1.3, or open a new connection")]
    Unsupported,
    /// The sending side is closed; nothing may follow a `close_notify`.
    #[error("the sending side of this connection is closed: its keys need no refresh")]
    Closed,
    /// The connection has failed; [`failure`](crate::Connection::failure) returns the cause.
    #[error("this connection has failed: open a new one")]
    Failed,
}

impl From<RefreshError> for io::Error {
    fn from(error: RefreshError) -> Self {
        let kind = match error {
            RefreshError::Handshaking => io::ErrorKind::NotConnected,
            RefreshError::Unsupported => io::ErrorKind::Unsupported,
            RefreshError::Closed | RefreshError::Failed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

/// A connection could not be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The cork configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The session can send early data, or has accepted some. tls-cork does not support early data,
    /// and would lose it.
    #[error(
        "early data is not supported: turn off enable_early_data in the client's configuration, set max_early_data_size to 0 in the server's"
    )]
    EarlyData,
    /// rustls refused the session's configuration.
    #[error("cannot set up the TLS session, check its configuration: {0}")]
    Tls(::rustls::Error),
}

impl From<::rustls::Error> for ConnectionError {
    fn from(error: ::rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<ConnectionError> for io::Error {
    fn from(error: ConnectionError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
