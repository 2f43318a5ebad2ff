//! What is sent: shapes of messages, and bytes that a receiver can check.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use tls_cork_report::size;
use tls_cork_testing::content;

/// A traffic pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// NBD write: header of 28 B, payload of 512 B.
    #[value(name = "nbd-512")]
    #[serde(rename = "nbd-512")]
    Nbd512,
    /// NBD write: header of 28 B, payload of 4 KiB.
    #[value(name = "nbd-4k")]
    #[serde(rename = "nbd-4k")]
    Nbd4k,
    /// NBD write: header of 28 B, payload of 64 KiB.
    #[value(name = "nbd-64k")]
    #[serde(rename = "nbd-64k")]
    Nbd64k,
    /// NBD write: header of 28 B, payload of 2 MiB.
    #[value(name = "nbd-2m")]
    #[serde(rename = "nbd-2m")]
    Nbd2m,
    /// sheepdog write: header of 48 B, payload of 4 KiB.
    #[value(name = "sheepdog-4k")]
    #[serde(rename = "sheepdog-4k")]
    Sheepdog4k,
    /// Read reply: header of 16 B, payload of 4 KiB.
    #[value(name = "reply-4k")]
    #[serde(rename = "reply-4k")]
    Reply4k,
    /// HTTP/2 response: frame header 9 B, headers 31 B, frame header 9 B, data 8 KiB.
    Http2,
    /// A hundred messages of 120 B, flushed together.
    Burst,
    /// Writes of 1 MiB.
    Bulk,
}

impl Pattern {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 9] = [
        Self::Nbd512,
        Self::Nbd4k,
        Self::Nbd64k,
        Self::Nbd2m,
        Self::Sheepdog4k,
        Self::Reply4k,
        Self::Http2,
        Self::Burst,
        Self::Bulk,
    ];

    /// Its shape.
    #[must_use]
    pub fn shape(self) -> Shape {
        let shape = |pieces, burst| Shape { pieces, burst };
        match self {
            Self::Nbd512 => shape(&[28, 512], 1),
            Self::Nbd4k => shape(&[28, 4096], 1),
            Self::Nbd64k => shape(&[28, 65_536], 1),
            Self::Nbd2m => shape(&[28, 2 << 20], 1),
            Self::Sheepdog4k => shape(&[48, 4096], 1),
            Self::Reply4k => shape(&[16, 4096], 1),
            Self::Http2 => shape(&[9, 31, 9, 8192], 1),
            Self::Burst => shape(&[120], 100),
            Self::Bulk => shape(&[1 << 20], 1),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.pad(name.as_ref().map_or("", |value| value.get_name()))
    }
}

/// How a pattern's bytes are handed over.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Lengths of the writes that make a message.
    pub pieces: &'static [usize],
    /// Messages between two flushes.
    pub burst: usize,
}

impl Shape {
    /// Bytes of one message.
    #[must_use]
    pub fn message_len(&self) -> usize {
        self.pieces.iter().sum()
    }

    /// Bytes between two flushes.
    #[must_use]
    pub fn burst_len(&self) -> usize {
        self.message_len() * self.burst
    }
}

/// As in `28 + 512 B`, or `100 × 120 B`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.burst > 1 {
            write!(f, "{} × ", self.burst)?;
        }
        let pieces: Vec<String> = self.pieces.iter().map(|&len| size(len as u64)).collect();
        f.write_str(&pieces.join(" + "))
    }
}

/// A prime, so that no message length is in step with it.
const PERIOD: usize = 65_537;
const LONGEST_PIECE: usize = 2 << 20;

/// The stream's bytes: each depends on its position alone, so that the sender need not make or copy
/// them and the receiver can check them. Repeats after 65,537 bytes, so that small messages stay in
/// the cache.
#[derive(Debug)]
pub struct Content(Vec<u8>);

impl Default for Content {
    fn default() -> Self {
        let mut bytes = vec![0; PERIOD];
        content::fill(0x7c05, 0, &mut bytes);
        while bytes.len() < PERIOD + LONGEST_PIECE {
            let more = PERIOD.min(PERIOD + LONGEST_PIECE - bytes.len());
            bytes.extend_from_within(..more);
        }
        Self(bytes)
    }
}

impl Content {
    /// The `len` bytes at `offset`; 2 MiB at most.
    #[must_use]
    pub fn at(&self, offset: u64, len: usize) -> &[u8] {
        let start = (offset % PERIOD as u64) as usize;
        &self.0[start..start + len]
    }

    /// Where `data`, found at `offset`, first differs from what belongs there.
    #[must_use]
    pub fn first_difference(&self, offset: u64, data: &[u8]) -> Option<u64> {
        let mut at = offset;
        for chunk in data.chunks(LONGEST_PIECE) {
            if let Some(found) = content::first_difference(self.at(at, chunk.len()), chunk) {
                return Some(at + found as u64);
            }
            at += chunk.len() as u64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_goes_on_where_it_stopped() {
        let content = Content::default();
        let whole = content.at(0, LONGEST_PIECE).to_vec();
        let mut offset = 0;
        for len in [28, 512, 65_536, 1, 120_000] {
            assert_eq!(content.at(offset, len), &whole[offset as usize..offset as usize + len]);
            offset += len as u64;
        }
    }

    #[test]
    fn a_lost_a_repeated_and_a_changed_byte_are_found() {
        let content = Content::default();
        let data = content.at(1000, 5000).to_vec();
        assert_eq!(content.first_difference(1000, &data), None);
        assert_eq!(content.first_difference(1000, &data[1..]), Some(1000));
        assert_eq!(content.first_difference(1001, &data), Some(1001));
        let mut changed = data.clone();
        changed[4321] ^= 4;
        assert_eq!(content.first_difference(1000, &changed), Some(5321));
    }

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_json() {
        for pattern in Pattern::ALL {
            let json = serde_json::to_string(&pattern).expect("JSON");
            assert_eq!(json, format!("\"{pattern}\""));
        }
    }
}
