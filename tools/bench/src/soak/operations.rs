//! The two halves of an end, whatever the driver: one that sends at random, one that reads and checks.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use tls_cork::{SendFlags, Stats};

use super::ledger::{Account, Ledger, Operation};
use super::pattern;
use super::plan::{EndPlan, Side, log_uniform};

/// How many operations come in one turn; then the other half has its own.
const BURST: usize = 16;
/// How often a wait for the other end looks.
const GLANCE: Duration = Duration::from_millis(2);
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

/// When a half is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// When the stream can.
    Blocked,
    /// Then, at the latest.
    At(Instant),
    /// Never: all is through.
    Done,
}

#[derive(Debug)]
pub(crate) struct Sender {
    side: Side,
    ledger: Arc<Ledger>,
    rng: Rng,
    /// The seed of its bytes.
    content: u64,
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
            content: content ^ side as u64,
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
        if let Some(at) = self.paused.filter(|at| *at > now) {
            return Ok(Next::At(at));
        }
        self.paused = None;
        if self.awaits_peer {
            let peer = self.ledger.end(self.side.other());
            if peer.received.get() < self.accepted && !peer.finished.is_set() {
                if self.unattended && self.account().read_ended.is_set() {
                    let _ = port.call(Call::Flush)?;
                }
                return Ok(Next::At(now + GLANCE));
            }
            self.awaits_peer = false;
        }
        for _ in 0..BURST {
            if self.accepted >= self.target || self.writes >= MOST_WRITES || self.ledger.hurry.is_set() {
                return self.finish(port, now);
            }
            if !self.operate(port, now)? {
                self.account().count(Operation::Blocked);
                return Ok(Next::Blocked);
            }
            if self.paused.is_some() || self.awaits_peer {
                break;
            }
        }
        Ok(Next::At(now))
    }

    fn account(&self) -> &Account {
        self.ledger.end(self.side)
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
        self.account().count(operation);
        let done = match operation {
            Operation::Send => {
                let len = self.prepare();
                let sent = port.call(Call::Send(&self.buf[..len], flags));
                self.note(len, sent?)?
            }
            Operation::SendVectored => {
                let len = self.prepare();
                let sent = port.call(Call::SendVectored(&cut(&mut self.rng, &self.buf[..len]), flags));
                self.note(len, sent?)?
            }
            Operation::SendBytes => {
                let len = self.prepare();
                let mut data = Bytes::copy_from_slice(&self.buf[..len]);
                let sent = port.call(Call::SendBytes(&mut data, flags));
                // What counts is what has left `data`, also if the future was dropped or failed.
                let taken = len - data.len();
                self.accept(taken);
                let sent = sent?;
                if sent.is_some_and(|n| n != taken) {
                    return Err(wrong(format!("send_bytes returned {sent:?}, but took {taken}")));
                }
                sent.is_some()
            }
            Operation::Write => {
                let len = self.prepare();
                let written = if self.rng.bool() {
                    port.call(Call::Write(&self.buf[..len]))
                } else {
                    port.call(Call::WriteVectored(&cut(&mut self.rng, &self.buf[..len])))
                };
                self.note(len, written?)?
            }
            Operation::Cork => {
                let call = if self.rng.bool() { Call::Cork } else { Call::Uncork };
                port.call(call)?.is_some()
            }
            Operation::Flush => port.call(Call::Flush)?.is_some(),
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

    /// Closes, then checks that nothing more is taken.
    fn finish(&mut self, port: &mut impl Outbound, now: Instant) -> io::Result<Next> {
        if self.closes_last && !self.account().read_ended.is_set() {
            if self.unattended {
                // Nothing may stay behind meanwhile.
                let _ = port.call(Call::Flush)?;
            }
            return Ok(Next::At(now + GLANCE));
        }
        if !self.account().closed.is_set() {
            self.account().count(Operation::Close);
        }
        self.account().closed.set();
        if port.call(Call::Close)?.is_none() {
            return Ok(Next::Blocked);
        }
        match port.call(Call::Send(b"late", SendFlags::NONE)) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok(Next::Done),
            late => Err(wrong(format!("a write after close: {late:?}"))),
        }
    }

    /// Prepares the next bytes; returns how many.
    fn prepare(&mut self) -> usize {
        self.writes += 1;
        let largest = if self.rng.bool() { self.largest } else { self.largest.min(3000) };
        let len = (log_uniform(&mut self.rng, 1, largest as u64 + 1) - 1) as usize;
        let len = len.min((self.target - self.accepted) as usize);
        if self.buf.len() < len {
            self.buf.resize(len, 0);
        }
        pattern::fill(self.content, self.accepted, &mut self.buf[..len]);
        len
    }

    /// Checks what a write of `offered` bytes returned; false if it could not go on.
    fn note(&mut self, offered: usize, taken: Option<usize>) -> io::Result<bool> {
        match taken {
            None => return Ok(false),
            Some(0) if offered > 0 => return Err(wrong("a write took nothing and returned no error")),
            Some(n) if n > offered => return Err(wrong(format!("a write of {offered} bytes took {n}"))),
            Some(n) => self.accept(n),
        }
        Ok(true)
    }

    fn accept(&mut self, bytes: usize) {
        self.accepted += bytes as u64;
        self.ledger.accept(self.side, bytes);
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    side: Side,
    ledger: Arc<Ledger>,
    rng: Rng,
    /// The seed of its bytes.
    content: u64,
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
            content: content ^ side.other() as u64,
            received: 0,
            stall_every: plan.stall_every,
            stalled: None,
            buf: vec![0; 64 * 1024],
        }
    }

    /// A few reads.
    pub(crate) fn step(&mut self, port: &mut impl Inbound, now: Instant) -> io::Result<Next> {
        if let Some(at) = self.stalled.filter(|at| *at > now) {
            return Ok(Next::At(at));
        }
        self.stalled = None;
        let account = self.ledger.end(self.side);
        for _ in 0..BURST {
            account.count(Operation::Read);
            let len = if self.rng.bool() { self.buf.len() } else { log_uniform(&mut self.rng, 1, 65_536) as usize };
            let Some(n) = port.read(&mut self.buf[..len])? else { return Ok(Next::Blocked) };
            if n == 0 {
                // The end stays the end.
                return match port.read(&mut self.buf) {
                    Ok(Some(0)) => {
                        account.read_ended.set();
                        Ok(Next::Done)
                    }
                    again => Err(wrong(format!("a read after the end: {again:?}"))),
                };
            }
            if let Some(place) = pattern::first_difference(self.content, self.received, &self.buf[..n]) {
                return Err(wrong(format!("byte {place} of what arrived is not what was sent")));
            }
            self.received += n as u64;
            self.ledger.receive(self.side, n);
            if self.stall_every > 0 && self.rng.u32(..self.stall_every) == 0 && !self.ledger.hurry.is_set() {
                account.count(Operation::Stall);
                let at = now + Duration::from_millis(log_uniform(&mut self.rng, 1, LONGEST_STALL_MS));
                self.stalled = Some(at);
                return Ok(Next::At(at));
            }
        }
        Ok(Next::At(now))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::plan::StreamPlan;

    /// Returns the bytes it has, and then its end.
    impl Inbound for &[u8] {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
            io::Read::read(self, buf).map(Some)
        }
    }

    fn receive(mut data: &[u8]) -> io::Result<()> {
        let plan = &StreamPlan::new(3).ends[1];
        let mut receiver = Receiver::new(Side::Server, plan, 9, &Arc::new(Ledger::new()));
        let mut now = Instant::now();
        loop {
            match receiver.step(&mut data, now)? {
                Next::Done => return Ok(()),
                Next::At(at) => now = at,
                Next::Blocked => {}
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
