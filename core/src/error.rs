//! One narrow error type for each verb.
//!
//! A text either includes that of its cause, or leaves the cause to
//! [`source`](std::error::Error::source), so that a chain of errors never repeats one. Causes of
//! TLS are included: they are in the variant's field. Those of a transport are sources.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use thiserror::Error;

/// A field of [`CorkConfig`](crate::CorkConfig) is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid cork configuration: {field} is {value}, must be {range}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// The value it had.
    pub value: String,
    /// The values it may have.
    pub range: String,
}

/// A write was refused; none of its bytes were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// `send_buffer_limit` bytes of plaintext are waiting: transmit, then write again.
    #[error("the send buffer is full: transmit, then write the same bytes again")]
    Blocked,
    /// The connection was closed by [`close`](crate::CorkPolicy::close) or
    /// [`abort`](crate::CorkPolicy::abort).
    #[error("write after close: open a new connection to send more")]
    Closed,
    /// The connection failed. The call that found the error returned it; if that was a write, the
    /// next transmit does. `failure` of the connection or the policy has it, too.
    #[error("this connection has failed, and what had not left is lost: open a new one")]
    Failed,
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        let kind = match error {
            WriteError::Blocked => io::ErrorKind::WouldBlock,
            WriteError::Closed | WriteError::Failed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

/// The TLS session could not turn plaintext into records.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The keys may not encrypt another record: TLS 1.2 has no key update, and AES-GCM is good for
    /// 2^24 records (RFC 8446, section 5.5). Open a new connection, or use TLS 1.3.
    #[error("the session's keys are used up: open a new connection, or use TLS 1.3, which renews them")]
    KeysExhausted,
    /// The session had failed before. Its own error is inside; its text is part of this one's.
    ///
    /// Over rustls it is a `rustls::Error`, sometimes in an [`io::Error`].
    #[error("the TLS session has failed: {0}")]
    Session(Arc<dyn StdError + Send + Sync>),
    /// An implementation of [`Seal`](crate::Seal) broke its contract, which is a bug in that
    /// implementation. What the peer got is unknown then: nothing more is transmitted, and further
    /// transmits return the error again.
    #[error("this implementation of Seal has a bug, and broke its contract: {0}; open a new connection")]
    Contract(&'static str),
}

/// A transmit did not go through.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransmitError {
    /// The transport failed. What was waiting still waits.
    #[error("the transport failed to send; what was waiting still waits: transmit again, or drop the connection")]
    Io(#[source] io::Error),
    /// The transport took zero bytes of a non-empty buffer, which means that it will take no more.
    #[error("the transport took zero bytes: it can send no more, open a new connection")]
    WriteZero,
    /// The transport reported that it took more bytes than it was offered, which is a bug in the
    /// transport.
    ///
    /// What the peer got is unknown then, and the next record might not follow the last one. The
    /// connection has failed: nothing more is transmitted, and further transmits return this error
    /// again.
    #[error("the transport has a bug, and reported that it took {reported} of {offered} bytes: the connection has failed, open a new one{}", Lost(*discarded))]
    Overrun {
        /// Wire bytes that were offered to the transport in one call.
        offered: usize,
        /// Wire bytes that it reported as taken.
        reported: usize,
        /// Accepted plaintext bytes that will not reach the peer, or cannot be known to have
        /// reached it.
        discarded: usize,
    },
    /// The TLS session could not seal what was waiting; that plaintext is discarded.
    #[error("cannot seal: {error}{}", Lost(*discarded))]
    Seal {
        /// What the session said. Its text is part of this error's own.
        error: SealError,
        /// Accepted plaintext bytes that will never reach the peer. For [`SealError::Contract`],
        /// also those that cannot be known to have reached it.
        discarded: usize,
    },
}

/// [`TransmitError::Io`] becomes the transport's own error, unchanged. The others are inside the
/// new error.
impl From<TransmitError> for io::Error {
    fn from(error: TransmitError) -> Self {
        let kind = match error {
            TransmitError::Io(source) => return source,
            TransmitError::WriteZero => io::ErrorKind::WriteZero,
            TransmitError::Overrun { .. } | TransmitError::Seal { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Says how much accepted data an error costs, if any.
pub(crate) struct Lost(pub(crate) usize);

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, "; {n} bytes that were accepted are lost"),
        }
    }
}
