//! The bytes that tests send: a pattern that shows where it begins.

use std::sync::LazyLock;

/// The byte at `offset` of every test stream.
fn pattern(offset: usize) -> u8 {
    ((offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8
}

pub(crate) fn stream(from: usize, len: usize) -> Vec<u8> {
    static START: LazyLock<Vec<u8>> = LazyLock::new(|| (0..1 << 15).map(pattern).collect());
    START.get(from..from + len).map_or_else(|| (from..from + len).map(pattern).collect(), <[u8]>::to_vec)
}
