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
use tls_cork_testing::RecordCounter;

use super::ledger::Ledger;
use super::plan::{Fault, FaultPlan, Side, WirePlan, log_uniform};

const LATEST_MS: u64 = 20;
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
    let wire = Wire { plan, fault: Cell::new(fault), is_cut: Cell::new(false), streams, ledger };
    if smol::block_on(future::try_zip(wire.carry(Side::Client), wire.carry(Side::Server))).is_err() {
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
            // Where in the piece the fault is due.
            let place = due.map_or(0, |plan| plan.at.saturating_sub(start) as usize);
            let mut deliver = len;
            match due {
                None => records.advance(piece),
                Some(plan) if plan.fault == Fault::BitFlip => {
                    if let Some(place) = protected_byte(&mut records, piece, place) {
                        self.happen(FaultPlan { at: start + place as u64, ..plan });
                        piece[place] ^= 1 << rng.u8(..8);
                    }
                }
                Some(plan) if plan.fault == Fault::WireCut => deliver = place,
                Some(plan) => {
                    self.happen(plan);
                    return Err(ErrorKind::ConnectionReset.into());
                }
            }
            match target.write_all(&piece[..deliver]).await {
                Ok(()) => self.ledger.note_movement(),
                Err(error) if !self.is_cut.get() => return Err(error),
                Err(_) => {}
            }
            if let Some(plan) = due.filter(|plan| plan.fault == Fault::WireCut) {
                self.happen(plan);
                self.is_cut.set(true);
                // Both ends see the end of the stream, behind what was delivered.
                self.streams.iter().try_for_each(shut)?;
            }
        }
    }

    fn happen(&self, fault: FaultPlan) {
        self.fault.set(None);
        self.ledger.happen(fault);
    }
}

/// The first byte of `piece` from `least` on that TLS protects, and whose receiver can name what is
/// wrong. A changed length in the plaintext of a handshake would make the ends wait for one another.
fn protected_byte(records: &mut RecordCounter, piece: &[u8], least: usize) -> Option<usize> {
    let mut found = None;
    for (place, byte) in piece.iter().enumerate() {
        if found.is_none() && place >= least && records.is_in_application_data() {
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
