//! The ways of turning writes into records and sends that the simulator compares.
//!
//! Ours run the real [`CorkPolicy`] over a sealer that makes nothing but sizes. The others are what
//! careful authors do without it, with the same sizes.

use std::fmt;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use tls_cork::{CorkConfig, CorkPolicy, DynamicRecords, MAX_RECORD_SIZE, Seal, SealError, SendFlags, WriteError};
use tls_cork_programs::Failure;

use super::tcp::Tcp;

/// What a TLS 1.3 record adds to its plaintext: 5 bytes of header, 1 of content type, 16 of AEAD tag.
pub(crate) const RECORD_OVERHEAD: usize = 22;
/// Ciphertext that rustls lets wait before its writer takes nothing more (`DEFAULT_BUFFER_LIMIT`).
const RUSTLS_LIMIT: usize = 64 * 1024;
/// Plaintext of a record that fits one segment: what `DynamicRecords` has, too.
pub(crate) const SMALL_RECORD: usize = 1369;

/// One way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A flush for each piece: what rustls does with plain writes.
    Immediate,
    /// The same within TCP_CORK: the kernel fills segments until the final piece, for 200 ms at most.
    TcpCork,
    /// Nothing before the final piece, however much that is; then record by record: GnuTLS's cork.
    FullCork,
    /// tls-cork with 16 KiB records: its defaults.
    Cork,
    /// tls-cork with small records at the start and after a pause (R13).
    CorkDynamic,
    /// tls-cork with small records throughout.
    CorkSmall,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 6] =
        [Self::Immediate, Self::TcpCork, Self::FullCork, Self::Cork, Self::CorkDynamic, Self::CorkSmall];

    fn config(self) -> Option<CorkConfig> {
        let config = CorkConfig::default();
        match self {
            Self::Immediate | Self::TcpCork | Self::FullCork => None,
            Self::Cork => Some(config),
            Self::CorkDynamic => Some(config.dynamic_records(DynamicRecords::default())),
            Self::CorkSmall => Some(config.record_size(SMALL_RECORD)),
        }
    }

    /// A writer of this kind on a fresh connection.
    pub(crate) fn writer(self) -> Result<Box<dyn Writer>, Failure> {
        let Some(config) = self.config() else {
            return Ok(Box::new(ByHand::new(self)));
        };
        let policy = CorkPolicy::new(Sizes::default(), config).map_err(|e| Failure::new("configure", self, e))?;
        Ok(Box::new(Corked { policy, origin: Instant::now(), zeroes: Vec::new() }))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Immediate => "immediate",
            Self::TcpCork => "tcp-cork",
            Self::FullCork => "full-cork",
            Self::Cork => "more",
            Self::CorkDynamic => "more dynamic",
            Self::CorkSmall => "more 1369",
        })
    }
}

/// Ends of a record, as offsets in the plaintext and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordEnd {
    /// Plaintext bytes up to here.
    pub(crate) plaintext: u64,
    /// Wire bytes up to here.
    pub(crate) wire: u64,
}

/// A policy at work on one connection. Time counts from when the connection was established. An error
/// is a fault of tls-cork.
pub(crate) trait Writer {
    /// Takes a prefix of `len` bytes; zero while it is full.
    fn write(&mut self, now: Duration, len: usize, more: bool) -> Result<usize, Failure>;

    /// Hands over to the kernel what may leave.
    fn transmit(&mut self, now: Duration, tcp: &mut Tcp) -> Result<(), Failure>;

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// The deadline has come.
    fn handle_timeout(&mut self, _now: Duration) {}

    /// Bytes that wait in the process, as plaintext or ciphertext.
    fn waiting(&self) -> usize;

    /// The records made so far.
    fn records(&self) -> &[RecordEnd];

    /// The longest time for which the policy held something back.
    fn longest_hold(&self) -> Duration;
}

/// A sealer that makes the sizes of TLS 1.3 records, filled with zeroes.
#[derive(Debug, Default)]
struct Sizes {
    ends: Vec<RecordEnd>,
    output: Vec<u8>,
    waiting: usize,
}

impl Sizes {
    fn record(&mut self, plaintext: usize) {
        let last = self.ends.last().copied().unwrap_or(RecordEnd { plaintext: 0, wire: 0 });
        let wire = plaintext + RECORD_OVERHEAD;
        self.ends.push(RecordEnd { plaintext: last.plaintext + plaintext as u64, wire: last.wire + wire as u64 });
        self.waiting += wire;
    }

