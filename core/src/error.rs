//! One narrow error type for each verb.
//!
//! The text of an error either contains the text of its cause, or leaves the cause to
//! [`source`](std::error::Error::source); so a printed chain of errors never repeats a text. TLS
//! causes are contained: they are in the variant's field. Causes from a transport are sources.

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
    /// The field's value.
    pub value: String,
    /// The values that are allowed.
    pub range: String,
}

/// A write was refused; none of its bytes were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The buffer has no room: [`send_buffer_limit`](crate::CorkConfig::send_buffer_limit) bytes of
    /// plaintext wait. Transmit, then write again.
    #[error("the send buffer is full: transmit, then write the same bytes again")]
    Blocked,
    /// [`close`](crate::CorkPolicy::close) or [`abort`](crate::CorkPolicy::abort) has been called.
    #[error("write after close: open a new connection to send more")]
    Closed,
    /// The connection has failed. The call that found the error has returned it; if that was a
    /// write, the next transmit returns it. [`failure`](crate::CorkPolicy::failure) of the policy
    /// or the connection holds it too.
    #[error("this connection has failed, and data that was not yet sent is lost: open a new one")]
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
    /// The keys must not encrypt another record. TLS 1.2 has no key update, and AES-GCM keys may
    /// encrypt 2^24 records (RFC 8446, section 5.5). Open a new connection, or use TLS 1.3.
    #[error("the session's keys are used up: open a new connection, or use TLS 1.3, which renews them")]
    KeysExhausted,
    /// The session has failed. The field holds its own error, whose text is part of this error's
    /// text.
    ///
    /// For rustls that is a `rustls::Error`, in some cases inside an [`io::Error`].
    #[error("the TLS session has failed: {0}; open a new connection")]
    Session(Arc<dyn StdError + Send + Sync>),
    /// An implementation of [`Seal`](crate::Seal) broke its contract, which is a bug in that
    /// implementation. It is unknown then what the peer has received. Nothing more is transmitted,
    /// and further transmits return the error again.
    #[error("the implementation of Seal has a bug: {0}; open a new connection")]
    Contract(&'static str),
}

/// A transmit failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransmitError {
    /// The transport returned an error. No data is lost: all output still waits. This error ends
    /// nothing by itself, so the transmit may be repeated.
    #[error("the transport failed to send, and no data is lost: transmit again, or drop the connection")]
    Io(#[source] io::Error),
    /// The transport took zero bytes of a non-empty buffer, which means that it will take no more.
    /// All output still waits.
    #[error("the transport took zero bytes, so it can send no more: open a new connection")]
    WriteZero,
    /// The transport reported that it took more bytes than it was offered, which is a bug in the
    /// transport.
    ///
    /// It is unknown then what the peer has received, and whether a further record would follow the
    /// last one. The connection has failed: nothing more is transmitted, and further transmits
    /// return this error again, with `discarded` 0.
    #[error("the transport has a bug: it reported {reported} bytes sent of {offered} offered; the connection has failed, open a new one{}", Lost(*discarded))]
    Overrun {
        /// Wire bytes offered to the transport in one call.
        offered: usize,
        /// Wire bytes that the transport reported as taken.
        reported: usize,
        /// Accepted plaintext bytes that will not reach the peer, or may not have reached it.
        discarded: usize,
    },
    /// The TLS session could not seal the plaintext that waited; that plaintext is discarded.
    #[error("cannot encrypt or send the data that waits: {error}{}", Lost(*discarded))]
    Seal {
        /// The cause. Its text is part of this error's text.
        error: SealError,
        /// Accepted plaintext bytes that will never reach the peer. For [`SealError::Contract`],
        /// also those that may not have reached it.
        discarded: usize,
    },
}

/// [`TransmitError::Io`] becomes the transport's own error, unchanged. Every other error is inside
/// the new one ([`io::Error::get_ref`]).
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

/// Displays the number of accepted bytes that an error costs, if any.
pub(crate) struct Lost(pub(crate) usize);

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, "; {n} bytes that were accepted are lost"),
        }
    }
}
