//! The content of streams: bytes that depend on their place, so that a lost, repeated or moved one
//! shows.

use tls_cork_testing::content;

/// `content` fills blocks of this length, at multiples of this length.
const BLOCK: usize = 256;

/// Fills `buf` with the endless content of `seed`, from `offset` on.
pub(crate) fn fill(seed: u64, mut offset: u64, mut buf: &mut [u8]) {
    let mut block = [0; BLOCK];
    while !buf.is_empty() {
        let within = (offset % BLOCK as u64) as usize;
        content::fill(seed, offset - within as u64, &mut block);
        let (now, rest) = buf.split_at_mut(buf.len().min(BLOCK - within));
        now.copy_from_slice(&block[within..within + now.len()]);
        offset += now.len() as u64;
        buf = rest;
    }
}

/// The place of the first byte of `found`, received from `offset` on, that is not right.
pub(crate) fn first_difference(seed: u64, offset: u64, found: &[u8]) -> Option<u64> {
    let mut expected = [0; 4096];
    (offset..).step_by(expected.len()).zip(found.chunks(expected.len())).find_map(|(offset, found)| {
        let expected = &mut expected[..found.len()];
        fill(seed, offset, expected);
        content::first_difference(expected, found).map(|place| offset + place as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(offset: usize, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        fill(7, offset as u64, &mut buf);
        buf
    }

    #[test]
    fn a_byte_depends_on_its_place_alone() {
        let whole = bytes(0, 3 * BLOCK);
        for (offset, len) in [(0, 1), (1, 2 * BLOCK), (BLOCK - 1, 2), (BLOCK, BLOCK), (300, 400)] {
            assert_eq!(bytes(offset, len), whole[offset..offset + len], "{len} bytes from {offset}");
        }
    }
}
