//! Errors of a TLS session, as those of `error.rs`.

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
    /// The reader failed; `WouldBlock` and `Interrupted` come through here too.
    #[error("the transport failed to receive")]
    Io(#[source] io::Error),
    /// The peer broke the protocol, or the handshake failed. The connection is dead; the alert for the peer, if there
    /// is one, waits to be transmitted.
    #[error("TLS failed: {error}{}{}", if *not_tls { NOT_TLS } else { "" }, Lost(*discarded))]
    Tls {
        /// What rustls found. Its text is part of this error's own.
        error: ::rustls::Error,
        /// The first bytes from the peer were no TLS record: it speaks another protocol, or speaks
        /// TLS only after a command such as STARTTLS.
        not_tls: bool,
        /// Accepted plaintext bytes that will never reach the peer.
        discarded: usize,
    },
    /// The transport ended before the handshake did.
    #[error("the peer closed the connection during the TLS handshake: look for the reason in its log{}", Lost(*discarded))]
    HandshakeEof {
        /// Accepted plaintext bytes that will never reach the peer.
        discarded: usize,
    },
}

/// [`ReceiveError::Io`] becomes the transport's own error, unchanged. The others are inside the new
/// error.
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

/// Why a connection has ended for good. Its text and its source are those of the error inside.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// Received bytes could not be used.
    Receive(&'a ReceiveError),
    /// A transmit failed, of a kind that is final.
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

/// New keys could not be asked for ([`refresh_traffic_keys`](crate::Connection::refresh_traffic_keys)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// There are no keys yet.
    #[error("the TLS handshake is not over: refresh the keys after it")]
    Handshaking,
    /// The session is one of TLS 1.2, which has no KeyUpdate.
    #[error("TLS 1.2 cannot refresh its keys: use TLS 1.3, or open a new connection")]
    Unsupported,
    /// The sending side was closed, and nothing follows a `close_notify`.
    #[error("the sending side of this connection is closed: its keys need no refreshing")]
    Closed,
    /// The connection has failed; [`failure`](crate::Connection::failure) has the cause.
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

/// A connection could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The cork configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The session can send early data or has accepted some, which is out of scope and would be lost.
    #[error(
        "early data is not supported: turn off enable_early_data in the client's configuration, set max_early_data_size to 0 in the server's"
    )]
    EarlyData,
    /// rustls refused the session's configuration.
    #[error("cannot set up the TLS session: {0}")]
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
