//! The attacked end of a session, in virtual time, with a meter for its heap memory.

use std::io::{self, IoSlice, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use allocation_counter::opt_out;
use rustls::{AlertDescription, Error};
use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags, WriteError};
use tls_cork_testing::attack::bounds::{GATHERING, IDLE, Limits};
use tls_cork_testing::attack::{CHANGE_CIPHER_SPEC, Meter, Peer, Side, configs};
use tls_cork_testing::meter;
use tls_cork_testing::sessions::{Version, name};

use crate::Row;

fn cork(limits: Limits) -> CorkConfig {
    CorkConfig::default()
        .send_buffer_limit(limits.send_buffer)
        .record_size(limits.record_size)
        .batch_size(limits.batch.0..=limits.batch.1)
}

/// Whether victims read ahead from a transport (R17), or are given slices.
pub(crate) static AHEAD: AtomicBool = AtomicBool::new(false);

/// A transport that has these bytes and has not ended.
struct Open<'a>(&'a [u8]);

impl Read for Open<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }
}

pub(crate) struct Victim {
    who: String,
    pub(crate) ahead: bool,
    pub(crate) conn: Connection,
    pub(crate) meter: Meter,
    pub(crate) now: Instant,
}

impl Victim {
    /// Returns a victim and its attacker before the first byte.
    pub(crate) fn fresh(version: Version, side: Side) -> (Self, Peer) {
        Self::with(version, side, 1, Limits::DEFAULT)
    }

    /// Like `fresh`, with these limits. The server sends its certificate `chain` times.
    pub(crate) fn with(version: Version, side: Side, chain: usize, limits: Limits) -> (Self, Peer) {
        let (mut meter, cork) = (meter!(), cork(limits));
        let (conn, peer) = match side {
            Side::Client => {
                let (client, server) = configs(version, Side::Server, chain);
                let client = Arc::new(client);
                (meter.run(|| Connection::client(client, name(), cork)), Peer::server(server))
            }
            Side::Server => {
                let (client, server) = configs(version, Side::Client, chain);
                let server = Arc::new(server);
                (meter.run(|| Connection::server(server, cork)), Peer::client(client))
            }
        };
        meter.reset();
        let who = format!("{:?} {side:?}", version.version);
        let ahead = AHEAD.load(Ordering::Relaxed);
        (Self { who, ahead, conn: conn.expect("a session"), meter, now: Instant::now() }, peer)
    }

    /// Returns a victim and its attacker after the handshake, with the meter at zero.
    pub(crate) fn connected(version: Version, side: Side) -> (Self, Peer) {
        Self::connected_with(version, side, Limits::DEFAULT)
    }

    pub(crate) fn connected_with(version: Version, side: Side, limits: Limits) -> (Self, Peer) {
        let (mut victim, mut peer) = Self::with(version, side, 1, limits);
        victim.shake_hands(&mut peer).expect("an honest handshake");
        victim.meter.reset();
        (victim, peer)
    }

    pub(crate) fn shake_hands(&mut self, peer: &mut Peer) -> Result<(), ReceiveError> {
        loop {
            let up = self.output();
            peer.hear(&up).expect("an honest victim");
            let down = peer.output();
            self.hear(&down)?;
            if up.is_empty() && down.is_empty() {
                assert!(!self.conn.is_handshaking());
                return Ok(());
            }
        }
    }

    /// Receives the peer's output; returns the plaintext.
    pub(crate) fn hear(&mut self, mut wire: &[u8]) -> Result<Vec<u8>, ReceiveError> {
        let (mut content, mut buf) = (Vec::new(), [0; 4096]);
        loop {
            let taken = self.receive(wire)?;
            wire = &wire[taken..];
            let before = content.len();
            loop {
                match self.meter.run(|| self.conn.read(&mut buf)) {
                    Ok(0) => return Ok(content),
                    Ok(n) => content.extend_from_slice(&buf[..n]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("reading: {error}"),
                }
            }
            if taken == 0 && content.len() == before {
                return Ok(content);
            }
        }
    }

    /// Receives the next bytes of `wire`, and returns their number.
    pub(crate) fn receive(&mut self, wire: &[u8]) -> Result<usize, ReceiveError> {
        if !self.ahead {
            return self.meter.run(|| self.conn.receive(self.now, wire)).map(|received| received.bytes);
        }
        match self.meter.run(|| self.conn.receive_from(self.now, &mut Open(wire))) {
            Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            done => done.map(|received| received.bytes),
        }
    }

    /// Returns everything that the victim has to send now.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        self.output_up_to(usize::MAX)
    }

