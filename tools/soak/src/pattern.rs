//! What streams carry: bytes that depend on their place, so that a lost, repeated or moved one shows.

use tls_cork_testing::content;

/// `content` fills blocks of this length, whose places are multiples of it.
const BLOCK: usize = 4096;

/// One direction's endless content.
#[derive(Debug)]
pub(crate) struct Pattern {
    seed: u64,
    /// The place and the content of the block that was used last.
    place: Option<u64>,
    block: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, place: None, block: vec![0; BLOCK] }
    }

    /// Fills `buf` with what stands from `offset` on.
    pub(crate) fn fill(&mut self, mut offset: u64, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let piece = self.at(offset, buf.len());
            let (now, rest) = buf.split_at_mut(piece.len());
            now.copy_from_slice(piece);
            offset += now.len() as u64;
            buf = rest;
        }
    }

    /// The place of the first byte of `found`, which arrived from `offset` on, that is not what it should be.
    pub(crate) fn first_difference(&mut self, mut offset: u64, mut found: &[u8]) -> Option<u64> {
        while !found.is_empty() {
            let piece = self.at(offset, found.len());
            if let Some(place) = content::first_difference(piece, &found[..piece.len()]) {
                return Some(offset + place as u64);
            }
            let len = piece.len();
            offset += len as u64;
            found = &found[len..];
        }
        None
    }

    /// At most `len` bytes from `offset` on: as many as its block has.
    fn at(&mut self, offset: u64, len: usize) -> &[u8] {
        let within = (offset % BLOCK as u64) as usize;
        let place = offset - within as u64;
        if self.place != Some(place) {
            content::fill(self.seed, place, &mut self.block);
            self.place = Some(place);
        }
        &self.block[within..BLOCK.min(within + len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        Pattern::new(7).fill(offset, &mut buf);
        buf
    }

    #[test]
    fn a_byte_depends_on_its_place_alone() {
        let whole = bytes(0, 3 * BLOCK);
        for (offset, len) in [(0, 1), (1, 2 * BLOCK), (BLOCK - 1, 2), (BLOCK, BLOCK), (5000, 7000)] {
            assert_eq!(bytes(offset as u64, len), whole[offset..offset + len], "{len} bytes from {offset}");
            assert_eq!(Pattern::new(7).first_difference(offset as u64, &whole[offset..offset + len]), None);
        }
    }

    #[test]
    fn every_corrupted_byte_is_noticed_and_named() {
        for place in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 17, 3 * BLOCK - 1] {
            for bit in 0..8 {
                let mut found = bytes(1000, 3 * BLOCK);
                found[place] ^= 1 << bit;
                assert_eq!(Pattern::new(7).first_difference(1000, &found), Some(1000 + place as u64));
            }
        }
    }

    #[test]
    fn lost_and_repeated_bytes_are_noticed() {
        let whole = bytes(0, 3 * BLOCK);
        let lost = [&whole[..5000], &whole[5001..]].concat();
        let repeated = [&whole[..5000], &whole[4999..]].concat();
        for found in [lost, repeated] {
            let place = Pattern::new(7).first_difference(0, &found).expect("a difference");
            assert!((5000..5010).contains(&place), "{place}");
        }
        assert!(Pattern::new(8).first_difference(0, &whole).is_some(), "the other direction's content");
    }
}
