//! The receiving end: puts segments in order, and acknowledges them.

use std::time::Duration;

use super::DELAYED_ACK;

/// What the receiver tells the sender.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ack {
    /// Everything before this has arrived.
    pub(super) upto: u64,
    /// And so have these ranges, in order.
    pub(super) beyond: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Receiver {
    received: u64,
    /// What has arrived behind a gap: ranges that do not touch, in order.
    beyond: Vec<(u64, u64)>,
    /// When a single segment is acknowledged, if no second one comes.
    delayed: Option<Duration>,
}

impl Receiver {
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.delayed
    }

    /// A segment has arrived; the acknowledgement, if it is to be sent now.
    pub(super) fn segment(&mut self, now: Duration, start: u64, end: u64) -> Option<Ack> {
        let in_order = start <= self.received && self.received < end && self.beyond.is_empty();
        self.insert(start.max(self.received), end);
        if in_order && self.delayed.is_none() {
            self.delayed = Some(now + DELAYED_ACK);
            return None;
        }
        Some(self.ack())
    }

    pub(super) fn timeout(&mut self, now: Duration) -> Option<Ack> {
        self.delayed.is_some_and(|due| due <= now).then(|| self.ack())
    }

    fn ack(&mut self) -> Ack {
        self.delayed = None;
        Ack { upto: self.received, beyond: self.beyond.clone() }
    }

    fn insert(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        self.beyond.retain(|&(other_start, other_end)| {
            let touches = other_start <= end && start <= other_end;
            if touches {
                start = start.min(other_start);
                end = end.max(other_end);
            }
            !touches
        });
        if start <= self.received {
            self.received = end;
            return;
        }
        let place = self.beyond.partition_point(|&(other, _)| other < start);
        self.beyond.insert(place, (start, end));
    }
}
