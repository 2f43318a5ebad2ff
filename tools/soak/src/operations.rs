//! The two halves of an end, whatever the driver: one that sends at random, one that reads and checks.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use tls_cork::SendFlags;

use super::ledger::{Ledger, Operation};
use super::pattern::Pattern;
use super::plan::{EndPlan, Side, log_uniform};

/// How many operations come in one turn; then the other half has its own.
const BURST: usize = 16;
/// How often a wait for the other end looks.
const GLANCE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE_MS: u64 = 70;
const LONGEST_STALL_MS: u64 = 400;
/// A stream that sends this often has shown what it can; what is left of its bytes stays unsent.
const MOST_WRITES: u32 = 1500;

/// The sending half of a stream; `Pending` is a socket's `WouldBlock`, or a future that was polled once and dropped.
pub(crate) trait Outbound {
    fn send(&mut self, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>>;
    fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> Poll<io::Result<usize>>;
    fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> Poll<io::Result<usize>>;
    fn write(&mut self, data: &[u8]) -> Poll<io::Result<usize>>;
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
    fn cork(&mut self);
    fn uncork(&mut self) -> Poll<io::Result<()>>;
    fn flush(&mut self) -> Poll<io::Result<()>>;
    /// Ready when all that was accepted and the end of the stream have left.
    fn close(&mut self) -> Poll<io::Result<()>>;
}

/// The receiving half.
pub(crate) trait Inbound {
    fn read(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>>;
}

/// When a half is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once.
    Again,
    /// When the stream can.
    Blocked,
    /// Then.
    At(Instant),
    /// Never: all is through.
    Done,
}

#[derive(Debug)]
pub(crate) struct Sender {
    side: Side,
    ledger: Arc<Ledger>,
    rng: Rng,
    pattern: Pattern,
    accepted: u64,
    target: u64,
    largest: usize,
    writes: u32,
    paused: Option<Instant>,
    awaits_peer: bool,
    closes_last: bool,
    /// Nothing sends what is held or left over while neither half is polled.
    unattended: bool,
    buf: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(side: Side, plan: &EndPlan, content: u64, unattended: bool, ledger: &Arc<Ledger>) -> Self {
        Self {
            side,
            ledger: Arc::clone(ledger),
            rng: Rng::with_seed(plan.seed),
            pattern: Pattern::new(content ^ side as u64),
            accepted: 0,
            target: plan.target,
            largest: plan.largest,
            writes: 0,
            paused: None,
            awaits_peer: false,
            closes_last: plan.closes_last,
            unattended,
            buf: Vec::new(),
        }
    }

    /// A few operations.
    pub(crate) fn step(&mut self, port: &mut impl Outbound, now: Instant) -> io::Result<Next> {
        if let Some(at) = self.paused.take_if(|at| *at > now) {
            self.paused = Some(at);
            return Ok(Next::At(at));
        }
        self.paused = None;
        if self.awaits_peer {
            let peer = self.side.other();
            if self.ledger.received(peer) < self.accepted && !self.ledger.is_finished(peer) {
                if self.unattended && self.ledger.has_read_ended(self.side) {
                    let _ = told(port.flush())?;
                }
                return Ok(Next::At(now + GLANCE));
            }
            self.awaits_peer = false;
        }
        for _ in 0..BURST {
            if self.accepted >= self.target || self.writes >= MOST_WRITES || self.ledger.is_hurried() {
                return self.finish(port, now);
            }
            if !self.operate(port, now)? {
                self.ledger.count(self.side, Operation::Blocked);
                return Ok(Next::Blocked);
            }
            if self.paused.is_some() || self.awaits_peer {
                break;
            }
        }
        Ok(Next::Again)
    }

