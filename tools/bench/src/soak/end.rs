//! One end of a stream, whatever its driver.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tls_cork::Stats;

use super::ledger::{Account, Ledger};
use super::operations::{Inbound, Next, Outbound, Receiver, Sender};
use super::plan::{EndPlan, FaultPlan, Side};

/// What an end's TLS session is made of.
#[derive(Debug)]
pub(crate) enum Session {
    Client(Arc<ClientConfig>, ServerName<'static>),
    Server(Arc<ServerConfig>),
}

/// An end that is to be run.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) plan: EndPlan,
    /// The seed of what both ends send.
    pub(crate) content: u64,
    pub(crate) session: Session,
    pub(crate) socket: TcpStream,
    /// The fault that this end is to cause itself.
    pub(crate) leaves: Option<FaultPlan>,
    pub(crate) ledger: Arc<Ledger>,
}

/// How an end's stream ended.
#[derive(Debug)]
pub(crate) struct EndReport {
    pub(crate) sending: io::Result<()>,
    /// Fine at the proper end of what the other end sent.
    pub(crate) receiving: io::Result<()>,
    /// This end caused the stream's fault itself, and left.
    pub(crate) left: bool,
    pub(crate) stats: Stats,
}

/// The halves of an end at work, and how each of them has ended.
#[derive(Debug)]
pub(crate) struct Halves {
    sender: Sender,
    receiver: Receiver,
    pub(crate) sending: Option<io::Result<()>>,
    pub(crate) receiving: Option<io::Result<()>>,
    leaves: Option<FaultPlan>,
    /// The fault that it has caused.
    pub(crate) left: Option<FaultPlan>,
    ledger: Arc<Ledger>,
    side: Side,
}

impl Halves {
    /// Nothing sends what is held while an `unattended` stream is not polled.
    pub(crate) fn new(end: &End, unattended: bool) -> Self {
        let End { side, plan, content, leaves, ledger, .. } = end;
        Self {
            sender: Sender::new(*side, plan, *content, unattended, ledger),
            receiver: Receiver::new(*side, plan, *content, ledger),
            sending: None,
            receiving: None,
            leaves: *leaves,
            left: None,
            ledger: Arc::clone(ledger),
            side: *side,
        }
    }

    /// A few operations, or none if the end leaves now. Returns when to call it again, at the
    /// latest; without a time, when the stream can go on.
    pub(crate) fn send(&mut self, port: &mut impl Outbound, now: Instant) -> Option<Instant> {
        let accepted = self.account().accepted.get();
        if let Some(fault) = self.leaves.filter(|leaves| accepted >= leaves.at) {
            self.ledger.happen(fault);
            self.left = Some(fault);
        }
        if self.sending.is_some() || self.left.is_some() {
            return None;
        }
        match self.sender.step(port, now) {
            Ok(Next::At(at)) => return Some(at),
            Ok(Next::Blocked) => {}
            Ok(Next::Done) => self.sending = Some(Ok(())),
            Err(error) => self.sending_failed(error),
        }
        None
    }

    /// A few reads; returns as [`send`](Self::send).
    pub(crate) fn receive(&mut self, port: &mut impl Inbound, now: Instant) -> Option<Instant> {
        if self.receiving.is_some() {
            return None;
        }
        match self.receiver.step(port, now) {
            Ok(Next::At(at)) => return Some(at),
            Ok(Next::Blocked) => {}
            Ok(Next::Done) => self.receiving = Some(Ok(())),
            Err(error) => self.receiving = Some(Err(error)),
        }
        None
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

    /// This end's part of the ledger.
    pub(crate) fn account(&self) -> &Account {
        self.ledger.end(self.side)
    }

    pub(crate) fn report(self, stats: Stats) -> EndReport {
        EndReport {
            sending: self.sending.unwrap_or(Ok(())),
            receiving: self.receiving.unwrap_or(Ok(())),
            left: self.left.is_some(),
            stats,
        }
    }
}

/// The earlier of two times, if there is any.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}
