//! The network between two ends: delivers in pieces, late, and not always whole.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::ledger::{Flip, Ledger};
use super::plan::{Fault, FaultPlan, Side, WirePlan, log_uniform};
use tls_cork_testing::RecordCounter;

const LATEST_MS: u64 = 20;
/// How long the ends may take to agree that a changed bit, once it was read, was the end: a changed length makes them wait for one another.
const AFTER_FLIP: Duration = Duration::from_secs(3);
/// How often the wire looks whether it has been read.
const GLANCE: Duration = Duration::from_millis(50);
const LARGEST: usize = 64 * 1024;
/// Pieces of one direction in one turn.
const BURST: usize = 32;

/// Carries bytes between the client's and the server's socket until both have ended.
///
/// # Errors
///
/// When there is nothing to run it with; what the ends do to their sockets is no error.
pub(crate) fn run(
    plan: WirePlan,
    fault: Option<FaultPlan>,
    sockets: [std::net::TcpStream; 2],
    ledger: &Arc<Ledger>,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    let [client, server] = sockets;
    let mut streams = [client, server].map(|socket| socket.set_nonblocking(true).map(|()| TcpStream::from_std(socket)));
    for (n, stream) in streams.iter_mut().enumerate() {
        if let Ok(stream) = stream {
            stream.set_nodelay(true)?;
            poll.registry().register(stream, Token(n), Interest::READABLE | Interest::WRITABLE)?;
        }
    }
    let [client, server] = streams;
    let mut wire = Wire {
        plan,
        rng: Rng::with_seed(plan.seed),
        fault,
        flipped: None,
        noticeable: None,
        swallows: false,
        streams: [client?, server?],
        lanes: [Lane::new(), Lane::new()],
        ledger: Arc::clone(ledger),
    };
    loop {
        let mut sleep = None;
        for from in Side::BOTH {
            match wire.carry(from) {
                Ok(Turn::Waits) => {}
                Ok(Turn::Again) => sleep = Some(Duration::ZERO),
                Ok(Turn::Late(at)) => {
                    let left = at.saturating_duration_since(Instant::now());
                    sleep = Some(sleep.map_or(left, |earlier: Duration| earlier.min(left)));
                }
                Ok(Turn::Reset) => return wire.reset(),
                // One end is gone: so is the connection.
                Err(_) => return wire.reset(),
            }
        }
        if wire.lanes.iter().all(|lane| lane.ended) {
            return Ok(());
        }
        if let Some(flip) = wire.flipped.filter(|_| !wire.swallows) {
            if wire.noticeable.is_none() && wire.ledger.has_read(flip) {
                wire.noticeable = Some(Instant::now());
            }
            if wire.noticeable.is_some_and(|at| at.elapsed() > AFTER_FLIP) {
                wire.cut()?;
            }
            sleep = Some(sleep.map_or(GLANCE, |earlier| earlier.min(GLANCE)));
        }
        match poll.poll(&mut events, sleep) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

struct Wire {
    plan: WirePlan,
    rng: Rng,
    fault: Option<FaultPlan>,
    flipped: Option<Flip>,
    /// Since when the changed bit may have been noticed.
    noticeable: Option<Instant>,
    /// After a cut: what comes is read and forgotten.
    swallows: bool,
    streams: [TcpStream; 2],
    lanes: [Lane; 2],
    ledger: Arc<Ledger>,
}

/// One direction.
struct Lane {
    buf: Vec<u8>,
    done: usize,
    /// Where in a record the next byte stands.
    records: RecordCounter,
    late: Option<Instant>,
    /// The sender has ended.
    read_ended: bool,
    /// And that has been passed on.
    ended: bool,
}

impl Lane {
    fn new() -> Self {
        Self {
            buf: Vec::new(),
            done: 0,
            records: RecordCounter::default(),
            late: None,
            read_ended: false,
            ended: false,
        }
    }
}

enum Turn {
    /// For the sockets.
    Waits,
    Again,
    Late(Instant),
    Reset,
}

impl Wire {
    /// Moves what `from` has sent, a few pieces at most.
    fn carry(&mut self, from: Side) -> io::Result<Turn> {
        for _ in 0..BURST {
            let lane = &mut self.lanes[from as usize];
            if lane.ended {
                return Ok(Turn::Waits);
            }
            if lane.done == lane.buf.len() {
                if lane.read_ended {
                    lane.ended = true;
                    shut(&self.streams[from.other() as usize])?;
                    return Ok(Turn::Waits);
                }
                if !self.fetch(from)? {
                    return Ok(Turn::Waits);
                }
                if self.breaks(from)? {
                    return Ok(Turn::Reset);
                }
                continue;
            }
            if let Some(at) = lane.late {
                if at > Instant::now() {
                    return Ok(Turn::Late(at));
                }
                lane.late = None;
            }
            if self.swallows {
                lane.done = lane.buf.len();
                continue;
            }
            match self.streams[from.other() as usize].write(&lane.buf[lane.done..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    lane.done += n;
                    self.ledger.deliver(n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Turn::Waits),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Turn::Again)
    }

    /// Takes the next piece; false if there is none yet.
    fn fetch(&mut self, from: Side) -> io::Result<bool> {
        let lane = &mut self.lanes[from as usize];
        let len = log_uniform(&mut self.rng, 1, self.plan.piece as u64) as usize;
        // With the time over, what is left comes at once.
        let len = if self.ledger.is_hurried() { LARGEST } else { len };
        lane.buf.resize(len, 0);
        lane.done = len; // nothing yet
        match self.streams[from as usize].read(&mut lane.buf) {
            Ok(n) => {
                lane.buf.truncate(n);
                lane.done = 0;
                lane.read_ended = n == 0;
                if self.plan.late_every > 0 && self.rng.u32(..self.plan.late_every) == 0 {
                    let late = Duration::from_millis(log_uniform(&mut self.rng, 1, LATEST_MS));
                    lane.late = Some(Instant::now() + late);
                }
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Does to the piece that was just fetched what is planned; true for a reset.
    fn breaks(&mut self, from: Side) -> io::Result<bool> {
        let lane = &mut self.lanes[from as usize];
        let start = lane.records.bytes();
        let piece = &mut lane.buf[lane.done..];
        let end = start + piece.len() as u64;
        let due = self.fault.filter(|fault| fault.side == from && fault.at < end && !piece.is_empty());
        let Some(FaultPlan { fault, at, .. }) = due else {
            lane.records.advance(piece);
            return Ok(false);
        };
        match fault {
            Fault::BitFlip => {
                // The header of a record is not all protected: RFC 8446 has its version ignored.
                let mut flip = None;
                for (n, byte) in piece.iter().enumerate() {
                    if flip.is_none() && start + n as u64 >= at && lane.records.is_in_body() {
                        flip = Some(n);
                    }
                    lane.records.advance(&[*byte]);
                }
                if let Some(n) = flip {
                    let flip = Flip { sender: from, at: start + n as u64 };
                    self.ledger.happen_to(flip);
                    piece[n] ^= 1 << self.rng.u8(..8);
                    self.fault = None;
                    self.flipped = Some(flip);
                }
            }
            Fault::WireReset => {
                self.ledger.happen(Fault::WireReset);
                return Ok(true);
            }
            _ => {
                let keep = at.saturating_sub(start) as usize;
                lane.buf.truncate(lane.done + keep);
                self.fault = None;
                self.ledger.happen(Fault::WireCut);
                // What came before the cut arrives as far as it does at once.
                let lane = &self.lanes[from as usize];
                let _ = self.streams[from.other() as usize].write(&lane.buf[lane.done..]);
                self.cut()?;
            }
        }
        Ok(false)
    }

    /// Both ends see the end of the stream.
    fn cut(&mut self) -> io::Result<()> {
        self.swallows = true;
        self.streams.iter().try_for_each(shut)
    }

    /// Both ends see a reset.
    fn reset(self) -> io::Result<()> {
        for stream in &self.streams {
            SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    }
}

/// The end of what is sent to `stream`.
fn shut(stream: &TcpStream) -> io::Result<()> {
    match stream.shutdown(Shutdown::Write) {
        // It is gone.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        done => done,
    }
}
