//! The two halves of an end, whatever the driver: one that sends at random, one that reads and checks.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use tls_cork::{SendFlags, Stats};

use super::ledger::{Account, EndReport, Ledger};
use super::pattern;
use super::plan::{EndPlan, FaultPlan, Side, log_uniform};

/// How many operations come in one turn; then the other half has its own.
const BURST: usize = 16;
/// How often a wait for the other end looks.
const GLANCE: Duration = Duration::from_millis(2);
const LARGEST_READ: usize = 64 * 1024;
const LONGEST_PAUSE_MS: u64 = 70;
const LONGEST_STALL_MS: u64 = 400;
/// A stream that sends this often has shown what it can; what is left of its bytes stays unsent.
const MOST_WRITES: u32 = 1500;

/// A call of the sending half of a stream.
pub(crate) enum Call<'a> {
    Send(&'a [u8], SendFlags),
    SendVectored(&'a [IoSlice<'a>], SendFlags),
    SendBytes(&'a mut Bytes, SendFlags),
    Write(&'a [u8]),
    WriteVectored(&'a [IoSlice<'a>]),
    Cork,
    Uncork,
    Flush,
    /// Done when all that was accepted and the end of the stream have left.
    Close,
}

/// The sending half of a stream.
pub(crate) trait Outbound {
    /// Returns how many bytes were accepted. `None` is a socket's `WouldBlock`, or a future that was
    /// polled once and dropped.
    fn call(&mut self, call: Call<'_>) -> io::Result<Option<usize>>;

    fn stats(&self) -> Stats;
}

/// The receiving half; `None` as in [`Outbound::call`].
pub(crate) trait Inbound {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>>;
}

/// The halves of an end at work, and how each of them has ended.
///
/// A time that they return is when they are to be called again, at the latest; without a time, when
/// the stream can go on.
#[derive(Debug)]
pub(crate) struct Halves {
    side: Side,
    pub(crate) plan: EndPlan,
    content: u64,
    leaves: Option<FaultPlan>,
    ledger: Arc<Ledger>,
    send_rng: Rng,
    receive_rng: Rng,
    writes: u32,
    paused: Option<Instant>,
    awaits_peer: bool,
    stalled: Option<Instant>,
    sent: Vec<u8>,
    read: Vec<u8>,
    pub(crate) sending: Option<io::Result<()>>,
    pub(crate) receiving: Option<io::Result<()>>,
    /// The fault that this end has caused.
    pub(crate) left: Option<FaultPlan>,
}

impl Halves {
    /// `content` is the seed of what both ends send, `leaves` the fault that this end is to cause.
    pub(crate) fn new(side: Side, plan: EndPlan, content: u64, leaves: Option<FaultPlan>, ledger: Arc<Ledger>) -> Self {
        Self {
            side,
            content,
            leaves,
            ledger,
            send_rng: Rng::with_seed(plan.seed),
            receive_rng: Rng::with_seed(!plan.seed),
            plan,
            writes: 0,
            paused: None,
            awaits_peer: false,
            stalled: None,
            sent: Vec::new(),
            read: Vec::new(),
            sending: None,
            receiving: None,
            left: None,
        }
    }

    /// The same end for a task that reads alone.
    pub(crate) fn reader(&self) -> Self {
        Self::new(self.side, self.plan.clone(), self.content, None, Arc::clone(&self.ledger))
    }

    /// This end's part of the ledger.
    pub(crate) fn account(&self) -> &Account {
        self.ledger.end(self.side)
    }

    /// A few operations, or none if the end leaves now.
    pub(crate) fn send(&mut self, port: &mut impl Outbound, now: Instant) -> Option<Instant> {
        let accepted = self.account().accepted.get();
        if let Some(fault) = self.leaves.filter(|leaves| accepted >= leaves.at) {
            self.ledger.happen(fault);
            self.left = Some(fault);
        }
        if self.sending.is_some() || self.left.is_some() {
            return None;
        }
        self.try_send(port, now).unwrap_or_else(|error| {
            self.sending_failed(error);
            None
        })
    }

    /// A few reads.
    pub(crate) fn receive(&mut self, port: &mut impl Inbound, now: Instant) -> Option<Instant> {
        if self.receiving.is_some() {
            return None;
        }
        self.try_receive(port, now).unwrap_or_else(|error| {
            self.receiving = Some(Err(error));
            None
        })
    }

    /// What the peer said last can still be read when the transport fails; other errors end both
    /// halves.
    pub(crate) fn sending_failed(&mut self, error: io::Error) {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => self.sending = Some(Err(error)),
            _ => self.receiving = Some(Err(error)),
        }
    }

