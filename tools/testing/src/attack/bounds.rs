//! Upper bounds for the cost of an attack, in heap bytes beyond those of an idle session. They are
//! derived from the limits, not from measurements.

/// The largest plaintext of a record, in bytes.
const RECORD: usize = 16 * 1024;
/// The factor for a buffer that grows by doubling: its capacity is up to twice its content, and the
/// old half still exists while it moves.
const GROWING: usize = 3;
/// What a sealed record has beside its plaintext: at most 29 bytes of header, nonce, content type
/// and tag. The rest is bookkeeping.
const PER_RECORD: usize = 128;
/// Small allocations: deques, boxes, an alert.
const SLACK: usize = 4096;
/// The longest handshake message that rustls accepts, and the size of the buffer in which it
/// gathers one.
pub const MESSAGE_MAX: usize = 0xffff;
/// The longest record that rustls reads, with its header.
const WIRE_MAX: usize = RECORD + 2048 + 5;
/// The most bytes that one read takes ahead (R17).
pub const READ_AHEAD: usize = 64 * 1024;
/// Bookkeeping of rustls for a handshake message, which has at least four bytes.
const SPAN: usize = 40;

/// The bound while nothing is written and no handshake message is gathered: bytes read ahead, a
/// buffer for one record, and its plaintext.
pub const IDLE: usize = READ_AHEAD + GROWING * WIRE_MAX + 2 * WIRE_MAX + SLACK;
/// The bound while handshake messages are gathered.
pub const GATHERING: usize = READ_AHEAD + GROWING * MESSAGE_MAX + GROWING * SPAN * RECORD / 4 + SLACK;

/// The limits that bound a victim's memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub send_buffer: usize,
    pub record_size: usize,
    pub batch: (usize, usize),
}

impl Limits {
    /// The limits of `CorkConfig::default()`.
    pub const DEFAULT: Self = Self { send_buffer: 256 * 1024, record_size: RECORD, batch: (64 * 1024, 96 * 1024) };
    pub const SMALL: Self = Self { send_buffer: 40_000, record_size: 200, batch: (16 * 1024, 20_000) };

    /// The bound while the application writes as much as it can: bytes read ahead, the plaintext that
    /// waits, and one batch in wire bytes.
    pub const fn sending(&self) -> usize {
        READ_AHEAD
            + GROWING * self.send_buffer
            + self.batch.1
            + self.batch.1.div_ceil(self.record_size) * PER_RECORD
            + SLACK
    }
}
