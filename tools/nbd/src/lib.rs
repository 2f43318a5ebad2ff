//! The Network Block Device protocol without sockets: fixed newstyle negotiation with STARTTLS, then
//! requests with simple replies or chunks.
//!
//! Messages are pure functions over byte slices, so that clients, servers and fuzz targets share one
//! reading of the protocol. Parsers take whatever a peer sent and return a [`ProtoError`], never panic.
//!
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>

use std::fmt;

pub mod client;
mod handshake;
mod replies;
mod structured;
#[cfg(test)]
mod tests;
mod transmission;

pub use handshake::*;
pub use replies::{Completion, Outstanding, ReplyStream};
pub use structured::*;
pub use transmission::*;

/// Bytes that are not what the protocol requires at this point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtoError {
    /// The message ends before its fixed part does.
    Short {
        /// The message being parsed.
        what: &'static str,
        /// Bytes the fixed part takes.
        need: usize,
        /// Bytes there were.
        have: usize,
    },
    /// A magic number is wrong: the peer speaks another protocol, or the stream is out of step.
    BadMagic {
        /// The message being parsed.
        what: &'static str,
        /// The magic number as received.
        found: u64,
    },
    /// A length field asks for more than this implementation is willing to hold.
    TooLong {
        /// The message being parsed.
        what: &'static str,
        /// The most that is accepted.
        limit: u32,
        /// What the length field says.
        found: u32,
    },
    /// Lengths inside the message contradict each other, or text is not UTF-8.
    Malformed {
        /// The message being parsed.
        what: &'static str,
    },
    /// The peer does not offer fixed newstyle negotiation.
    NotFixedNewstyle,
    /// A message that is valid elsewhere, but not here.
    Unexpected {
        /// The message received.
        what: &'static str,
    },
}

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { what, need, have } => {
                write!(f, "{what} is cut short: {have} of {need} bytes")
            }
            Self::BadMagic { what, found } => {
                write!(f, "{what} has the wrong magic number {found:#x}; not an NBD peer?")
            }
            Self::TooLong { what, limit, found } => {
                write!(f, "{what} announces {found} bytes, the limit is {limit}")
            }
            Self::Malformed { what } => write!(f, "{what} is malformed"),
            Self::NotFixedNewstyle => write!(f, "peer lacks fixed newstyle negotiation"),
            Self::Unexpected { what } => write!(f, "unexpected {what}"),
        }
    }
}

impl std::error::Error for ProtoError {}

/// The `N` bytes at offset `at`, which the fixed part of `what` must contain.
fn field<const N: usize>(data: &[u8], at: usize, what: &'static str) -> Result<[u8; N], ProtoError> {
    data.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(ProtoError::Short {
        what,
        need: at + N,
        have: data.len(),
    })
}

fn u16_at(data: &[u8], at: usize, what: &'static str) -> Result<u16, ProtoError> {
    field(data, at, what).map(u16::from_be_bytes)
}

fn u32_at(data: &[u8], at: usize, what: &'static str) -> Result<u32, ProtoError> {
    field(data, at, what).map(u32::from_be_bytes)
}

fn u64_at(data: &[u8], at: usize, what: &'static str) -> Result<u64, ProtoError> {
    field(data, at, what).map(u64::from_be_bytes)
}
