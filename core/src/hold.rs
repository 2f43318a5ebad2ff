//! Every corking decision, on lengths alone.
//!
//! Offsets count plaintext bytes since the start of the stream: `written` ≥ `released` ≥ `sealed`.
//! Bytes between `released` and `written` are held.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::{CorkConfig, DynamicRecords, MAX_RECORD_SIZE};
use crate::{FlushDecision, FlushReason};

/// R1: a write of this many bytes does not gather: sealed straight from the caller's slices, its
/// records cost no copy.
const GATHER_MAX: usize = 2 * MAX_RECORD_SIZE;
/// R1: while bytes are held, a write that fills a record this long after the write before does not
/// gather: its producer takes its time, and the peer can use the full record meanwhile.
const GATHER_PAUSE: Duration = Duration::from_millis(1);
/// The number of writes in a row that may join the tail without a time.
const JOINS_WITHOUT_TIME: u8 = 15;

/// The lengths of the stream's parts, and the deadline of the held part.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    record_size: usize,
    hold_limit: usize,
    max_hold: Duration,
    ramp: Option<Ramp>,
    ready: bool,
    corked: bool,
    written: u64,
    released: u64,
    sealed: u64,
    /// Fast path: a held write that ends before this offset only extends the tail.
    joins_before: u64,
    /// Writes that joined without a time since the last write with one.
    timeless: u8,
    /// R5: `max_hold` after the first held byte. Before keys exist there is none (R6).
    deadline: Option<Instant>,
    /// R1: `Some` if `hold_limit` is more than a record. Then the end of each held write that began a
    /// record behind the first, and the deadline of that write.
    begun: Option<VecDeque<(u64, Instant)>>,
    last_write: Option<Instant>,
    longest_hold: Duration,
}

/// R13: plaintext before the offset `end` goes into small records.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    segment_size: usize,
    bytes: usize,
    idle_reset: Duration,
    end: u64,
}

impl Ramp {
    fn new(config: &DynamicRecords) -> Self {
        Self {
            segment_size: config.segment_size,
            bytes: config.ramp_bytes,
            idle_reset: config.idle_reset,
            end: config.ramp_bytes as u64,
        }
    }
}

/// The next plaintext to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) len: usize,
    pub(crate) record_size: usize,
    /// How many of the `len` bytes were held until now.
    pub(crate) filled: usize,
    /// Whether this is the largest batch that is allowed now.
    pub(crate) whole: bool,
}

impl Batch {
    /// The first `records` records of the batch.
    #[inline]
    pub(crate) fn first(self, records: usize) -> Self {
        let len = self.len.min(records.saturating_mul(self.record_size));
        Self { len, filled: self.filled.saturating_sub(self.len - len), ..self }
    }
}

