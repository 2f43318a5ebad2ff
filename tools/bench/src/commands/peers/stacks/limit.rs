//! Limits: the least that a burst takes, from one warm buffer. Sealing alone, sending alone, and
//! both.

use std::io::{self, Write};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use tls_cork::MAX_RECORD_SIZE;

use super::{Link, Stack, now};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use crate::shared::socket::CountingSocket;

/// RFC 8446, section 5.2: header in front of a record, content type and tag behind it.
const HEADER: usize = 5;
const TRAILER: usize = 1 + 16;
/// As many records as tls-cork seals at a time.
const BATCH: usize = 4;

/// Seals in place with AES-128-GCM, as TLS 1.3 does.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: LessSafeKey,
    sequence: u64,
}

impl Sealer {
    pub(crate) fn new() -> io::Result<Self> {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key), sequence: 0 })
    }

    pub(crate) fn seal(&mut self, data: &mut [u8]) -> io::Result<Tag> {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.sequence.to_be_bytes());
        self.sequence += 1;
        let aad = Aad::from([23, 3, 3, 0, 0]);
        self.key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, data).map_err(io::Error::other)
    }
}

/// Bytes on the wire of `len` bytes in full records.
pub(crate) fn wire_len(len: usize) -> usize {
    len + len.div_ceil(MAX_RECORD_SIZE) * (HEADER + TRAILER)
}

/// What is done with the warm buffer.
struct Limit {
    sealer: Option<Sealer>,
    socket: Option<CountingSocket>,
    /// Sealed and sent over and over: what it holds does not matter, where it is does.
    buffer: Vec<u8>,
    /// Plaintext that is neither sealed nor sent yet.
    waiting: usize,
}

pub(super) fn run_aead(seat: Seat) -> io::Result<()> {
    now(seat.serve(Limit::new(Some(Sealer::new()?), None)))
}

pub(super) fn run_plain(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Limit::new(None, Some(link.counting()?))))
}

pub(super) fn run_aead_plain(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Limit::new(Some(Sealer::new()?), Some(link.counting()?))))
}

impl Limit {
    fn new(sealer: Option<Sealer>, socket: Option<CountingSocket>) -> Self {
        Self { sealer, socket, buffer: vec![0; BATCH * (MAX_RECORD_SIZE + HEADER + TRAILER)], waiting: 0 }
    }

    fn batch(&mut self, len: usize) -> io::Result<()> {
        let mut filled = len;
        if let Some(sealer) = &mut self.sealer {
            filled = wire_len(len);
            for record in self.buffer[..filled].chunks_mut(HEADER + MAX_RECORD_SIZE + TRAILER) {
                let tag = record.len() - 16;
                let sealed = sealer.seal(&mut record[HEADER..tag])?;
                record[tag..].copy_from_slice(sealed.as_ref());
            }
        }
        self.socket.as_mut().map_or(Ok(()), |socket| socket.write_all(&self.buffer[..filled]))
    }
}

impl Stack for Limit {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        self.waiting += piece.len();
        let full = BATCH * MAX_RECORD_SIZE;
        while self.waiting >= full {
            self.batch(full)?;
            self.waiting -= full;
        }
        if last && self.waiting > 0 {
            self.batch(self.waiting)?;
            self.waiting = 0;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), CountingSocket::shutdown_write)
    }

    fn counters(&self) -> Counters {
        let records = self.sealer.as_ref().map_or(0, |sealer| sealer.sequence);
        Counters { records, ..self.socket.as_ref().map_or_else(Counters::default, CountingSocket::counters) }
    }
}
