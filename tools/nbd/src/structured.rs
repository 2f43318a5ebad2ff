//! Structured replies: a READ answered in 20-byte chunk headers and what follows them.

use super::{ProtoError, error_name, u16_at, u32_at, u64_at};

const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Bytes of a chunk without its payload.
pub const CHUNK_LEN: usize = 20;
/// Chunk flag: the last one of its reply.
pub const CHUNK_DONE: u16 = 1 << 0;

/// Chunk type: nothing follows.
pub const CHUNK_NONE: u16 = 0;
/// Chunk type: an offset of eight bytes, and the data found there.
pub const CHUNK_OFFSET_DATA: u16 = 1;
/// Chunk type: an [error](encode_chunk_error).
pub const CHUNK_ERROR: u16 = (1 << 15) + 1;

/// A part of a reply; `length` bytes of payload follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// [`CHUNK_DONE`] or nothing.
    pub flags: u16,
    /// One of the types, or one unknown here.
    pub kind: u16,
    /// The request's cookie.
    pub cookie: u64,
    /// Bytes of payload.
    pub length: u32,
}

impl Chunk {
    /// The 20 bytes on the wire.
    pub fn encode(&self) -> [u8; CHUNK_LEN] {
        let mut out = [0; CHUNK_LEN];
        out[..4].copy_from_slice(&CHUNK_MAGIC.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.kind.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..].copy_from_slice(&self.length.to_be_bytes());
        out
    }

    /// Parses the 20 bytes at the front of `data`.
    ///
    /// # Errors
    ///
    /// When there are fewer, or the magic number is wrong.
    pub fn parse(data: &[u8]) -> Result<Self, ProtoError> {
        let what = "reply chunk";
        let magic = u32_at(data, 0, what)?;
        if magic != CHUNK_MAGIC {
            return Err(ProtoError::BadMagic { what, found: magic.into() });
        }
        Ok(Self {
            flags: u16_at(data, 4, what)?,
            kind: u16_at(data, 6, what)?,
            cookie: u64_at(data, 8, what)?,
            length: u32_at(data, 16, what)?,
        })
    }
}

/// The payload of a [`CHUNK_ERROR`]: the number, and its name for people.
pub fn encode_chunk_error(error: u32) -> Vec<u8> {
    let text = error_name(error).as_bytes();
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&error.to_be_bytes()[..], &length.to_be_bytes(), text].concat()
}