    pub(crate) fn are_over(&self) -> bool {
        self.left.is_some() || matches!((&self.sending, &self.receiving), (_, Some(Err(_))) | (Some(_), Some(_)))
    }

    pub(crate) fn report(self, stats: Stats) -> EndReport {
        EndReport {
            sending: self.sending.unwrap_or(Ok(())),
            receiving: self.receiving.unwrap_or(Ok(())),
            left: self.left.is_some(),
            stats,
        }
    }

    fn try_send(&mut self, port: &mut impl Outbound, now: Instant) -> io::Result<Option<Instant>> {
        if let Some(at) = self.paused.filter(|at| *at > now) {
            return Ok(Some(at));
        }
        self.paused = None;
        if self.awaits_peer {
            let peer = self.ledger.end(self.side.other());
            if peer.received.get() < self.account().accepted.get() && !peer.finished.is_set() {
                return self.wait_for_peer(port, now);
            }
            self.awaits_peer = false;
        }
        for _ in 0..BURST {
            let is_through = self.account().accepted.get() >= self.plan.target || self.writes >= MOST_WRITES;
            if is_through || self.ledger.hurry.is_set() {
                return self.close(port, now);
            }
            self.account().operations.add(1);
            if !self.operate(port, now)? {
                self.account().blocked.add(1);
                return Ok(None);
            }
            if self.paused.is_some() || self.awaits_peer {
                break;
            }
        }
        Ok(Some(now))
    }

    fn wait_for_peer(&self, port: &mut impl Outbound, now: Instant) -> io::Result<Option<Instant>> {
        // With its reads at their end and no deadline task, nothing else sends what is held.
        if !self.plan.attended && self.account().read_ended.is_set() {
            let _ = port.call(Call::Flush)?;
        }
        Ok(Some(now + GLANCE))
    }

    /// One operation; false if it could not go on.
    fn operate(&mut self, port: &mut impl Outbound, now: Instant) -> io::Result<bool> {
        let flags = SendFlags::more_if(self.send_rng.u8(..3) > 0);
        match self.send_rng.u8(..100) {
            0..35 => {
                let len = self.prepare();
                let sent = port.call(Call::Send(&self.sent[..len], flags));
                self.note(len, sent?)
            }
            35..50 => {
                let len = self.prepare();
                let sent = port.call(Call::SendVectored(&cut(&mut self.send_rng, &self.sent[..len]), flags));
                self.note(len, sent?)
            }
            50..65 => {
                let len = self.prepare();
                let mut data = Bytes::copy_from_slice(&self.sent[..len]);
                let sent = port.call(Call::SendBytes(&mut data, flags));
                // What counts is what has left `data`, also if the future was dropped or failed.
                let taken = len - data.len();
                self.ledger.accept(self.side, taken);
                match sent? {
                    Some(n) if n != taken => Err(wrong(format!("send_bytes returned {n}, but took {taken}"))),
                    sent => Ok(sent.is_some()),
                }
            }
            65..73 => {
                let len = self.prepare();
                let written = port.call(Call::Write(&self.sent[..len]));
                self.note(len, written?)
            }
            73..80 => {
                let len = self.prepare();
                let written = port.call(Call::WriteVectored(&cut(&mut self.send_rng, &self.sent[..len])));
                self.note(len, written?)
            }
            80..84 => Ok(port.call(Call::Cork)?.is_some()),
            84..88 => Ok(port.call(Call::Uncork)?.is_some()),
            88..97 => Ok(port.call(Call::Flush)?.is_some()),
            97 => {
                // Deadlines come.
                let pause = log_uniform(&mut self.send_rng, 1, LONGEST_PAUSE_MS);
                self.paused = Some(now + Duration::from_millis(pause));
                Ok(true)
            }
            _ => {
                // Until the other end has all that was sent so far, without a flush.
                self.awaits_peer = true;
                Ok(true)
            }
        }
    }