    /// Seals `len` bytes into records of `record_size`; returns how many that makes.
    fn records(&mut self, len: usize, record_size: usize) -> usize {
        let mut rest = len;
        while rest > 0 {
            let plaintext = rest.min(record_size);
            self.record(plaintext);
            rest -= plaintext;
        }
        len.div_ceil(record_size)
    }
}

impl Seal for Sizes {
    fn is_ready(&self) -> bool {
        true
    }

    fn max_record_size(&self) -> usize {
        MAX_RECORD_SIZE
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        let records = self.records(plaintext.iter().map(|piece| piece.len()).sum(), record_size);
        self.output.resize(self.waiting.max(self.output.len()), 0);
        Ok(records)
    }

    fn has_output(&self) -> bool {
        self.waiting > 0
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let taken = send(&[IoSlice::new(&self.output[..self.waiting])], false)?;
        self.waiting -= taken;
        Ok(taken)
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        Ok(())
    }
}

/// tls-cork itself.
struct Corked {
    policy: CorkPolicy<Sizes>,
    /// Any instant will do: only differences matter.
    origin: Instant,
    zeroes: Vec<u8>,
}

impl Writer for Corked {
    fn write(&mut self, now: Duration, len: usize, more: bool) -> Result<usize, Failure> {
        self.zeroes.resize(len.max(self.zeroes.len()), 0);
        match self.policy.write(self.origin + now, &[IoSlice::new(&self.zeroes[..len])], SendFlags::more_if(more)) {
            Ok(written) => Ok(written.accepted),
            Err(WriteError::Blocked) => Ok(0),
            Err(error) => Err(Failure::new("simulate", "write", error)),
        }
    }

    fn transmit(&mut self, now: Duration, tcp: &mut Tcp) -> Result<(), Failure> {
        let send = |bufs: &[IoSlice<'_>], more: bool| match tcp.send(now, bufs.iter().map(|b| b.len()).sum(), more) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        };
        self.policy.transmit_with(send).map(drop).map_err(|e| Failure::new("simulate", "transmit", e))
    }

    fn deadline(&self) -> Option<Duration> {
        self.policy.poll_timeout().map(|due| due.saturating_duration_since(self.origin))
    }

    fn handle_timeout(&mut self, now: Duration) {
        let _ = self.policy.handle_timeout(self.origin + now);
    }

    fn waiting(&self) -> usize {
        self.policy.waiting() + self.policy.get_ref().waiting
    }

    fn records(&self) -> &[RecordEnd] {
        &self.policy.get_ref().ends
    }

    fn longest_hold(&self) -> Duration {
        self.policy.stats().longest_hold
    }
}

/// What is done without tls-cork.
struct ByHand {
    kind: Kind,
    sizes: Sizes,
    /// The last piece said that more is coming.
    more: bool,
    /// Full cork: plaintext gathered, how much of it may leave, and since when it is gathered.
    gathered: usize,
    released: usize,
    since: Option<Duration>,
    longest_hold: Duration,
}

impl ByHand {
    fn new(kind: Kind) -> Self {
        let sizes = Sizes::default();
        Self { kind, sizes, more: false, gathered: 0, released: 0, since: None, longest_hold: Duration::ZERO }
    }

    /// Sends what is sealed; whether all of it was taken.
    fn send(&mut self, now: Duration, tcp: &mut Tcp, more: bool) -> bool {
        if self.sizes.waiting > 0 {
            self.sizes.waiting -= tcp.send(now, self.sizes.waiting, more);
        }
        self.sizes.waiting == 0
    }
}

impl Writer for ByHand {
    fn write(&mut self, now: Duration, len: usize, more: bool) -> Result<usize, Failure> {
        self.more = more;
        if self.kind != Kind::FullCork {
            let taken = len.min(RUSTLS_LIMIT.saturating_sub(self.sizes.waiting));
            self.sizes.records(taken, MAX_RECORD_SIZE);
            return Ok(taken);
        }
        self.gathered += len;
        let since = *self.since.get_or_insert(now);
        if !more {
            self.released = self.gathered;
            self.since = None;
            self.longest_hold = self.longest_hold.max(now - since);
        }
        Ok(len)
    }

    fn transmit(&mut self, now: Duration, tcp: &mut Tcp) -> Result<(), Failure> {
        let more = self.kind == Kind::TcpCork && self.more;
        while self.send(now, tcp, more) && self.released > 0 {
            let plaintext = self.released.min(MAX_RECORD_SIZE);
            self.sizes.record(plaintext);
            self.released -= plaintext;
            self.gathered -= plaintext;
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.gathered + self.sizes.waiting
    }

    fn records(&self) -> &[RecordEnd] {
        &self.sizes.ends
    }

    fn longest_hold(&self) -> Duration {
        self.longest_hold
    }
}
