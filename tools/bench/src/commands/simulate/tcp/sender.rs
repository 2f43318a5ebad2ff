//! The sending end: what may leave when, and what has to leave again.

use std::collections::VecDeque;
use std::time::Duration;

use super::receiver::Ack;
use super::{INITIAL_WINDOW, MIN_RTO_VARIANCE, MORE_LIMIT, MSS};

/// Later segments that must have arrived before a missing one counts as lost (RFC 6675).
const REORDERING: usize = 3;

/// A segment that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) again: bool,
}

/// A segment that has been sent and not yet been acknowledged together with all before it.
#[derive(Debug)]
struct Sent {
    start: u64,
    end: u64,
    at: Duration,
    arrived: bool,
    lost: bool,
    again: bool,
}

impl Sent {
    /// Whether it is thought to be on the way.
    fn is_under_way(&self) -> bool {
        !self.arrived && (!self.lost || self.again)
    }
}

#[derive(Debug)]
pub(super) struct Sender {
    /// Offsets: `acknowledged ≤ sent ≤ written`.
    acknowledged: u64,
    sent: u64,
    written: u64,
    unacknowledged: VecDeque<Sent>,
    /// Segments thought to be on the way.
    under_way: u64,
    /// Segments that are lost and have not been sent again.
    to_resend: usize,
    /// The congestion window, in segments, and the part of the next one that has been earned.
    window: u64,
    earned: u64,
    threshold: u64,
    /// Until this has been acknowledged, further losses belong to the same event.
    recovery: Option<u64>,
    /// The most segments on the way while the window that ends at `.1` was sent.
    most_under_way: (u64, u64),
    fast_resend: bool,
    /// The last attempt to send failed for want of window.
    limited: bool,
    largest_window: u64,
    /// A write did not fit; the buffer counts as full until a third of it is free.
    blocked: bool,
    more: bool,
    held_since: Option<Duration>,
    longest_hold: Duration,
    round_trip: Duration,
    variance: Duration,
    backoff: u32,
    rto_due: Option<Duration>,
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
            under_way: 0,
            to_resend: 0,
            window: INITIAL_WINDOW,
            earned: 0,
            threshold: u64::MAX,
            recovery: None,
            most_under_way: (0, 0),
            fast_resend: false,
            limited: false,
            largest_window: INITIAL_WINDOW,
            blocked: false,
            more: false,
            held_since: None,
            longest_hold: Duration::ZERO,
            round_trip: rtt,
            variance: rtt / 2,
            backoff: 0,
            rto_due: None,
            last_sent: Duration::ZERO,
        }
    }

    pub(super) fn longest_hold(&self) -> Duration {
        self.longest_hold
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let hold = self.held_since.map(|since| since + MORE_LIMIT);
        [self.rto_due, hold].into_iter().flatten().min()
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

    /// What leaves next, if anything may; call it until nothing does.
    pub(super) fn next_segment(&mut self, now: Duration) -> Option<Outgoing> {
        let window_open = self.under_way < self.window || (self.fast_resend && self.to_resend > 0);
        self.fast_resend = false;
        let fresh = (self.written - self.sent).min(MSS as u64);
        self.limited = !window_open && (fresh > 0 || self.to_resend > 0);
        if !window_open {
            return None;
        }
        if self.to_resend > 0 {
            return self.resend(now);
        }
        if fresh == 0 {
            return None;
        }
        if fresh < MSS as u64 && self.more {
            self.held_since.get_or_insert(now);
            return None;
        }
        self.end_hold(now);
        let segment = Outgoing { start: self.sent, end: self.sent + fresh, again: false };
        let Outgoing { start, end, again } = segment;
        self.unacknowledged.push_back(Sent { start, end, at: now, arrived: false, lost: false, again });
        self.sent = end;
        self.leaves(now);
        Some(segment)
    }

    pub(super) fn acknowledged(&mut self, now: Duration, ack: &Ack) {
        let mut newly = 0;
        while let Some(first) = self.unacknowledged.front()
            && first.end <= ack.upto
        {
            let Some(first) = self.unacknowledged.pop_front() else {
                break;
            };
            newly += 1;
            self.under_way -= u64::from(first.is_under_way());
            self.to_resend -= usize::from(!first.arrived && first.lost && !first.again);
            if !first.again && !first.arrived {
                self.measured(now - first.at);
            }
        }
        if newly > 0 {
            self.acknowledged = ack.upto;
            self.backoff = 0;
            self.rto_due = (!self.unacknowledged.is_empty()).then(|| now + self.rto());
            if self.recovery.is_some_and(|point| ack.upto >= point) {
                self.recovery = None;
            }
            self.grow(newly);
        }
        if !ack.beyond.is_empty() {
            self.find_losses(ack);
        }
    }

    /// Acts on timers that are due.
    pub(super) fn timeout(&mut self, now: Duration) {
        if self.held_since.is_some_and(|since| since + MORE_LIMIT <= now) {
            self.more = false;
        }
        if self.rto_due.is_none_or(|due| due > now) {
            return;
        }
        if self.backoff == 0 {
            self.halve_threshold();
        }
        self.window = 1;
        self.earned = 0;
        self.under_way = 0;
        self.recovery = None;
        self.to_resend = 0;
        for sent in self.unacknowledged.iter_mut().filter(|s| !s.arrived) {
            sent.lost = true;
            sent.again = false;
            self.to_resend += 1;
        }
        self.backoff += 1;
        self.rto_due = Some(now + self.rto());
    }

    fn resend(&mut self, now: Duration) -> Option<Outgoing> {
        let sent = self.unacknowledged.iter_mut().find(|s| s.lost && !s.again && !s.arrived)?;
        sent.again = true;
        let segment = Outgoing { start: sent.start, end: sent.end, again: true };
        self.to_resend -= 1;
        self.leaves(now);
        Some(segment)
    }

    fn leaves(&mut self, now: Duration) {
        self.under_way += 1;
        self.last_sent = now;
        if self.acknowledged >= self.most_under_way.1 {
            self.most_under_way = (0, self.sent);
        }
        self.most_under_way.0 = self.most_under_way.0.max(self.under_way);
        if self.rto_due.is_none() {
            self.rto_due = Some(now + self.rto());
        }
    }

    fn grow(&mut self, segments: u64) {
        if self.recovery.is_some() {
            return;
        }
        if self.window < self.threshold {
            // Linux: the window may be twice what was used of it.
            if self.window < 2 * self.most_under_way.0 {
                self.window = (self.window + segments).min(self.threshold);
            }
        } else if self.limited {
            self.earned += segments;
            if self.earned >= self.window {
                self.earned -= self.window;
                self.window += 1;
            }
        }
        self.largest_window = self.largest_window.max(self.window);
    }

    fn find_losses(&mut self, ack: &Ack) {
        for sent in &mut self.unacknowledged {
            let arrived = ack.beyond.iter().any(|&(start, end)| start <= sent.start && sent.end <= end);
            if arrived && !sent.arrived {
                self.under_way -= u64::from(sent.is_under_way());
                self.to_resend -= usize::from(sent.lost && !sent.again);
                sent.arrived = true;
            }
        }
        let mut later = 0;
        let mut found = 0;
        for sent in self.unacknowledged.iter_mut().rev() {
            if sent.arrived {
                later += 1;
            } else if later >= REORDERING && !sent.lost {
                sent.lost = true;
                found += 1;
            }
        }
        self.under_way -= found as u64;
        self.to_resend += found;
        if found > 0 && self.recovery.is_none() {
            self.recovery = Some(self.sent);
            self.halve_threshold();
            self.window = self.threshold;
            self.earned = 0;
            // RFC 6675, section 5, step 4.3: the first leaves whatever the window says.
            self.fast_resend = true;
        }
    }

    /// To half of what has not been acknowledged.
    fn halve_threshold(&mut self) {
        self.threshold = (self.unacknowledged.len() as u64 / 2).max(2);
    }

    fn end_hold(&mut self, now: Duration) {
        if let Some(since) = self.held_since.take() {
            self.longest_hold = self.longest_hold.max(now - since);
        }
    }

    /// RFC 6298, section 2.
    fn measured(&mut self, sample: Duration) {
        let error = sample.abs_diff(self.round_trip);
        self.variance = (self.variance * 3 + error) / 4;
        self.round_trip = (self.round_trip * 7 + sample) / 8;
    }

    fn rto(&self) -> Duration {
        let rto = self.round_trip + (self.variance * 4).max(MIN_RTO_VARIANCE);
        rto * 2u32.pow(self.backoff.min(6))
    }

    /// Linux: half the window for each RTO in which nothing was sent, down to the initial one.
    fn restart_after_idle(&mut self, now: Duration) {
        if !self.unacknowledged.is_empty() || self.sent < self.written {
            return;
        }
        let mut idle = now - self.last_sent;
        let rto = self.rto();
        while idle > rto && self.window > INITIAL_WINDOW {
            idle -= rto;
            self.threshold = self.threshold.max(self.window * 3 / 4);
            self.window = (self.window / 2).max(INITIAL_WINDOW);
        }
    }
}

#[cfg(test)]
impl Sender {
    /// Congestion window and slow start threshold, in segments.
    pub(super) fn state(&self) -> (u64, u64) {
        (self.window, self.threshold)
    }

    pub(super) fn acknowledged_segments(&self) -> u64 {
        self.acknowledged / MSS as u64
    }

    /// Segments thought to be under way, and to be sent again.
    pub(super) fn idle(&self) -> (u64, usize) {
        (self.under_way, self.to_resend)
    }
}
