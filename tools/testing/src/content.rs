//! Content that tests send, and can tell from any other.

use std::io::IoSlice;
use std::sync::LazyLock;

/// A record that no session accepts.
pub const GARBAGE: [u8; 13] = [23, 3, 3, 0, 8, 90, 90, 90, 90, 90, 90, 90, 90];

/// The byte at `offset` of every [`stream`]: content has its own place in it.
pub fn pattern(offset: usize) -> u8 {
    ((offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8
}

/// `len` bytes of the one stream that tests send, from the offset `from`.
pub fn stream(from: usize, len: usize) -> Vec<u8> {
    static START: LazyLock<Vec<u8>> = LazyLock::new(|| (0..1 << 15).map(pattern).collect());
    START.get(from..from + len).map_or_else(|| (from..from + len).map(pattern).collect(), <[u8]>::to_vec)
}

/// Cuts `data` into pieces of these lengths, which `data` has to have.
pub fn slices<'a>(data: &'a [u8], pieces: &[usize]) -> Vec<IoSlice<'a>> {
    let mut rest = data;
    let cut = |len: &usize| {
        let (piece, tail) = rest.split_at(*len);
        rest = tail;
        IoSlice::new(piece)
    };
    pieces.iter().map(cut).collect()
}

/// Whether `data` is what comes at `offset` of the stream.
pub fn is_stream(data: &[u8], offset: usize) -> bool {
    data.iter().enumerate().all(|(n, byte)| *byte == pattern(offset + n))
}

/// Bytes without a pattern that a mistake could hide behind.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Fills `block` with pseudo-random bytes that depend on `seed` and on the block's `offset` only:
/// a block that ends up in another place, or an old one that stays, does not compare equal.
pub fn fill(seed: u64, offset: u64, block: &mut [u8]) {
    // Scrambled first: neighbouring offsets must not give the same sequence, shifted.
    let mut state = offset.wrapping_add(seed);
    state = next(&mut state) ^ seed.rotate_left(32);
    let (words, tail) = block.as_chunks_mut::<8>();
    for word in words {
        *word = next(&mut state).to_le_bytes();
    }
    let last = next(&mut state).to_le_bytes();
    tail.copy_from_slice(&last[..tail.len()]);
}

/// splitmix64: one step per word, good enough that no two blocks look alike.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where two blocks of the same length first differ.
pub fn first_difference(expected: &[u8], found: &[u8]) -> Option<usize> {
    if expected == found {
        return None;
    }
    expected.iter().zip(found).position(|(a, b)| a != b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(seed: u64, offset: u64, length: usize) -> Vec<u8> {
        let mut block = vec![0; length];
        fill(seed, offset, &mut block);
        block
    }

    #[test]
    fn content_depends_on_seed_and_offset_alone() {
        assert_eq!(block(1, 512, 513), block(1, 512, 513));
        assert_ne!(block(1, 512, 16), block(2, 512, 16));
        assert_ne!(block(1, 512, 16), block(1, 1024, 16));
        assert_ne!(block(1, 0, 16), vec![0; 16]);
    }

    #[test]
    fn neighbouring_blocks_have_no_word_in_common() {
        let first = block(1, 0, 4096);
        for offset in [1, 8, 64, 512, 4096] {
            let second = block(1, offset, 4096);
            let common = first.chunks(8).filter(|word| second.chunks(8).any(|other| other == *word)).count();
            assert_eq!(common, 0, "offset {offset}");
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        let expected = block(3, 0, 100);
        let mut found = expected.clone();
        assert_eq!(first_difference(&expected, &found), None);
        found[99] ^= 1;
        assert_eq!(first_difference(&expected, &found), Some(99));
        found[7] ^= 128;
        assert_eq!(first_difference(&expected, &found), Some(7));
    }
}
