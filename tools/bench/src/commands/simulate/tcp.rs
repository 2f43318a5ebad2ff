//! A model of one TCP connection, from a sender to a receiver, in virtual time.
//!
//! Time counts from the moment when the connection is established and both sides have keys: no
//! handshake is in any figure, but its one measurement of the round trip is known to the sender.
//!
//! In the model, as Linux does it:
//!
//! - segments of at most 1,448 bytes ([`MSS`]); each also takes 90 bytes of the link ([`FRAMING`]);
//! - an initial window of 10 segments (RFC 6928), counted in segments; slow start by the number of
//!   segments acknowledged, but not while the sender does not use its window; the window halves for
//!   each RTO without sending (RFC 5681, 4.1);
//! - TCP_NODELAY: whatever is written leaves at once if the window allows it, even if it does not fill
//!   a segment, unless more was promised (`MSG_MORE`, TCP_CORK): then for 200 ms at most;
//! - acknowledgements for every second segment, or after 40 ms;
//! - a send buffer of two windows, writable again when a third of it is free.
//!
//! The link has one bandwidth, a queue that never overflows, and half the round trip of delay each
//! way. It loses nothing, and acknowledgements take no bandwidth. Not in the model: loss, pacing,
//! reordering, the receiver's window.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use sender::Sender;

mod sender;

/// Payload bytes of a full segment: 1,500 of Ethernet less 20 of IPv4 and 32 of TCP with timestamps.
pub(crate) const MSS: usize = 1448;
/// What a segment takes of the link beside its payload: 52 bytes of headers, and 38 of Ethernet with
/// preamble and gap.
pub(crate) const FRAMING: usize = 90;
/// Segments in the initial window (RFC 6928).
pub(crate) const INITIAL_WINDOW: u64 = 10;
/// How long a receiver waits for a second segment to acknowledge.
pub(crate) const DELAYED_ACK: Duration = Duration::from_millis(40);
/// How long the kernel keeps a partial segment for which more was promised.
pub(crate) const MORE_LIMIT: Duration = Duration::from_millis(200);
/// How far the RTO stays above the measured round trip at least.
pub(crate) const MIN_RTO_VARIANCE: Duration = Duration::from_millis(200);

/// The way between the two ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Path {
    /// Twice the delay of one direction.
    pub(crate) rtt: Duration,
    /// Bits per second.
    pub(crate) bits_per_s: u64,
}

impl Path {
    /// How long the link is busy with a segment of `payload` bytes.
    #[must_use]
    pub(crate) fn serialisation(&self, payload: usize) -> Duration {
        let bits = (payload + FRAMING) as u128 * 8;
        Duration::from_nanos((bits * 1_000_000_000 / u128::from(self.bits_per_s.max(1))) as u64)
    }
}

/// What is under way: each stands for all bytes up to an offset.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Segment(u64),
    Ack(u64),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Tcp {
    path: Path,
    sender: Sender,
    /// By time, and then in the order in which they were sent.
    under_way: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    link_free: Duration,
    packets: u64,
    sent: u64,
    received: u64,
    /// When a single segment is acknowledged, if no second one comes.
    delayed_ack: Option<Duration>,
}

impl Tcp {
    /// A connection that has just been established.
    pub(crate) fn new(path: Path) -> Self {
        Self {
            path,
            sender: Sender::new(path.rtt),
            under_way: BinaryHeap::new(),
            sequence: 0,
            link_free: Duration::ZERO,
            packets: 0,
            sent: 0,
            received: 0,
            delayed_ack: None,
        }
    }

    /// Takes as many of `len` bytes as the send buffer has room for, and sends what the window allows.
    /// `more` as with `MSG_MORE`.
    pub(crate) fn send(&mut self, now: Duration, len: usize, more: bool) -> usize {
        let taken = self.sender.write(now, len, more);
        self.fill_window(now);
        taken
    }

    /// When [`advance`](Self::advance) has something to do next.
    pub(crate) fn next_time(&self) -> Option<Duration> {
        let arrival = self.under_way.peek().map(|Reverse((time, ..))| *time);
        [arrival, self.sender.deadline(), self.delayed_ack].into_iter().flatten().min()
    }

    /// Lets everything happen that is due by `now`.
    pub(crate) fn advance(&mut self, now: Duration) {
        while self.under_way.peek().is_some_and(|Reverse((time, ..))| *time <= now) {
            match self.under_way.pop() {
                Some(Reverse((_, _, Event::Segment(upto)))) => {
                    self.received = upto;
                    if self.delayed_ack.is_some() {
                        self.acknowledge(now);
                    } else {
                        self.delayed_ack = Some(now + DELAYED_ACK);
                    }
                }
                Some(Reverse((_, _, Event::Ack(upto)))) => self.sender.acknowledged(now, upto),
                None => {}
            }
        }
        if self.delayed_ack.is_some_and(|due| due <= now) {
            self.acknowledge(now);
        }
        self.sender.timeout(now);
        self.fill_window(now);
    }

    /// Bytes that have arrived.
    pub(crate) fn delivered(&self) -> u64 {
        self.received
    }

    /// Segments sent.
    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    /// The longest time for which a partial segment waited because more had been promised.
    pub(crate) fn longest_hold(&self) -> Duration {
        self.sender.longest_hold()
    }

    fn fill_window(&mut self, now: Duration) {
        while let Some(len) = self.sender.next_segment(now) {
            self.packets += 1;
            self.sent += len;
            self.link_free = self.link_free.max(now) + self.path.serialisation(len as usize);
            self.put_under_way(self.link_free + self.path.rtt / 2, Event::Segment(self.sent));
        }
    }

    fn acknowledge(&mut self, now: Duration) {
        self.delayed_ack = None;
        self.put_under_way(now + self.path.rtt / 2, Event::Ack(self.received));
    }

    fn put_under_way(&mut self, arrival: Duration, event: Event) {
        self.sequence += 1;
        self.under_way.push(Reverse((arrival, self.sequence, event)));
    }
}

#[cfg(test)]
mod tests;
