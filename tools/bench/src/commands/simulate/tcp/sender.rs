//! The sending end: what may leave when.

use std::collections::VecDeque;
use std::time::Duration;

use super::{INITIAL_WINDOW, MIN_RTO_VARIANCE, MORE_LIMIT, MSS};

/// A segment that has been sent and not yet been acknowledged together with all before it.
#[derive(Debug)]
struct Sent {
    end: u64,
    at: Duration,
}

#[derive(Debug)]
pub(super) struct Sender {
    /// Offsets: `acknowledged ≤ sent ≤ written`.
    acknowledged: u64,
    sent: u64,
    written: u64,
    unacknowledged: VecDeque<Sent>,
    /// The congestion window, in segments.
    window: u64,
    /// The most segments on the way while the window that ends at `.1` was sent.
    most_under_way: (u64, u64),
    largest_window: u64,
    /// A write did not fit; the buffer counts as full until a third of it is free.
    blocked: bool,
    more: bool,
    held_since: Option<Duration>,
    longest_hold: Duration,
    round_trip: Duration,
    variance: Duration,
    last_sent: Duration,
}

impl Sender {
    /// The handshake has measured one round trip.
    pub(super) fn new(rtt: Duration) -> Self {
        Self {
            acknowledged: 0,
            sent: 0,
            written: 0,
            unacknowledged: VecDeque::new(),
            window: INITIAL_WINDOW,
            most_under_way: (0, 0),
            largest_window: INITIAL_WINDOW,
            blocked: false,
            more: false,
            held_since: None,
            longest_hold: Duration::ZERO,
            round_trip: rtt,
            variance: rtt / 2,
            last_sent: Duration::ZERO,
        }
    }

    pub(super) fn longest_hold(&self) -> Duration {
        self.longest_hold
    }

    /// When a partial segment leaves although more was promised.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.held_since.map(|since| since + MORE_LIMIT)
    }

    pub(super) fn write(&mut self, now: Duration, len: usize, more: bool) -> usize {
        let queued = self.written - self.acknowledged;
        let room = (2 * self.largest_window * MSS as u64).saturating_sub(queued);
        if self.blocked && room < queued / 2 {
            return 0;
        }
        let taken = len.min(room as usize);
        self.blocked = taken < len;
        if taken == 0 {
            return 0;
        }
        self.restart_after_idle(now);
        self.written += taken as u64;
        self.more = more;
        taken
    }

    /// The length of the segment that leaves next, if any may; to be called until none does.
    pub(super) fn next_segment(&mut self, now: Duration) -> Option<u64> {
        let len = (self.written - self.sent).min(MSS as u64);
        if len == 0 || self.unacknowledged.len() as u64 >= self.window {
            return None;
        }
        if len < MSS as u64 && self.more {
            self.held_since.get_or_insert(now);
            return None;
        }
        if let Some(since) = self.held_since.take() {
            self.longest_hold = self.longest_hold.max(now - since);
        }
        self.sent += len;
        self.unacknowledged.push_back(Sent { end: self.sent, at: now });
        self.last_sent = now;
        if self.acknowledged >= self.most_under_way.1 {
            self.most_under_way = (0, self.sent);
        }
        self.most_under_way.0 = self.most_under_way.0.max(self.unacknowledged.len() as u64);
        Some(len)
    }

    /// Everything before `upto` has arrived.
    pub(super) fn acknowledged(&mut self, now: Duration, upto: u64) {
        let mut segments = 0;
        while let Some(&Sent { end, at }) = self.unacknowledged.front()
            && end <= upto
        {
            self.unacknowledged.pop_front();
            self.measured(now - at);
            segments += 1;
        }
        self.acknowledged = upto;
        // Linux: the window may be twice what was used of it.
        if self.window < 2 * self.most_under_way.0 {
            self.window += segments;
        }
        self.largest_window = self.largest_window.max(self.window);
    }

    /// Acts on the deadline, if it is due.
    pub(super) fn timeout(&mut self, now: Duration) {
        if self.deadline().is_some_and(|due| due <= now) {
            self.more = false;
        }
    }

    /// RFC 6298, section 2.
    fn measured(&mut self, sample: Duration) {
        let error = sample.abs_diff(self.round_trip);
        self.variance = (self.variance * 3 + error) / 4;
        self.round_trip = (self.round_trip * 7 + sample) / 8;
    }

    /// Linux: half the window for each RTO in which nothing was sent, down to the initial one.
    fn restart_after_idle(&mut self, now: Duration) {
        if !self.unacknowledged.is_empty() || self.sent < self.written {
            return;
        }
        let rto = self.round_trip + (self.variance * 4).max(MIN_RTO_VARIANCE);
        let mut idle = now - self.last_sent;
        while idle > rto && self.window > INITIAL_WINDOW {
            idle -= rto;
            self.window = (self.window / 2).max(INITIAL_WINDOW);
        }
    }

    #[cfg(test)]
    pub(super) fn window(&self) -> u64 {
        self.window
    }
}
