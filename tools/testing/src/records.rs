//! Counting TLS records on the wire.
//!
//! The count comes from the bytes that the transport took, not from any library's statistics, so
//! that one measure holds for every strategy.

use std::io::IoSlice;

/// Bytes in front of every TLS record (RFC 8446, section 5.1): type, version, length.
const HEADER_LEN: usize = 5;
/// The type of a record with application data.
const APPLICATION_DATA: u8 = 23;

/// Follows the record headers through one direction of a TLS stream.
#[derive(Debug, Clone, Default)]
pub struct RecordCounter {
    header: [u8; HEADER_LEN],
    header_have: usize,
    body_missing: usize,
    records: u64,
    bytes: u64,
}

impl RecordCounter {
    /// Takes the next bytes of the stream, split anywhere.
    pub fn advance(&mut self, data: &[u8]) {
        self.advance_with(data, |_, _| ());
    }

    /// The same; `on_record` gets the content type and the length, with its header, of each record whose header is now complete.
    pub fn advance_with(&mut self, mut data: &[u8], mut on_record: impl FnMut(u8, usize)) {
        self.bytes += data.len() as u64;
        while !data.is_empty() {
            if self.body_missing > 0 {
                let skip = self.body_missing.min(data.len());
                self.body_missing -= skip;
                data = &data[skip..];
                continue;
            }
            let take = (HEADER_LEN - self.header_have).min(data.len());
            self.header[self.header_have..self.header_have + take].copy_from_slice(&data[..take]);
            self.header_have += take;
            data = &data[take..];
            if self.header_have == HEADER_LEN {
                self.header_have = 0;
                self.records += 1;
                self.body_missing = u16::from_be_bytes([self.header[3], self.header[4]]).into();
                on_record(self.header[0], HEADER_LEN + self.body_missing);
            }
        }
    }

    /// Takes the first `len` bytes of a gathered send, as [`advance_with`](Self::advance_with).
    pub fn advance_slices(&mut self, bufs: &[IoSlice<'_>], len: usize, mut on_record: impl FnMut(u8, usize)) {
        let mut left = len;
        for buf in bufs {
            let part = &buf[..left.min(buf.len())];
            left -= part.len();
            self.advance_with(part, &mut on_record);
        }
    }

    /// Records whose header has been seen in full.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes seen, headers included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True when the next byte of the stream belongs to the body of a record of application data, as
    /// its header has it: in TLS 1.3 that is every encrypted record.
    pub fn is_in_application_data(&self) -> bool {
        self.body_missing > 0 && self.header[0] == APPLICATION_DATA
    }

    /// True when the stream, so far, ends where a record does.
    pub fn at_boundary(&self) -> bool {
        self.header_have == 0 && self.body_missing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(length: u16) -> Vec<u8> {
        let mut bytes = vec![23, 3, 3];
        bytes.extend_from_slice(&length.to_be_bytes());
        // A body that looks like headers must not be taken for one.
        bytes.extend((0..length).map(|i| [23, 3, 3, 0, 1][usize::from(i) % 5]));
        bytes
    }

    #[test]
    fn every_split_gives_the_same_count() {
        let stream: Vec<u8> = [0, 1, 5, 300, 17].into_iter().flat_map(record).collect();
        for step in 1..=stream.len() {
            let mut counter = RecordCounter::default();
            stream.chunks(step).for_each(|chunk| counter.advance(chunk));
            assert_eq!(counter.records(), 5, "steps of {step}");
            assert_eq!(counter.bytes(), stream.len() as u64);
            assert!(counter.at_boundary());
        }
    }

    #[test]
    fn an_unfinished_record_is_no_boundary() {
        let mut counter = RecordCounter::default();
        counter.advance(&record(20)[..24]);
        assert_eq!(counter.records(), 1);
        assert!(!counter.at_boundary() && counter.is_in_application_data());
        counter.advance(&[0]);
        assert!(counter.at_boundary());
        counter.advance(&[23, 3]);
        assert_eq!(counter.records(), 1);
        assert!(!counter.at_boundary() && !counter.is_in_application_data());
    }

    #[test]
    fn the_longest_length_field_is_followed() {
        let mut counter = RecordCounter::default();
        counter.advance(&record(u16::MAX));
        counter.advance(&record(1));
        assert_eq!(counter.records(), 2);
        assert!(counter.at_boundary());
    }
}