    /// One operation; false if it could not go on.
    fn operate(&mut self, port: &mut impl Outbound, now: Instant) -> io::Result<bool> {
        let flags = SendFlags::more_if(self.rng.u8(..3) > 0);
        let operation = match self.rng.u8(..100) {
            0..35 => Operation::Send,
            35..50 => Operation::SendVectored,
            50..65 => Operation::SendBytes,
            65..80 => Operation::Write,
            80..88 => Operation::Cork,
            88..97 => Operation::Flush,
            97..98 => Operation::Pause,
            _ => Operation::AwaitPeer,
        };
        self.ledger.count(self.side, operation);
        let done = match operation {
            Operation::Send => {
                let len = self.fresh();
                self.accepted(len, port.send(&self.buf[..len], flags))?
            }
            Operation::SendVectored => {
                let len = self.fresh();
                let bufs = cut(&mut self.rng, &self.buf[..len]);
                self.accepted(len, port.send_vectored(&bufs, flags))?
            }
            Operation::SendBytes => {
                let len = self.fresh();
                let mut data = Bytes::copy_from_slice(&self.buf[..len]);
                let polled = port.send_bytes(&mut data, flags);
                // What counts is what has left `data`, also if the future was dropped or failed.
                let taken = len - data.len();
                let pending = polled.is_pending();
                if let Poll::Ready(result) = polled {
                    match result {
                        Ok(n) if n != taken => return Err(wrong(format!("send_bytes said {n}, but took {taken}"))),
                        Ok(_) => {}
                        Err(error) => {
                            self.note(taken);
                            return Err(error);
                        }
                    }
                }
                self.note(taken);
                !pending
            }
            Operation::Write => {
                let len = self.fresh();
                if self.rng.bool() {
                    self.accepted(len, port.write(&self.buf[..len]))?
                } else {
                    let bufs = cut(&mut self.rng, &self.buf[..len]);
                    self.accepted(len, port.write_vectored(&bufs))?
                }
            }
            Operation::Cork if self.rng.bool() => {
                port.cork();
                true
            }
            Operation::Cork => told(port.uncork())?.is_some(),
            Operation::Flush => told(port.flush())?.is_some(),
            Operation::Pause => {
                self.paused = Some(now + Duration::from_millis(log_uniform(&mut self.rng, 1, LONGEST_PAUSE_MS)));
                true
            }
            _ => {
                self.awaits_peer = true;
                true
            }
        };
        Ok(done)
    }

    /// Closes, then sees that nothing more is taken.
    fn finish(&mut self, port: &mut impl Outbound, now: Instant) -> io::Result<Next> {
        if self.closes_last && !self.ledger.has_read_ended(self.side) {
            if self.unattended {
                // Nothing may stay behind meanwhile.
                let _ = told(port.flush())?;
            }
            return Ok(Next::At(now + GLANCE));
        }
        if !self.ledger.is_closed(self.side) {
            self.ledger.count(self.side, Operation::Close);
        }
        self.ledger.set_closed(self.side);
        if told(port.close())?.is_none() {
            return Ok(Next::Blocked);
        }
        self.ledger.end_wire(self.side);
        match port.send(b"late", SendFlags::NONE) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Poll::Ready(Err(_)) => Ok(Next::Done),
            late => Err(wrong(format!("a write after close: {late:?}"))),
        }
    }

    /// Prepares the next bytes; says how many.
    fn fresh(&mut self) -> usize {
        self.writes += 1;
        let largest = if self.rng.bool() { self.largest } else { self.largest.min(3000) };
        let len = (log_uniform(&mut self.rng, 1, largest as u64 + 1) - 1) as usize;
        let len = len.min((self.target - self.accepted) as usize);
        if self.buf.len() < len {
            self.buf.resize(len, 0);
        }
        self.pattern.fill(self.accepted, &mut self.buf[..len]);
        len
    }

    fn accepted(&mut self, offered: usize, polled: Poll<io::Result<usize>>) -> io::Result<bool> {
        match told(polled)? {
            None => Ok(false),
            Some(0) if offered > 0 => Err(wrong("a write took nothing and did not say why")),
            Some(n) if n > offered => Err(wrong(format!("a write of {offered} bytes took {n}"))),
            Some(n) => {
                self.note(n);
                Ok(true)
            }
        }
    }

