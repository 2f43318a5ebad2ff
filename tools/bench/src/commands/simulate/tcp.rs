//! A model of one TCP connection, from a sender to a receiver, in virtual time.
//!
//! Time counts from the moment when the connection is established and both sides have keys: no
//! handshake is in any figure, but its one measurement of the round trip is known to the sender.
//!
//! In the model, as Linux does it:
//!
//! - segments of at most 1,448 bytes ([`MSS`]); each also takes 90 bytes of the link ([`FRAMING`]);
//! - an initial window of 10 segments (RFC 6928), counted in segments; slow start by the number of
//!   segments acknowledged, congestion avoidance by one segment for each window, and neither while
//!   the sender does not use its window; the window halves for each RTO without sending (RFC 5681, 4.1);
//! - TCP_NODELAY: whatever is written leaves at once if the window allows it, even if it does not fill
//!   a segment, unless more was promised (`MSG_MORE`, TCP_CORK): then for 200 ms at most;
//! - acknowledgements for every second segment, or after 40 ms; at once when something is missing;
//! - selective acknowledgements: what has three later segments acknowledged counts as lost and is
//!   sent again (RFC 6675), the window halved; RTO as in RFC 6298, 200 ms above the round trip at least;
//! - a send buffer of two windows, writable again when a third of it is free.
//!
//! The link has one bandwidth, a queue that never overflows, half the round trip of delay each way,
//! and loses each segment with the same probability. Acknowledgements take no bandwidth and are not lost.
//! Not in the model: pacing, CUBIC's growth, tail loss probes, reordering, the receiver's window.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tls_cork_testing::content;

use receiver::{Ack, Receiver};
use sender::Sender;

mod receiver;
mod sender;

/// Payload bytes of a full segment: 1,500 of Ethernet less 20 of IPv4 and 32 of TCP with timestamps.
pub const MSS: usize = 1448;
/// What a segment takes of the link beside its payload: 52 bytes of headers, and 38 of Ethernet with
/// preamble and gap.
pub const FRAMING: usize = 90;
/// Segments in the initial window (RFC 6928).
pub const INITIAL_WINDOW: u64 = 10;
/// How long a receiver waits for a second segment to acknowledge.
pub const DELAYED_ACK: Duration = Duration::from_millis(40);
/// How long the kernel keeps a partial segment for which more was promised.
pub const MORE_LIMIT: Duration = Duration::from_millis(200);
/// How far the RTO stays above the measured round trip at least.
pub const MIN_RTO_VARIANCE: Duration = Duration::from_millis(200);

/// The way between the two ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// Twice the delay of one direction.
    pub rtt: Duration,
    /// Bits per second.
    pub bits_per_s: u64,
    /// Probability with which a segment is lost.
    pub loss: f64,
}

impl Path {
    /// How long the link is busy with a segment of `payload` bytes.
    #[must_use]
    pub fn serialisation(&self, payload: usize) -> Duration {
        let bits = (payload + FRAMING) as u128 * 8;
        Duration::from_nanos((bits * 1_000_000_000 / u128::from(self.bits_per_s.max(1))) as u64)
    }
}

/// What is under way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Segment { start: u64, end: u64 },
    Ack(Ack),
}

/// One connection.
#[derive(Debug)]
pub struct Tcp {
    path: Path,
    sender: Sender,
    receiver: Receiver,
    /// By time, and then in the order in which they were sent.
    under_way: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    link_free: Duration,
    random: u64,
    packets: u64,
    resent: u64,
    /// Numbers of segments to lose, from 1.
    #[cfg(test)]
    lose: Vec<u64>,
}

impl Tcp {
    /// A connection that has just been established; `seed` decides which segments are lost.
    #[must_use]
    pub fn new(path: Path, seed: u64) -> Self {
        Self {
            path,
            sender: Sender::new(path.rtt),
            receiver: Receiver::default(),
            under_way: BinaryHeap::new(),
            sequence: 0,
            link_free: Duration::ZERO,
            random: seed,
            packets: 0,
            resent: 0,
            #[cfg(test)]
            lose: Vec::new(),
        }
    }

    /// Takes as many of `len` bytes as the send buffer has room for, and sends what the window allows.
    /// `more` as with `MSG_MORE`.
    pub fn send(&mut self, now: Duration, len: usize, more: bool) -> usize {
        let taken = self.sender.write(now, len, more);
        self.fill_window(now);
        taken
    }

    /// When [`advance`](Self::advance) has something to do next.
    #[must_use]
    pub fn next_time(&self) -> Option<Duration> {
        let arrival = self.under_way.peek().map(|Reverse((time, ..))| *time);
        [arrival, self.sender.deadline(), self.receiver.deadline()].into_iter().flatten().min()
    }

    /// Lets everything happen that is due by `now`.
    pub fn advance(&mut self, now: Duration) {
        while let Some(Reverse((time, ..))) = self.under_way.peek()
            && *time <= now
        {
            let Some(Reverse((_, _, event))) = self.under_way.pop() else {
                break;
            };
            match event {
                Event::Segment { start, end } => {
                    let ack = self.receiver.segment(now, start, end);
                    self.acknowledge(now, ack);
                }
                Event::Ack(ack) => self.sender.acknowledged(now, &ack),
            }
        }
        let ack = self.receiver.timeout(now);
        self.acknowledge(now, ack);
        self.sender.timeout(now);
        self.fill_window(now);
    }

    /// Bytes that have arrived without a gap.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.receiver.received()
    }

    /// Segments sent, first time or again.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Segments sent again.
    #[must_use]
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// The longest time for which a partial segment waited because more had been promised.
    #[must_use]
    pub fn longest_hold(&self) -> Duration {
        self.sender.longest_hold()
    }

    fn fill_window(&mut self, now: Duration) {
        while let Some(segment) = self.sender.next_segment(now) {
            self.packets += 1;
            self.resent += u64::from(segment.again);
            self.link_free = self.link_free.max(now) + self.path.serialisation((segment.end - segment.start) as usize);
            if self.is_lost() {
                continue;
            }
            let arrival = self.link_free + self.path.rtt / 2;
            self.put_under_way(arrival, Event::Segment { start: segment.start, end: segment.end });
        }
    }

    fn acknowledge(&mut self, now: Duration, ack: Option<Ack>) {
        if let Some(ack) = ack {
            self.put_under_way(now + self.path.rtt / 2, Event::Ack(ack));
        }
    }

    fn put_under_way(&mut self, arrival: Duration, event: Event) {
        self.sequence += 1;
        self.under_way.push(Reverse((arrival, self.sequence, event)));
    }

    fn is_lost(&mut self) -> bool {
        #[cfg(test)]
        if self.lose.contains(&self.packets) {
            return true;
        }
        let random = content::next(&mut self.random) >> 11;
        (random as f64) < self.path.loss * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