    /// Transmits to a transport that takes `room` bytes; returns those bytes.
    pub(crate) fn output_up_to(&mut self, mut room: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        let done = self.meter.run(|| {
            self.conn.transmit_with(|bufs, _more| {
                let before = wire.len();
                opt_out(|| wire.extend(bufs.iter().flat_map(|buf| buf.iter()).take(room)));
                let taken = wire.len() - before;
                room -= taken;
                if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
            })
        });
        assert_eq!(done.expect("keys last").bytes, wire.len());
        wire
    }

    pub(crate) fn write(&mut self, data: &[u8], flags: SendFlags) -> Result<usize, WriteError> {
        self.meter.run(|| self.conn.write(self.now, &[IoSlice::new(data)], flags)).map(|written| written.accepted)
    }

    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
        let _ = self.meter.run(|| self.conn.handle_timeout(self.now));
    }

    /// Checks that `wire` ends the session with the error `expected`. Held bytes are counted as
    /// lost, an alert leaves if one is due, and further calls return the same error.
    pub(crate) fn ends(
        mut self,
        peer: &mut Peer,
        wire: &[u8],
        expected: Error,
        alert: Option<AlertDescription>,
    ) -> Row {
        let bound = if self.conn.is_handshaking() { GATHERING } else { IDLE };
        self.ends_within(bound, peer, wire, expected, alert)
    }

    pub(crate) fn ends_within(
        &mut self,
        bound: usize,
        peer: &mut Peer,
        wire: &[u8],
        expected: Error,
        alert: Option<AlertDescription>,
    ) -> Row {
        assert_eq!(self.write(b"held", SendFlags::MORE), Ok(4));
        let lost = self.conn.waiting();
        match self.hear(wire) {
            Err(ReceiveError::Tls { error, discarded, .. }) => {
                assert_eq!(error, expected);
                assert_eq!(discarded, lost, "what the failure cost");
            }
            other => panic!("{expected:?} was due: {other:?}"),
        }
        assert_eq!(self.write(b"x", SendFlags::NONE), Err(WriteError::Failed));
        assert_eq!(self.conn.lost_bytes(), lost);
        let last = self.output();
        match (peer.hear(&last), alert) {
            (Err(Error::AlertReceived(said)), Some(due)) => assert_eq!(said, due),
            (Ok(_), None) => assert!(last.is_empty() || last[0] == CHANGE_CIPHER_SPEC, "{last:?}"),
            other => panic!("{other:?}"),
        }
        assert!(self.conn.is_finished(), "nothing more to send");
        for _ in 0..2 {
            match self.hear(wire) {
                Err(ReceiveError::Tls { error, discarded: 0, .. }) => assert_eq!(error, expected, "said again"),
                other => panic!("{expected:?} again: {other:?}"),
            }
        }
        assert!(self.output().is_empty());
        let alert = alert.map_or_else(|| "no alert".to_owned(), |alert| format!("alert {alert:?}"));
        self.row(format!("{expected:?}, {alert}"), bound)
    }

    /// Checks that the session still works: data passes both ways.
    pub(crate) fn works(&mut self, peer: &mut Peer) {
        let up = peer.say(b"still there?");
        assert_eq!(self.hear(&up).expect("content"), b"still there?");
        self.write(b"yes", SendFlags::NONE).expect("room");
        let down = self.output();
        assert!(peer.hear(&down).expect("content").ends_with(b"yes"));
    }

    pub(crate) fn row(&self, outcome: impl Into<String>, bound: usize) -> Row {
        Row { who: self.who.clone(), outcome: outcome.into(), peak: self.meter.peak(), bound }
    }
}