    fn note(&mut self, bytes: usize) {
        self.accepted += bytes as u64;
        self.ledger.accept(self.side, bytes);
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    side: Side,
    ledger: Arc<Ledger>,
    rng: Rng,
    pattern: Pattern,
    received: u64,
    stall_every: u32,
    stalled: Option<Instant>,
    buf: Vec<u8>,
}

impl Receiver {
    pub(crate) fn new(side: Side, plan: &EndPlan, content: u64, ledger: &Arc<Ledger>) -> Self {
        Self {
            side,
            ledger: Arc::clone(ledger),
            rng: Rng::with_seed(!plan.seed),
            pattern: Pattern::new(content ^ side.other() as u64),
            received: 0,
            stall_every: plan.stall_every,
            stalled: None,
            buf: vec![0; 64 * 1024],
        }
    }

    /// A few reads.
    pub(crate) fn step(&mut self, port: &mut impl Inbound, now: Instant) -> io::Result<Next> {
        if let Some(at) = self.stalled.take_if(|at| *at > now) {
            self.stalled = Some(at);
            return Ok(Next::At(at));
        }
        self.stalled = None;
        for _ in 0..BURST {
            self.ledger.count(self.side, Operation::Read);
            let len = if self.rng.bool() { self.buf.len() } else { log_uniform(&mut self.rng, 1, 65_536) as usize };
            let Some(n) = told(port.read(&mut self.buf[..len]))? else { return Ok(Next::Blocked) };
            if n == 0 {
                // The end stays the end.
                return match port.read(&mut self.buf) {
                    Poll::Ready(Ok(0)) => {
                        self.ledger.set_read_ended(self.side);
                        Ok(Next::Done)
                    }
                    again => Err(wrong(format!("a read after the end: {again:?}"))),
                };
            }
            if let Some(place) = self.pattern.first_difference(self.received, &self.buf[..n]) {
                return Err(wrong(format!("byte {place} of what arrived is not what was sent")));
            }
            self.received += n as u64;
            self.ledger.receive(self.side, n);
            if self.stall_every > 0 && self.rng.u32(..self.stall_every) == 0 && !self.ledger.is_hurried() {
                self.ledger.count(self.side, Operation::Stall);
                let at = now + Duration::from_millis(log_uniform(&mut self.rng, 1, LONGEST_STALL_MS));
                self.stalled = Some(at);
                return Ok(Next::At(at));
            }
        }
        Ok(Next::Again)
    }
}

/// None: it could not go on.
fn told<T>(polled: Poll<io::Result<T>>) -> io::Result<Option<T>> {
    match polled {
        Poll::Ready(result) => result.map(Some),
        Poll::Pending => Ok(None),
    }
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

/// What both sides do with errors: which of them end an end at once.
pub(crate) fn is_of_the_transport(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StreamPlan;

    /// Gives what it was given, with one byte changed.
    struct Echo {
        data: Vec<u8>,
        done: usize,
    }

    impl Inbound for Echo {
        fn read(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.data.len() - self.done);
            buf[..n].copy_from_slice(&self.data[self.done..self.done + n]);
            self.done += n;
            Poll::Ready(Ok(n))
        }
    }

    fn receive(change: Option<usize>) -> io::Result<()> {
        let mut data = vec![0; 100_000];
        Pattern::new(9 ^ Side::Client as u64).fill(0, &mut data);
        if let Some(place) = change {
            data[place] ^= 0x10;
        }
        let plan = &StreamPlan::new(3).ends[1];
        let mut receiver = Receiver::new(Side::Server, plan, 9, &Arc::new(Ledger::new()));
        let mut echo = Echo { data, done: 0 };
        let mut now = Instant::now();
        loop {
            match receiver.step(&mut echo, now)? {
                Next::Done => return Ok(()),
                Next::At(at) => now = at,
                _ => {}
            }
        }
    }

    #[test]
    fn a_receiver_notices_one_wrong_byte() {
        receive(None).expect("the right bytes");
        for place in [0, 1, 4095, 4096, 77_777, 99_999] {
            let error = receive(Some(place)).expect_err("a wrong byte");
            assert_eq!(error.kind(), io::ErrorKind::Other);
            assert!(error.to_string().contains(&format!("byte {place} of")), "{error}");
        }
    }
}
