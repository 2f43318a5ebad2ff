//! What is received: messages of one record each, and how many of them a job has.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A length of messages, with the way in which their receiver reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Message {
    /// 512 B, each read by read_exact.
    #[value(name = "512")]
    Small,
    /// 4 KiB, each read by read_exact.
    #[value(name = "4k")]
    Page,
    /// Full records of 16 KiB, read as they come into 64 KiB.
    #[value(name = "16k")]
    Bulk,
}

impl Message {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Small, Self::Page, Self::Bulk];

    /// Its length, which is that of a record's plaintext.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Small => 512,
            Self::Page => 4096,
            Self::Bulk => 16_384,
        }
    }

    /// The length of the receiver's buffer; `true` if each read is to fill it.
    pub(super) fn buffer(self) -> (usize, bool) {
        match self {
            Self::Bulk => (65_536, false),
            _ => (self.len(), true),
        }
    }

    /// How many messages take some 20 ms.
    pub(super) fn slice(self) -> u64 {
        match self {
            Self::Small => 32_768,
            Self::Page => 12_288,
            Self::Bulk => 3072,
        }
    }
}

/// A slice, for both ends of a connection.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Job {
    /// Which connection, from 0 in the order of the stacks.
    pub(super) seat: usize,
    pub(super) message: Message,
    /// How many messages; none ends the connection.
    pub(super) messages: u64,
    /// Whether the receiver compares every byte, which takes time.
    pub(super) checked: bool,
    /// Decides where buffers lie.
    pub(super) place: u64,
}

impl Job {
    pub(super) fn bytes(&self) -> u64 {
        self.messages * self.message.len() as u64
    }
}
