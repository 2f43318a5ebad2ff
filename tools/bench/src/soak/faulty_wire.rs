//! The network between two ends: delivers in pieces, late, and not always whole.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::Duration;

use fastrand::Rng;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{Timer, future};
use socket2::SockRef;

use super::ledger::Ledger;
use super::plan::{Fault, FaultPlan, Side, WirePlan, log_uniform};
use crate::record_count::RecordCounter;

const LATEST_MS: u64 = 20;
/// After a changed bit has been delivered, the ends may be idle for so long: a changed length in the
/// handshake makes them wait for one another.
const AFTER_FLIP: Duration = Duration::from_secs(3);
const GLANCE: Duration = Duration::from_millis(100);
const LARGEST: usize = 64 * 1024;

/// Carries bytes between the client's and the server's socket until both have ended.
///
/// # Errors
///
/// When the sockets cannot be prepared. What the ends do to their sockets is no error.
pub(crate) fn run(
    plan: WirePlan,
    fault: Option<FaultPlan>,
    sockets: [std::net::TcpStream; 2],
    ledger: &Ledger,
) -> io::Result<()> {
    let [client, server] = sockets.map(|socket| {
        socket.set_nodelay(true)?;
        TcpStream::try_from(socket)
    });
    let streams = [client?, server?];
    let wire =
        Wire { plan, fault: Cell::new(fault), is_flipped: Cell::new(false), is_cut: Cell::new(false), streams, ledger };
    let both = async { future::try_zip(wire.carry(Side::Client), wire.carry(Side::Server)).await.map(drop) };
    if smol::block_on(future::or(both, wire.watch())).is_err() {
        // A reset was planned, or one end is gone: so is the connection.
        for stream in &wire.streams {
            SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        }
    }
    Ok(())
}

struct Wire<'a> {
    plan: WirePlan,
    /// The fault that is still to come.
    fault: Cell<Option<FaultPlan>>,
    /// A changed bit has been delivered.
    is_flipped: Cell<bool>,
    /// What comes is read and forgotten.
    is_cut: Cell<bool>,
    streams: [TcpStream; 2],
    ledger: &'a Ledger,
}

impl Wire<'_> {
    /// Moves what `from` sends, to its end. An error resets the connection.
    async fn carry(&self, from: Side) -> io::Result<()> {
        let mut source = self.streams[from as usize].clone();
        let mut target = self.streams[from.other() as usize].clone();
        let mut rng = Rng::with_seed(self.plan.seed ^ from as u64);
        let mut records = RecordCounter::default();
        let mut buf = vec![0; LARGEST];
        loop {
            // With the time over, what is left comes at once.
            let is_hurried = self.ledger.hurry.is_set();
            let longest = if is_hurried { LARGEST } else { log_uniform(&mut rng, 1, self.plan.piece as u64) as usize };
            let len = match source.read(&mut buf[..longest]).await {
                Err(_) if self.is_cut.get() => 0,
                read => read?,
            };
            if len == 0 {
                return shut(&target);
            }
            let piece = &mut buf[..len];
            if self.plan.late_every > 0 && rng.u32(..self.plan.late_every) == 0 && !is_hurried {
                Timer::after(Duration::from_millis(log_uniform(&mut rng, 1, LATEST_MS))).await;
            }
            let start = records.bytes();
            let due = self.fault.get().filter(|plan| plan.side == from && plan.at < start + len as u64);
            let mut deliver = len;
            let mut flips = false;
            match due.map(|plan| (plan.fault, plan.at.saturating_sub(start) as usize)) {
                None => records.advance(piece),
                Some((Fault::BitFlip, least)) => {
                    if let Some(place) = body_byte(&mut records, piece, least) {
                        self.fault.set(None);
                        self.ledger.happen(FaultPlan { fault: Fault::BitFlip, side: from, at: start + place as u64 });
                        piece[place] ^= 1 << rng.u8(..8);
                        flips = true;
                    }
                }
                Some((Fault::WireCut, least)) => deliver = least,
                Some(_) => {
                    due.into_iter().for_each(|plan| self.ledger.happen(plan));
                    return Err(ErrorKind::ConnectionReset.into());
                }
            }
            match target.write_all(&piece[..deliver]).await {
                Ok(()) => self.ledger.note_movement(),
                Err(error) if !self.is_cut.get() => return Err(error),
                Err(_) => {}
            }
            self.is_flipped.set(self.is_flipped.get() || flips);
            if let Some(plan) = due.filter(|plan| plan.fault == Fault::WireCut) {
                self.fault.set(None);
                self.ledger.happen(plan);
                self.cut()?;
            }
        }
    }

    /// Cuts the connection of ends that wait for one another after a changed bit.
    async fn watch(&self) -> io::Result<()> {
        loop {
            Timer::after(GLANCE).await;
            if self.is_flipped.get() && !self.is_cut.get() && self.ledger.idle() > AFTER_FLIP {
                self.cut()?;
            }
        }
    }

    /// Both ends see the end of the stream, behind what was delivered.
    fn cut(&self) -> io::Result<()> {
        self.is_cut.set(true);
        self.streams.iter().try_for_each(shut)
    }
}

/// The first byte of `piece` from `least` on that is in the body of a record. The header is not all
/// protected: RFC 8446 has its version ignored.
fn body_byte(records: &mut RecordCounter, piece: &[u8], least: usize) -> Option<usize> {
    let mut found = None;
    for (place, byte) in piece.iter().enumerate() {
        if found.is_none() && place >= least && records.is_in_body() {
            found = Some(place);
        }
        records.advance(&[*byte]);
    }
    found
}

/// The end of what is sent to `stream`.
fn shut(stream: &TcpStream) -> io::Result<()> {
    match stream.shutdown(Shutdown::Write) {
        // It is gone.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        done => done,
    }
}
