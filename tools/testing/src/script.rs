//! What a fault at every call of the transport has to do with: the script, the faults, and a peer of plain rustls.
//!
//! The tests of both drivers are made of it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
use rustls::{ClientConnection, ServerConnection, SupportedCipherSuite};
use tls_cork::CorkConfig;

use crate::content::{is_stream, stream};
use crate::sessions::{Configs, name};

/// One step of the application; lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// With `MORE` if the second says so.
    Send(usize, bool),
    SendBytes(usize, bool),
    SendVectored([usize; 3], bool),
    Cork,
    Uncork,
    Flush,
    /// Until the handshake has ended.
    Shake,
    PeerSays(usize),
    /// Once the peer has got all that was sent until now.
    PeerAnswers(usize),
    PeerKeys,
    PeerCloses,
    /// Until all that the peer says, or will, has been read.
    Read,
    ReadEnd,
    Close,
    /// Has to be refused.
    SendLate,
}

/// Only some drivers can send before they have shaken hands.
pub const BEFORE_KEYS: [Op; 2] = [Op::Send(100, true), Op::Send(50, false)];

pub const SCRIPT: [Op; 27] = [
    Op::Shake,
    Op::Send(28, true),
    Op::Send(200, false),
    Op::SendVectored([10, 0, 700], true),
    Op::SendBytes(3000, false),
    Op::Cork,
    Op::Send(40, false),
    Op::Send(600, false),
    Op::Uncork,
    Op::Send(64, true),
    Op::PeerAnswers(300),
    Op::Read,
    Op::Send(30, true),
    Op::PeerKeys,
    Op::PeerSays(700),
    Op::Read,
    Op::Flush,
    Op::Send(9000, false),
    Op::PeerSays(6000),
    Op::Read,
    Op::Send(77, true),
    Op::PeerSays(50),
    Op::PeerCloses,
    Op::ReadEnd,
    Op::Send(99, true),
    Op::Close,
    Op::SendLate,
];

/// Bytes that the script sends.
pub fn total(script: &[Op]) -> usize {
    script
        .iter()
        .map(|op| match op {
            Op::Send(len, _) | Op::SendBytes(len, _) => *len,
            Op::SendVectored(lens, _) => lens.iter().sum(),
            _ => 0,
        })
        .sum()
}

/// Small enough that the script has whole records, several batches, a full buffer, and a transport that pushes back.
pub fn cork() -> CorkConfig {
    CorkConfig::default()
        .record_size(512)
        .batch_size(1024..=4096)
        .send_buffer_limit(4096)
        .max_hold(Duration::from_secs(60))
}

/// Bytes that the transport takes before the peer reads them.
pub const ROOM: usize = 2000;
/// Bytes that it gives to one read.
pub const SEGMENT: usize = 400;

/// What a transport is asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Send,
    Receive,
    Flush,
    Close,
}

/// What it does instead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Pushes back, so many times in a row.
    Block(usize),
    Interrupt,
    OneByte,
    /// Fails once, or from then on. `WriteZero` is a send of zero bytes, `UnexpectedEof` an end, `InvalidData` a record of garbage.
    Fail(ErrorKind, Lasting),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lasting {
    Once,
    Ever,
}

use Lasting::{Ever, Once};

pub const SEND_FAULTS: [Fault; 9] = [
    Fault::Block(1),
    Fault::Block(50),
    Fault::Interrupt,
    Fault::OneByte,
    Fault::Fail(ErrorKind::WriteZero, Once),
    Fault::Fail(ErrorKind::WriteZero, Ever),
    Fault::Fail(ErrorKind::ConnectionReset, Once),
    Fault::Fail(ErrorKind::ConnectionReset, Ever),
    Fault::Fail(ErrorKind::BrokenPipe, Ever),
];

pub const RECEIVE_FAULTS: [Fault; 7] = [
    Fault::Block(1),
    Fault::Block(50),
    Fault::Interrupt,
    Fault::OneByte,
    Fault::Fail(ErrorKind::ConnectionReset, Ever),
    Fault::Fail(ErrorKind::UnexpectedEof, Ever),
    Fault::Fail(ErrorKind::InvalidData, Once),
];

/// For calls that move no bytes, of transports that have them.
pub const FLUSH_FAULTS: [Fault; 5] = [
    Fault::Block(1),
    Fault::Block(50),
    Fault::Fail(ErrorKind::ConnectionReset, Once),
    Fault::Fail(ErrorKind::ConnectionReset, Ever),
    Fault::Fail(ErrorKind::BrokenPipe, Ever),
];

#[derive(Clone, Copy, Debug)]
pub enum Plan {
    Smooth,
    /// At this call of its kind, counted from zero.
    At(Way, usize, Fault),
    /// Before every call of both ways; one byte a call for [`Fault::OneByte`].
    Every(Fault),
}