    /// Closes, then checks that nothing more is taken.
    fn close(&mut self, port: &mut impl Outbound, now: Instant) -> io::Result<Option<Instant>> {
        if self.plan.closes_last && !self.account().read_ended.is_set() {
            if !self.plan.attended {
                // Nothing may stay behind meanwhile.
                let _ = port.call(Call::Flush)?;
            }
            return Ok(Some(now + GLANCE));
        }
        self.account().closed.set();
        if port.call(Call::Close)?.is_some() {
            match port.call(Call::Send(b"late", SendFlags::NONE)) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.sending = Some(Ok(())),
                late => return Err(wrong(format!("a write after close: {late:?}"))),
            }
        }
        Ok(None)
    }

    /// Prepares the next bytes; returns how many.
    fn prepare(&mut self) -> usize {
        self.writes += 1;
        let accepted = self.account().accepted.get();
        let largest = if self.send_rng.bool() { self.plan.largest } else { self.plan.largest.min(3000) };
        let len = log_uniform(&mut self.send_rng, 1, largest as u64 + 1) - 1;
        let len = len.min(self.plan.target - accepted) as usize;
        self.sent.resize(len.max(self.sent.len()), 0);
        pattern::fill(self.content ^ self.side as u64, accepted, &mut self.sent[..len]);
        len
    }

    /// Checks what a write of `offered` bytes returned; false if it could not go on.
    fn note(&mut self, offered: usize, taken: Option<usize>) -> io::Result<bool> {
        match taken {
            None => return Ok(false),
            Some(0) if offered > 0 => return Err(wrong("a write took nothing and returned no error")),
            Some(n) if n > offered => return Err(wrong(format!("a write of {offered} bytes took {n}"))),
            Some(n) => self.ledger.accept(self.side, n),
        }
        Ok(true)
    }

    fn try_receive(&mut self, port: &mut impl Inbound, now: Instant) -> io::Result<Option<Instant>> {
        if let Some(at) = self.stalled.filter(|at| *at > now) {
            return Ok(Some(at));
        }
        self.stalled = None;
        self.read.resize(LARGEST_READ, 0);
        for _ in 0..BURST {
            let rng = &mut self.receive_rng;
            let len = if rng.bool() { LARGEST_READ } else { log_uniform(rng, 1, LARGEST_READ as u64) as usize };
            self.ledger.end(self.side).operations.add(1);
            let Some(n) = port.read(&mut self.read[..len])? else { return Ok(None) };
            if n == 0 {
                // The end stays the end.
                let again = port.read(&mut self.read);
                if !matches!(again, Ok(Some(0))) {
                    return Err(wrong(format!("a read after the end: {again:?}")));
                }
                self.account().read_ended.set();
                self.receiving = Some(Ok(()));
                return Ok(None);
            }
            let (content, offset) = (self.content ^ self.side.other() as u64, self.account().received.get());
            if let Some(place) = pattern::first_difference(content, offset, &self.read[..n]) {
                return Err(wrong(format!("byte {place} of what arrived is not what was sent")));
            }
            self.ledger.receive(self.side, n);
            let every = self.plan.stall_every;
            if every > 0 && self.receive_rng.u32(..every) == 0 && !self.ledger.hurry.is_set() {
                let stall = log_uniform(&mut self.receive_rng, 1, LONGEST_STALL_MS);
                self.stalled = Some(now + Duration::from_millis(stall));
                return Ok(self.stalled);
            }
        }
        Ok(Some(now))
    }
}

/// The earlier of two times, if there is any.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

/// Of a kind that no fault excuses.
fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}

/// `data` in pieces, some of them empty.
fn cut<'a>(rng: &mut Rng, mut data: &'a [u8]) -> Vec<IoSlice<'a>> {
    let mut pieces = Vec::new();
    for _ in 0..rng.usize(..6) {
        let (piece, rest) = data.split_at(rng.usize(..=data.len()));
        pieces.push(IoSlice::new(piece));
        data = rest;
    }
    pieces.push(IoSlice::new(data));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StreamPlan;

    /// Returns the bytes it has, and then its end.
    impl Inbound for &[u8] {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
            io::Read::read(self, buf).map(Some)
        }
    }

    fn receive(mut data: &[u8]) -> io::Result<()> {
        let [_, plan] = StreamPlan::new(3).ends;
        let mut halves = Halves::new(Side::Server, plan, 9, None, Arc::new(Ledger::new()));
        let mut now = Instant::now();
        loop {
            now = halves.receive(&mut data, now).unwrap_or(now);
            if let Some(done) = halves.receiving.take() {
                return done;
            }
        }
    }

    #[test]
    fn a_receiver_notices_wrong_lost_and_repeated_bytes() {
        let mut right = vec![0; 100_000];
        pattern::fill(9 ^ Side::Client as u64, 0, &mut right);
        receive(&right).expect("the right bytes");
        for place in [0, 1, 255, 256, 4096, 77_777, 99_999] {
            let mut wrong = right.clone();
            wrong[place] ^= 0x10;
            let error = receive(&wrong).expect_err("a wrong byte");
            assert!(error.to_string().contains(&format!("byte {place} of")), "{error}");
        }
        for (upto, from) in [(5000, 5001), (5000, 4999), (256, 512), (4096, 8192)] {
            receive(&[&right[..upto], &right[from..]].concat()).expect_err("lost or repeated bytes");
        }
    }
}
