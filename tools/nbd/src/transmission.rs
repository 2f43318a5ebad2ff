//! The transmission phase: 28-byte requests, 16-byte simple replies.

use super::{ProtoError, u16_at, u32_at, u64_at};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// Read `length` bytes; the reply carries them.
pub const CMD_READ: u16 = 0;
/// Write the `length` bytes behind the request.
pub const CMD_WRITE: u16 = 1;
/// End the session; has no reply.
pub const CMD_DISC: u16 = 2;
/// Make everything acknowledged durable.
pub const CMD_FLUSH: u16 = 3;
/// These bytes are not needed any more.
pub const CMD_TRIM: u16 = 4;
/// Write zeroes, which do not come along.
pub const CMD_WRITE_ZEROES: u16 = 6;

/// Durable before it is acknowledged.
pub const COMMAND_FUA: u16 = 1 << 0;
/// WRITE_ZEROES must leave the space allocated.
pub const COMMAND_NO_HOLE: u16 = 1 << 1;
/// The data of a READ must come in one chunk.
pub const COMMAND_DF: u16 = 1 << 2;

/// Bytes of a request without its payload.
pub const REQUEST_LEN: usize = 28;
/// Bytes of a simple reply without its payload.
pub const SIMPLE_REPLY_LEN: usize = 16;
/// The longest payload a portable client may ask for, and the longest the server here takes.
pub const MAX_PAYLOAD: u32 = 32 * 1024 * 1024;

/// Not permitted.
pub const ERROR_PERMISSION: u32 = 1;
/// Input/output error.
pub const ERROR_IO: u32 = 5;
/// Invalid request, for instance past the end of the export.
pub const ERROR_INVALID: u32 = 22;
/// No space left: a write past the end of the export.
pub const ERROR_NO_SPACE: u32 = 28;

/// A request of the transmission phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// One of the `CMD_` numbers, or one unknown here.
    pub command: u16,
    /// Command flags.
    pub flags: u16,
    /// Comes back in the reply; the client's business alone.
    pub cookie: u64,
    /// Where in the export.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
}

impl Request {
    /// The 28 bytes on the wire.
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let mut out = [0; REQUEST_LEN];
        out[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.command.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.to_be_bytes());
        out[24..].copy_from_slice(&self.length.to_be_bytes());
        out
    }

    /// Parses the 28 bytes at the front of `data`.
    ///
    /// # Errors
    ///
    /// When the magic number is wrong, or a read or write is longer than [`MAX_PAYLOAD`].
    pub fn parse(data: &[u8]) -> Result<Self, ProtoError> {
        let request = Self::parse_any(data)?;
        let carries_data = matches!(request.command, CMD_READ | CMD_WRITE);
        if carries_data && request.length > MAX_PAYLOAD {
            return Err(ProtoError::TooLong { what: "request", limit: MAX_PAYLOAD, found: request.length });
        }
        Ok(request)
    }

    /// Parses the 28 bytes at the front of `data`, whatever length they ask for.
    ///
    /// # Errors
    ///
    /// When the magic number is wrong.
    pub fn parse_any(data: &[u8]) -> Result<Self, ProtoError> {
        let what = "request";
        if data.len() < REQUEST_LEN {
            return Err(ProtoError::Short { what, need: REQUEST_LEN, have: data.len() });
        }
        let magic = u32_at(data, 0, what)?;
        if magic != REQUEST_MAGIC {
            return Err(ProtoError::BadMagic { what, found: magic.into() });
        }
        Ok(Self {
            flags: u16_at(data, 4, what)?,
            command: u16_at(data, 6, what)?,
            cookie: u64_at(data, 8, what)?,
            offset: u64_at(data, 16, what)?,
            length: u32_at(data, 24, what)?,
        })
    }
}

/// The answer to a request; for READ without error the data follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimpleReply {
    /// Zero, or an NBD error number.
    pub error: u32,
    /// The request's cookie.
    pub cookie: u64,
}

impl SimpleReply {
    /// The 16 bytes on the wire.
    pub fn encode(&self) -> [u8; SIMPLE_REPLY_LEN] {
        let mut out = [0; SIMPLE_REPLY_LEN];
        out[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
        out[4..8].copy_from_slice(&self.error.to_be_bytes());
        out[8..].copy_from_slice(&self.cookie.to_be_bytes());
        out
    }

    /// Parses the 16 bytes at the front of `data`.
    ///
    /// # Errors
    ///
    /// When there are fewer, or the magic number is wrong.
    pub fn parse(data: &[u8]) -> Result<Self, ProtoError> {
        let what = "reply";
        if data.len() < SIMPLE_REPLY_LEN {
            return Err(ProtoError::Short { what, need: SIMPLE_REPLY_LEN, have: data.len() });
        }
        let magic = u32_at(data, 0, what)?;
        if magic != SIMPLE_REPLY_MAGIC {
            return Err(ProtoError::BadMagic { what, found: magic.into() });
        }
        Ok(Self { error: u32_at(data, 4, what)?, cookie: u64_at(data, 8, what)? })
    }
}

/// The protocol's name for an error number in a reply, for messages.
pub fn error_name(error: u32) -> &'static str {
    match error {
        1 => "NBD_EPERM (not permitted)",
        5 => "NBD_EIO (input/output error)",
        12 => "NBD_ENOMEM (out of memory)",
        22 => "NBD_EINVAL (invalid request)",
        28 => "NBD_ENOSPC (no space left)",
        75 => "NBD_EOVERFLOW (too large)",
        95 => "NBD_ENOTSUP (not supported)",
        108 => "NBD_ESHUTDOWN (server is shutting down)",
        _ => "an unknown error",
    }
}
