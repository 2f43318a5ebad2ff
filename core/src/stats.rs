//! The counters of a policy.

use std::fmt;
use std::time::Duration;

use crate::hold::Batch;
use crate::{FlushDecision, FlushReason};

/// Counters of one connection's outbound half, since its start. None of them decreases.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records of application data sealed.
    pub records: u64,
    /// Plaintext bytes sealed into those records.
    pub plaintext_bytes: u64,
    /// Wire bytes that the transport took, in records of every kind: handshake and alerts too.
    pub wire_bytes: u64,
    /// Plaintext bytes that were copied into the buffer. The rest was sealed from the caller's
    /// slices or kept as shared [`Bytes`](bytes::Bytes).
    pub copied_bytes: u64,
    /// Sends in which the transport took bytes, and buffers taken by
    /// [`take_transmit`](crate::CorkPolicy::take_transmit).
    pub transmits: u64,
    /// The longest time from a first held byte to its release. For a tail that filled up a record
    /// (reason [`Filled`](FlushReason::Filled)), the time up to the last write.
    pub longest_hold: Duration,
    /// The largest batch sealed at one time, in plaintext bytes.
    pub largest_batch: u64,
    flushes: [u64; FlushReason::ALL.len()],
}

impl Stats {
    /// The number of releases that had this reason.
    pub fn flushes(&self, reason: FlushReason) -> u64 {
        self.flushes[reason as usize]
    }

    #[inline]
    pub(crate) fn count_flush(&mut self, reason: FlushReason) {
        self.flushes[reason as usize] += 1;
    }

    #[inline]
    pub(crate) fn count_copied(&mut self, bytes: usize) {
        self.copied_bytes += bytes as u64;
    }

    /// Counts `batch`, sealed into `records` records.
    #[inline]
    pub(crate) fn count_sealed(&mut self, batch: Batch, records: usize) {
        if batch.filled > 0 {
            self.count_flush(FlushReason::Filled);
        }
        self.records += records as u64;
        self.plaintext_bytes += batch.len as u64;
        self.largest_batch = self.largest_batch.max(batch.len as u64);
    }

    /// Counts one send in which the transport took `bytes` wire bytes.
    #[inline]
    pub(crate) fn count_sent(&mut self, bytes: usize) {
        self.transmits += u64::from(bytes > 0);
        self.wire_bytes += bytes as u64;
    }
}

/// Each counter by its name. Of the reasons, only those that occurred.
impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("records", &self.records)
            .field("plaintext_bytes", &self.plaintext_bytes)
            .field("wire_bytes", &self.wire_bytes)
            .field("copied_bytes", &self.copied_bytes)
            .field("transmits", &self.transmits)
            .field("longest_hold", &self.longest_hold)
            .field("largest_batch", &self.largest_batch)
            .field("flushes", &Flushes(self))
            .finish()
    }
}

struct Flushes<'a>(&'a Stats);

impl fmt::Debug for Flushes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = FlushReason::ALL.iter().map(|reason| (reason, self.0.flushes(*reason)));
        f.debug_map().entries(counts.filter(|(_, count)| *count > 0)).finish()
    }
}

impl FlushDecision {
    /// Counts the release, if it is one.
    #[inline]
    pub(crate) fn counted(self, stats: &mut Stats) -> Self {
        if let Self::Flush { reason, .. } = self {
            stats.count_flush(reason);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let mut stats = Stats::default();
        for (n, reason) in FlushReason::ALL.iter().copied().enumerate() {
            for _ in 0..=n {
                stats.count_flush(reason);
            }
        }
        for (n, reason) in FlushReason::ALL.iter().copied().enumerate() {
            assert_eq!(stats.flushes(reason), n as u64 + 1, "{reason:?}");
        }
    }

    #[test]
    fn its_debug_text_names_the_reasons_that_occurred() {
        let mut stats = Stats { records: 9, ..Stats::default() };
        stats.count_flush(FlushReason::Deadline);
        stats.count_flush(FlushReason::Deadline);
        stats.count_flush(FlushReason::Close);
        let text = format!("{stats:?}");
        assert!(text.contains("records: 9") && text.contains("flushes: {Deadline: 2, Close: 1}"), "{text}");
        // A new counter has to be added to the text.
        assert_eq!(text.matches(": ").count(), 8 + 2, "{text}");
    }
}
