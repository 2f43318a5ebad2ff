//! A peer that has the session's keys and sends arbitrary records, and a meter for the memory that
//! they cost the other end.

pub mod bounds;
mod forge;

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, InvalidMessage, PeerMisbehaved, ServerConfig,
    ServerConnection,
};

use crate::sessions::{self, Version, name};

/// Content types (RFC 8446, section 5.1).
pub const CHANGE_CIPHER_SPEC: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION: u8 = 23;

/// The most KeyUpdates without application data between them that rustls accepts.
pub const KEY_UPDATES_MAX: usize = 32;

/// TLS configurations for both ends. The end that is `hostile` forges records. The server sends its
/// certificate `chain` times.
pub fn configs(version: Version, hostile: Side, chain: usize) -> (ClientConfig, ServerConfig) {
    let provider = |side| if side == hostile { forge::provider() } else { aws_lc_rs::default_provider() };
    let (client, mut server) = sessions::ends(provider(Side::Client), provider(Side::Server), &[version], chain);
    server.send_tls13_tickets = 0;
    (client, server)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// The hostile end.
pub struct Peer(pub rustls::Connection);

impl Peer {
    pub fn client(config: ClientConfig) -> Self {
        Self::over(ClientConnection::new(Arc::new(config), name()).expect("a client").into())
    }

    pub fn server(config: ServerConfig) -> Self {
        Self::over(ServerConnection::new(Arc::new(config)).expect("a server").into())
    }

    fn over(mut conn: rustls::Connection) -> Self {
        conn.set_buffer_limit(None);
        Self(conn)
    }

    /// Returns everything that the end has to send now.
    pub fn output(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut wire).expect("a vector takes all");
        }
        wire
    }

    /// Returns a genuine record of type `kind`, with the content `body` and then `zeros` zero
    /// bytes.
    pub fn forge(&mut self, kind: u8, body: &[u8], zeros: u16) -> Vec<u8> {
        self.0.writer().write_all(&forge::order(kind, body, zeros)).expect("no limit");
        self.output()
    }

    pub fn say(&mut self, data: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(data).expect("no limit");
        self.output()
    }

    /// Returns `count` KeyUpdates, each of which asks for an answer. Empty application records
    /// between them keep rustls from counting too many in a row.
    pub fn key_updates(&mut self, count: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        for n in 1..=count {
            self.0.refresh_traffic_keys().expect("TLS 1.3");
            wire.extend(self.output());
            if n % KEY_UPDATES_MAX == 0 {
                wire.extend(self.forge(APPLICATION, &[], 0));
            }
        }
        wire
    }

    /// Receives the other end's output; returns the plaintext.
    pub fn hear(&mut self, mut wire: &[u8]) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        while !wire.is_empty() {
            let taken = self.0.read_tls(&mut wire).expect("room");
            self.0.process_new_packets()?;
            match self.0.reader().read_to_end(&mut content) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                ended => _ = ended.expect("no cut"),
            }
            if taken == 0 {
                break;
            }
        }
        Ok(content)
    }
}

/// An unprotected record.
pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a record's length").to_be_bytes();
    [&[kind, 3, 3, len[0], len[1]], body].concat()
}

/// Counts the heap memory allocated by code that runs under it, on this thread only.
#[derive(Debug)]
pub struct Meter {
    measure: Measure,
    current: i64,
    peak: i64,
    zero: i64,
}

/// Runs the work, and returns the most bytes that it had on the heap at a time, and how many more there are after it.
pub type Measure = fn(&mut dyn FnMut()) -> (u64, i64);

/// A [`Meter`](crate::attack::Meter). The caller depends on `allocation-counter`, which replaces the allocator of whatever is linked with it.
#[macro_export]
macro_rules! meter {
    () => {
        $crate::attack::Meter::new(|work| {
            let info = allocation_counter::measure(work);
            (info.bytes_max, info.bytes_current)
        })
    };
}

impl Meter {
    pub fn new(measure: Measure) -> Self {
        Self { measure, current: 0, peak: 0, zero: 0 }
    }

    pub fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (mut work, mut result) = (Some(work), None);
        let (most, left) = (self.measure)(&mut || result = work.take().map(|work| work()));
        self.peak = self.peak.max(self.current + i64::try_from(most).expect("no such heap"));
        self.current += left;
        result.expect("it ran")
    }

    /// Makes the current heap size the base of later peaks.
    pub fn reset(&mut self) {
        (self.zero, self.peak) = (self.current, self.current);
    }

    /// The peak since the last reset, in bytes.
    pub fn peak(&self) -> usize {
        usize::try_from(self.peak - self.zero).expect("the peak includes the zero")
    }

    /// The current difference from the base, in bytes; negative if memory from before has been
    /// freed.
    pub fn left(&self) -> i64 {
        self.current - self.zero
    }
}

/// What an attacker sends, the error in which it ends, and the alert that the attacker receives.
pub type Offence = (fn(&mut Peer) -> Vec<u8>, Error, Option<AlertDescription>);

/// Records that end a session. All but the first are sealed with the attacker's keys.
pub fn offences() -> [Offence; 5] {
    [
        (|_| record(APPLICATION, &[0x5A; 64]), Error::DecryptError, Some(AlertDescription::BadRecordMac)),
        (
            |peer| peer.forge(APPLICATION, &[], 16_385),
            Error::PeerSentOversizedRecord,
            Some(AlertDescription::RecordOverflow),
        ),
        (
            |peer| (0..1000).flat_map(|_| peer.forge(APPLICATION, &[], 0)).collect(),
            PeerMisbehaved::TooManyEmptyFragments.into(),
            None,
        ),
        (
            |peer| peer.forge(ALERT, &[1, 41], 0),
            Error::AlertReceived(AlertDescription::NoCertificate),
            Some(AlertDescription::DecodeError),
        ),
        (
            |peer| {
                let mut wire = peer.forge(HANDSHAKE, &[4, 0, 0xff, 0xff], 0);
                wire.extend((0..0x7fff).flat_map(|_| peer.forge(HANDSHAKE, &[0], 0)));
                wire
            },
            InvalidMessage::HandshakePayloadTooLarge.into(),
            None,
        ),
    ]
}
