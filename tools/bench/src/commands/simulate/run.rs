//! One connection: a trace, a policy and a path, from the first write to the last byte.

use std::time::Duration;

use tls_cork_programs::Failure;

use super::policies::{Kind, Writer};
use super::tcp::{Path, Tcp};
use super::trace::Trace;

/// What came of one run. Times count from the trace's first write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// Records made.
    pub(crate) records: u64,
    /// Bytes of those records.
    pub(crate) wire_bytes: u64,
    /// TCP segments sent.
    pub(crate) packets: u64,
    /// When the receiver has its first whole record.
    pub(crate) first_usable: Option<Duration>,
    /// When the receiver can read the last byte; `None` if the policy never sent it.
    pub(crate) completion: Option<Duration>,
    /// For each piece that arrived, in order: from its time in the trace until the receiver can read its last byte.
    pub(crate) delays: Vec<Duration>,
    /// The longest time for which the policy, or the kernel on its behalf, held something back.
    pub(crate) longest_hold: Duration,
    /// Plaintext bytes that the receiver can read at the end.
    pub(crate) usable: u64,
    /// The most bytes that waited in the process.
    pub(crate) peak_waiting: usize,
    /// The bytes that wait at the end.
    pub(crate) waiting: usize,
}

/// Runs `trace` through a policy of this kind.
///
/// # Errors
///
/// When tls-cork fails: a fault.
pub(crate) fn run(trace: &Trace, kind: Kind, path: Path) -> Result<Outcome, Failure> {
    let mut connection = Connection {
        trace,
        tcp: Tcp::new(path),
        writer: kind.writer()?,
        next: 0,
        accepted: 0,
        read: Reader::default(),
        peak_waiting: 0,
    };
    let mut now = Duration::ZERO;
    connection.step(now)?;
    while let Some(next) = connection.next_time(now) {
        now = next;
        connection.step(now)?;
    }
    Ok(connection.outcome())
}

struct Connection<'t> {
    trace: &'t Trace,
    tcp: Tcp,
    writer: Box<dyn Writer>,
    /// The write that is due next, and how much of it has been accepted.
    next: usize,
    accepted: usize,
    read: Reader,
    peak_waiting: usize,
}

/// What the receiver has made of the bytes so far.
#[derive(Default)]
struct Reader {
    records: usize,
    usable: u64,
    first: Option<Duration>,
    /// Where the pieces end that are not usable yet, from this one on.
    pieces: usize,
    piece_end: u64,
    arrivals: Vec<Duration>,
}

impl Connection<'_> {
    fn step(&mut self, now: Duration) -> Result<(), Failure> {
        self.tcp.advance(now);
        self.receive(now);
        if self.writer.deadline().is_some_and(|due| due <= now) {
            self.writer.handle_timeout(now);
        }
        self.writer.transmit(now, &mut self.tcp)?;
        while let Some(write) = self.trace.writes.get(self.next)
            && write.time <= now
        {
            let taken = self.writer.write(now, write.len - self.accepted, write.more)?;
            self.writer.transmit(now, &mut self.tcp)?;
            self.accepted += taken;
            if self.accepted == write.len {
                self.next += 1;
                self.accepted = 0;
            } else if taken == 0 {
                break;
            }
        }
        self.peak_waiting = self.peak_waiting.max(self.writer.waiting());
        Ok(())
    }

    /// When something happens next. A write that did not fit waits for the connection.
    fn next_time(&self, now: Duration) -> Option<Duration> {
        let write = self.trace.writes.get(self.next).map(|w| w.time).filter(|time| *time > now);
        let deadline = self.writer.deadline().map(|due| due.max(now));
        [write, deadline, self.tcp.next_time()].into_iter().flatten().min()
    }

    /// Only whole records can be decrypted.
    fn receive(&mut self, now: Duration) {
        let delivered = self.tcp.delivered();
        let read = &mut self.read;
        while let Some(end) = self.writer.records().get(read.records)
            && end.wire <= delivered
        {
            read.records += 1;
            read.usable = end.plaintext;
            read.first.get_or_insert(now);
        }
        while let Some(piece) = self.trace.writes.get(read.pieces)
            && read.piece_end + piece.len as u64 <= read.usable
        {
            read.piece_end += piece.len as u64;
            read.pieces += 1;
            read.arrivals.push(now);
        }
    }

    fn outcome(self) -> Outcome {
        let writes = &self.trace.writes;
        let start = writes.first().map_or(Duration::ZERO, |w| w.time);
        let records = self.writer.records();
        let all = self.read.pieces == writes.len();
        Outcome {
            records: records.len() as u64,
            wire_bytes: records.last().map_or(0, |end| end.wire),
            packets: self.tcp.packets(),
            first_usable: self.read.first.map(|at| at - start),
            completion: self.read.arrivals.last().filter(|_| all).map(|at| *at - start),
            delays: self.read.arrivals.iter().zip(writes).map(|(at, write)| *at - write.time).collect(),
            longest_hold: self.writer.longest_hold().max(self.tcp.longest_hold()),
            usable: self.read.usable,
            peak_waiting: self.peak_waiting,
            waiting: self.writer.waiting(),
        }
    }
}

#[cfg(test)]
mod tests;