impl Plan {
    /// The fault, if it is one that must cost nothing.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Smooth | Self::Every(_) => true,
            Self::At(_, _, fault) => !matches!(fault, Fault::Fail(..)),
        }
    }
}

/// Counts the calls, and says what becomes of each.
#[derive(Debug)]
pub struct Faults {
    plan: Plan,
    calls: [usize; 4],
    /// Errors and ends that were returned.
    pub failures: usize,
    /// Faults of any kind.
    pub hits: usize,
}

impl Faults {
    pub fn new(plan: Plan) -> Self {
        Self { plan, calls: [0; 4], failures: 0, hits: 0 }
    }

    pub fn calls(&self, way: Way) -> usize {
        self.calls[way as usize]
    }

    pub fn next(&mut self, way: Way) -> Option<Fault> {
        let n = self.calls[way as usize];
        self.calls[way as usize] += 1;
        let fault = match self.plan {
            Plan::Every(Fault::OneByte) => Some(Fault::OneByte),
            Plan::Every(fault) if n.is_multiple_of(2) => Some(fault),
            Plan::At(its, at, fault) if its == way && n >= at => match fault {
                Fault::Block(times) => (n < at + times).then_some(fault),
                Fault::Fail(_, Ever) => Some(fault),
                _ => (n == at).then_some(fault),
            },
            _ => None,
        };
        self.hits += usize::from(fault.is_some());
        self.failures += usize::from(matches!(fault, Some(Fault::Fail(..))));
        fault
    }
}

/// Checks that `data` is what comes at `*offset`, and counts it.
pub fn arrived(data: &[u8], offset: &mut usize) {
    assert!(is_stream(data, *offset), "content and order at {offset}");
    *offset += data.len();
}

/// Without resumption, so that every run makes the same calls.
pub fn unresumed((client, server): Configs) -> Configs {
    let mut client = Arc::unwrap_or_clone(client);
    client.resumption = Resumption::disabled();
    (Arc::new(client), server)
}

pub fn tls12() -> Option<SupportedCipherSuite> {
    Some(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}

/// The other end: rustls without corks.
#[derive(Debug)]
pub struct Peer {
    tls: rustls::Connection,
    pub got: usize,
    pub wrote: usize,
    /// To be said when so many bytes have come.
    answer: Option<(usize, usize)>,
    /// It has seen the stream's proper end.
    pub end: bool,
    /// It was told that TLS has failed, or what it received was wrong.
    pub failed: Option<rustls::Error>,
}

impl Peer {
    pub fn new((client, server): &Configs, is_client: bool) -> Self {
        let mut tls: rustls::Connection = if is_client {
            ClientConnection::new(Arc::clone(client), name()).expect("a client").into()
        } else {
            ServerConnection::new(Arc::clone(server)).expect("a server").into()
        };
        tls.set_buffer_limit(None);
        Self { tls, got: 0, wrote: 0, answer: None, end: false, failed: None }
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub fn says(&mut self, len: usize) {
        if self.failed.is_some() {
            return;
        }
        self.tls.writer().write_all(&stream(self.wrote, len)).expect("no limit");
        self.wrote += len;
    }

    pub fn answers(&mut self, len: usize, when: usize) {
        self.answer = Some((when, len));
    }

    /// Bytes that it has said or will.
    pub fn will_have_said(&self) -> usize {
        self.wrote + self.answer.map_or(0, |(_, len)| len)
    }

    pub fn keys(&mut self) {
        // TLS 1.2 has none.
        let _ = self.tls.refresh_traffic_keys();
    }

    /// What it has not answered, it never will.
    pub fn closes(&mut self) {
        self.answer = None;
        self.tls.send_close_notify();
    }

    /// Takes what has come, and says what it has to say; returns how many bytes moved.
    pub fn turn(&mut self, incoming: &mut VecDeque<u8>, outgoing: &mut VecDeque<u8>) -> usize {
        let before = incoming.len();
        while !incoming.is_empty() && !self.end && self.failed.is_none() {
            self.tls.read_tls(incoming).expect("plaintext has been read");
            if let Err(error) = self.tls.process_new_packets() {
                self.failed = Some(error);
            }
            self.read();
        }
        if self.answer.is_some_and(|(when, _)| self.got >= when)
            && let Some((_, len)) = self.answer.take()
        {
            self.says(len);
        }
        let was = outgoing.len();
        while self.tls.wants_write() {
            self.tls.write_tls(outgoing).expect("a queue takes everything");
        }
        before - incoming.len() + outgoing.len() - was
    }

    fn read(&mut self) {
        let mut buf = [0; 4096];
        loop {
            match self.tls.reader().read(&mut buf) {
                Ok(0) => return self.end = true,
                Ok(n) => arrived(&buf[..n], &mut self.got),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the peer reads: {error}"),
            }
        }
    }
}

/// Says in which run a test failed.
pub struct During(pub String);

impl Drop for During {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("during {}", self.0);
        }
    }
}
