//! What an attack may cost, in bytes of heap beside what an idle session has: derived from the limits, not from what was measured.

/// The largest record's plaintext, in bytes.
const RECORD: usize = 16 * 1024;
/// A buffer that doubles holds up to twice its content, and its old half while it moves.
const GROWING: usize = 3;
/// In a sealed record beside its plaintext: header, nonce, content type and tag are 29 bytes at most; the rest is bookkeeping.
const PER_RECORD: usize = 128;
/// Small things: deques, boxes, an alert.
const SLACK: usize = 4096;
/// The longest handshake message that rustls takes, and the buffer it gathers one in.
pub const MESSAGE_MAX: usize = 0xffff;
/// The longest record that rustls reads, with header.
const WIRE_MAX: usize = RECORD + 2048 + 5;
/// A handshake message's place in rustls's buffer; a message has four bytes at least.
const SPAN: usize = 40;

/// While nothing is written and no handshake message is gathered: a buffer for one record, and its plaintext.
pub const IDLE: usize = GROWING * WIRE_MAX + 2 * WIRE_MAX + SLACK;
/// While handshake messages are gathered.
pub const GATHERING: usize = GROWING * MESSAGE_MAX + GROWING * SPAN * RECORD / 4 + SLACK;

/// What bounds a victim's memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub send_buffer: usize,
    pub record_size: usize,
    pub batch: (usize, usize),
}

impl Limits {
    /// Those of `CorkConfig::default()`.
    pub const DEFAULT: Self = Self { send_buffer: 256 * 1024, record_size: RECORD, batch: (64 * 1024, 96 * 1024) };
    pub const SMALL: Self = Self { send_buffer: 40_000, record_size: 200, batch: (16 * 1024, 20_000) };

    /// While the application writes all it can: what waits, and one batch in wire bytes.
    pub const fn sending(&self) -> usize {
        GROWING * self.send_buffer + self.batch.1 + self.batch.1.div_ceil(self.record_size) * PER_RECORD + SLACK
    }
}