impl Hold {
    /// `max_record` is the largest plaintext of the session's records, over zero. `config` must be
    /// valid.
    pub(crate) fn new(config: &CorkConfig, max_record: usize, ready: bool) -> Self {
        let record_size = config.record_size.min(max_record);
        let hold_limit = config.get_hold_limit();
        let gathers = hold_limit > config.record_size;
        Self {
            record_size,
            hold_limit: if gathers { hold_limit } else { hold_limit.min(record_size) },
            max_hold: config.max_hold,
            ramp: config.dynamic_records.as_ref().map(Ramp::new),
            ready,
            corked: config.corked,
            written: 0,
            released: 0,
            sealed: 0,
            joins_before: 0,
            timeless: 0,
            deadline: None,
            begun: gathers.then(VecDeque::new),
            last_write: None,
            longest_hold: Duration::ZERO,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Plaintext bytes accepted and not yet sealed: released and held.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        (self.written - self.sealed) as usize
    }

    /// Plaintext bytes released and not yet sealed.
    pub(crate) fn unsealed(&self) -> usize {
        (self.released - self.sealed) as usize
    }

    pub(crate) fn held(&self) -> usize {
        (self.written - self.released) as usize
    }

    /// The offset up to which plaintext may leave.
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    pub(crate) fn record_size(&self) -> usize {
        self.record_size
    }

    pub(crate) fn longest_hold(&self) -> Duration {
        self.longest_hold
    }

    pub(crate) fn last_write(&self) -> Option<Instant> {
        self.last_write
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// R3: adds `len` bytes to the held tail and returns true if the write does nothing else. The
    /// deadline already runs then.
    #[inline]
    pub(crate) fn join(&mut self, len: usize, more: bool) -> bool {
        // Less than a record, so never a write that does not gather.
        let written = self.written + len as u64;
        let joins = written < self.joins_before && (more || self.corked);
        if joins {
            self.written = written;
        }
        joins
    }

    /// As [`join`](Self::join), for a write without a time. False also after a number of them: the
    /// next write needs one.
    #[inline]
    pub(crate) fn join_timeless(&mut self, len: usize, more: bool) -> bool {
        let joins = self.timeless < JOINS_WITHOUT_TIME && self.join(len, more);
        self.timeless += u8::from(joins);
        joins
    }

    #[inline]
    pub(crate) fn wrote(&mut self, now: Instant) {
        self.last_write = Some(now);
        self.timeless = 0;
    }

    /// Fast path of [`write`](Self::write): a write of `len` bytes without `MORE`, when nothing is held.
    /// It releases itself. Otherwise returns false and records nothing.
    #[inline]
    pub(crate) fn write_last(&mut self, now: Instant, len: usize, more: bool) -> bool {
        let nothing_held = self.released == self.written;
        let is_last = len > 0 && !more && !self.corked && self.ready && nothing_held && self.ramp.is_none();
        if is_last {
            self.wrote(now);
            self.written += len as u64;
            self.released = self.written;
        }
        is_last
    }

    /// Records that `len` bytes were accepted and decides what is released. `more` is true if the
    /// write had the flag, `short` if it was accepted in part.
    pub(crate) fn write(&mut self, now: Instant, len: usize, more: bool, short: bool) -> FlushDecision {
        let (before, last_write) = (self.written, self.last_write);
        self.restart_ramp(now);
        self.wrote(now);
        self.written += len as u64;
        // R6: before keys exist, all plaintext waits and no deadline runs.
        if !self.ready {
            return self.wait();
        }
        let completes = !more && !short && !self.corked;
        if completes {
            // R2: a write without `MORE`, while uncorked, releases everything.
            return self.release(now, self.written, FlushReason::Last);
        }
        // R1: up to `hold_limit` bytes are held. Over it, full records leave, and a tail that is still
        // over it.
        let gathers = self.begun.is_some() && len < GATHER_MAX && !short && self.held() <= self.hold_limit;
        let boundary = self.last_boundary();
        let fills_late = || {
            let last = last_write.filter(|_| before > self.released && boundary > before);
            last.is_some_and(|last| now.saturating_duration_since(last) >= GATHER_PAUSE)
        };
        let whole = if gathers && !fills_late() { 0 } else { boundary };
        let tail = self.held().min((self.written - whole) as usize);
        let decision = if tail > self.hold_limit {
            self.release(now, self.written, FlushReason::HoldLimit)
        } else {
            self.release(now, whole, FlushReason::RecordFull)
        };
        // R3, R5: the rest is held, and its first byte arms the deadline.
        if self.held() > 0 {
            let _ = self.deadline.get_or_insert(now + self.max_hold);
            let limit = self.released + self.hold_limit as u64 + 1;
            let mut record = self.sealed + self.record_size_at(self.sealed) as u64;
            if self.begun.is_some() && record < self.written {
                record = self.began_records(before, boundary, now);
            }
            self.joins_before = limit.min(record);
        }
        match decision {
            FlushDecision::Hold { .. } => self.wait(),
            flush => flush,
        }
    }

    /// R5: notes the deadline of a write that began a held record behind the first. `last` is the last
    /// boundary of records. Returns the offset before which further writes fill none.
    #[inline(never)] // keeps the path of a single record short
    fn began_records(&mut self, before: u64, last: u64, now: Instant) -> u64 {
        if before < self.written
            && last >= before
            && last > self.released
            && let Some(begun) = &mut self.begun
        {
            begun.push_back((self.written, now + self.max_hold));
        }
        // Behind released bytes, a write within the limit may exceed that of the buffer.
        if self.unsealed() == 0 { last + self.record_size_at(last) as u64 } else { 0 }
    }

    pub(crate) fn cork(&mut self) {
        self.corked = true;
    }

    pub(crate) fn is_corked(&self) -> bool {
        self.corked
    }

    pub(crate) fn uncork(&mut self, now: Instant) -> FlushDecision {
        self.corked = false;
        self.release_all(now, FlushReason::Uncork)
    }

    /// R6: keys exist now; everything that waited for them is released.
    pub(crate) fn keys_exist(&mut self, now: Instant) -> FlushDecision {
        self.ready = true;
        self.release_all(now, FlushReason::HandshakeDone)
    }

    /// R5: releases the tail if its deadline has come.
    pub(crate) fn timeout(&mut self, now: Instant) -> FlushDecision {
        match self.deadline() {
            Some(deadline) if deadline <= now => self.release_all(now, FlushReason::Deadline),
            _ => self.wait(),
        }
    }

    /// R10, R11, R12: releases everything, unless keys are still missing (R6).
    pub(crate) fn release_all(&mut self, now: Instant, reason: FlushReason) -> FlushDecision {
        if !self.ready {
            return self.wait();
        }
        self.release(now, self.written, reason)
    }

    /// Takes back the last `len` bytes, which were not accepted after all.
    pub(crate) fn unwrite(&mut self, len: usize) {
        self.written -= len as u64;
        self.released = self.released.min(self.written);
    }

    /// Forgets all plaintext that waits; returns its length.
    pub(crate) fn discard(&mut self) -> usize {
        let discarded = self.waiting();
        self.written = self.sealed;
        self.released = self.sealed;
        self.deadline = None;
        self.begun.iter_mut().for_each(|begun| begun.clear());
        self.joins_before = 0;
        discarded
    }

    /// The largest next batch: full records of one size, up to `limit` bytes, at least one record.
    pub(crate) fn largest_batch(&self, limit: usize) -> usize {
        let record_size = self.record_size_at(self.sealed);
        let records = (limit / record_size).max(1);
        match &self.ramp {
            Some(ramp) if self.sealed < ramp.end => {
                let small = (ramp.end - self.sealed).div_ceil(record_size as u64);
                small.min(records as u64) as usize * record_size
            }
            _ => records * record_size,
        }
    }

    /// The next batch: all that is released, up to [`largest_batch`](Self::largest_batch).
    ///
    /// R7: if the last record is not full, it is filled up with held bytes.
    #[inline]
    pub(crate) fn next_batch(&self, limit: usize) -> Batch {
        let record_size = self.record_size_at(self.sealed);
        let waiting = self.waiting();
        if 0 < self.unsealed() && waiting < record_size {
            // Fast path: everything, in one record.
            return Batch { len: waiting, record_size, filled: waiting - self.unsealed(), whole: false };
        }
        self.next_records(limit, record_size)
    }

    #[inline(never)] // keeps the path of a single record short
    fn next_records(&self, limit: usize, record_size: usize) -> Batch {
        let waiting = self.waiting();
        let most = self.largest_batch(limit) as u64;
        let full = (self.unsealed() as u64).div_ceil(record_size as u64) * record_size as u64;
        let len = most.min(full).min(waiting as u64) as usize;
        let filled = len.saturating_sub(self.unsealed());
        Batch { len, record_size, filled, whole: len as u64 == most }
    }

    /// Records that `batch` was sealed.
    #[inline]
    pub(crate) fn sealed(&mut self, batch: Batch) {
        self.sealed += batch.len as u64;
        if self.released < self.sealed {
            self.move_released(self.last_write, self.sealed);
        }
    }

    fn release(&mut self, now: Instant, to: u64, reason: FlushReason) -> FlushDecision {
        if to <= self.released {
            return self.wait();
        }
        let bytes = (to - self.released) as usize;
        self.move_released(Some(now), to);
        FlushDecision::Flush { bytes, reason }
    }

    /// Ends the deadline, since the byte that armed it is released. R5: the first byte that stays held
    /// has its own.
    fn move_released(&mut self, now: Option<Instant>, to: u64) {
        self.released = to;
        self.joins_before = 0;
        if let (Some(deadline), Some(now)) = (self.deadline.take(), now) {
            let held = (now + self.max_hold).saturating_duration_since(deadline);
            self.longest_hold = self.longest_hold.max(held);
        }
        if let Some(begun) = &mut self.begun {
            while begun.front().is_some_and(|(end, _)| *end <= to) {
                begun.pop_front();
            }
            self.deadline = begun.front().map(|(_, deadline)| *deadline);
        }
    }

    fn wait(&self) -> FlushDecision {
        FlushDecision::Hold { until: self.deadline() }
    }

    /// R13: after a pause in which nothing waited, records start small again.
    pub(crate) fn restart_ramp(&mut self, now: Instant) {
        let idle = self.waiting() == 0;
        if let (Some(ramp), Some(last)) = (&mut self.ramp, self.last_write)
            && idle
            && now.saturating_duration_since(last) >= ramp.idle_reset
        {
            ramp.end = self.written + ramp.bytes as u64;
        }
    }

    #[inline]
    fn record_size_at(&self, offset: u64) -> usize {
        match &self.ramp {
            Some(ramp) if offset < ramp.end => ramp.segment_size.min(self.record_size),
            _ => self.record_size,
        }
    }

    /// The offset at which the last full record ends, if records are cut from `sealed` on.
    fn last_boundary(&self) -> u64 {
        let mut offset = self.sealed;
        let small = self.record_size_at(offset) as u64;
        if self.written - offset < small {
            return offset;
        }
        if let Some(ramp) = &self.ramp
            && offset < ramp.end
        {
            let in_ramp = (ramp.end - offset).div_ceil(small);
            let whole = (self.written - offset) / small;
            if whole < in_ramp {
                return offset + whole * small;
            }
            offset += in_ramp * small;
        }
        let size = self.record_size as u64;
        offset + (self.written - offset) / size * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_the_keys_refuse_nothing_counts_as_filled() {
        let batch = Batch { len: 40, record_size: 16, filled: 12, whole: true };
        assert_eq!(batch.first(3), batch);
        assert_eq!(batch.first(2), Batch { len: 32, filled: 4, ..batch });
        assert_eq!(batch.first(1), Batch { len: 16, filled: 0, ..batch });
        assert_eq!(batch.first(usize::MAX), batch);
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // the start of virtual time
    fn no_more_is_noted_than_the_records_that_are_held() {
        let config = CorkConfig::default().record_size(100).hold_limit(350);
        let (mut hold, now) = (Hold::new(&config, MAX_RECORD_SIZE, true), Instant::now());
        for len in [130, 0, 70, 0, 0, 100, 0, 140, 10, 350, 0, 400, 99, 1].repeat(100) {
            let _ = hold.write(now, len, true, false);
            assert!(hold.begun.as_ref().is_some_and(|begun| begun.len() <= 3), "{hold:?}");
            hold.sealed(hold.next_batch(usize::MAX));
        }
        assert!(hold.held() > 0);
        let _ = hold.release_all(now, FlushReason::Flush);
        assert!(hold.begun.as_ref().is_some_and(|begun| begun.is_empty()), "{hold:?}");
    }
}
