//! The inbound half: takes received bytes, returns plaintext.

use std::io::{self, BufRead, Read};
use std::ops::RangeInclusive;

use ::rustls::{Connection, InvalidMessage};

use super::ahead::overrun;
use super::{Session, has_early_data, is_tls13};

const EARLY_DATA_ACCEPTED: &str =
    "the server's configuration accepts early data, which would be lost: set its max_early_data_size to 0";

/// The content types from change_cipher_spec to heartbeat.
const CONTENT_TYPES: RangeInclusive<u8> = 20..=24;

/// The room that rustls makes in its buffer for a read, in bytes.
const RUSTLS_READ: u32 = 4096;

/// A transport that has no bytes now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Session {
    /// Whether rustls takes more bytes. It does not while plaintext waits to be read, nor after the
    /// peer's `close_notify`, nor during the handshake while output waits.
    pub(crate) fn wants_receive(&self) -> bool {
        self.conn.wants_read() || (self.conn.is_handshaking() && !self.conn.wants_write())
    }

    /// Whether bytes that were read ahead wait, and rustls takes them now.
    #[inline]
    pub(crate) fn wants_ahead(&self) -> bool {
        !self.ahead.is_empty() && self.conn.wants_read()
    }

    /// Reads once from `reader`, in a large step after the handshake (R17). Returns the number of
    /// bytes, zero at the end of the transport.
    ///
    /// `None` if nothing was read because a handshake message takes more room than rustls allows
    /// it. Call [`process`](Self::process) afterwards.
    pub(crate) fn receive_from(&mut self, reader: &mut dyn Read) -> io::Result<Option<usize>> {
        if self.conn.is_handshaking() {
            return self.receive_directly(reader);
        }
        let bytes = self.ahead.fill(reader)?;
        self.first.look(self.ahead.get());
        // rustls has to see the end.
        if bytes == 0 { Ok(self.conn.read_tls(&mut io::empty()).ok()) } else { Ok(Some(bytes)) }
    }

    /// As [`receive_from`](Self::receive_from), but reads no more than rustls takes.
    pub(crate) fn receive_directly(&mut self, reader: &mut dyn Read) -> io::Result<Option<usize>> {
        let mut asked = Asked { reader, yes: false, first: &mut self.first };
        let taken = match self.conn.read_tls(&mut asked) {
            Err(_) if !asked.yes => return Ok(None),
            done => done?,
        };
        self.taken = self.taken.saturating_add(taken as u32);
        Ok(Some(taken))
    }

    /// Processes the bytes of a receive: all of them, or until plaintext waits to be read.
    pub(crate) fn process(&mut self) -> Result<(), ::rustls::Error> {
        if self.ahead.is_empty() { self.process_taken() } else { self.process_ahead() }
    }

    /// Gives rustls the bytes that were read ahead and processes them, until plaintext waits to be
    /// read or all are processed.
    pub(crate) fn process_ahead(&mut self) -> Result<(), ::rustls::Error> {
        while self.wants_ahead() {
            self.take_ahead().inspect_err(|_| self.ahead.clear())?;
        }
        self.shrink();
        Ok(())
    }

    /// Gives rustls as many of them as it takes at a time, and processes those.
    fn take_ahead(&mut self) -> Result<(), ::rustls::Error> {
        // The one error: a handshake message takes more room than rustls allows it.
        let taken = self.conn.read_tls(&mut self.ahead).map_err(|_| InvalidMessage::HandshakePayloadTooLarge)?;
        self.taken = self.taken.saturating_add(taken as u32);
        self.process_taken()
    }

    /// Lets rustls shrink its buffer of ciphertext, which it does when it reads: an idle stream would
    /// keep the room for a large record.
    #[inline]
    fn shrink(&mut self) {
        if self.taken > RUSTLS_READ && self.ahead.is_empty() && self.ahead.was_short() && self.conn.wants_read() {
            self.taken = 0;
            let _ = self.conn.read_tls(&mut Nothing);
        }
    }

    /// Processes the bytes that rustls has taken.
    fn process_taken(&mut self) -> Result<(), ::rustls::Error> {
        let may_accept = self.conn.is_handshaking() && matches!(self.conn, Connection::Server(_));
        let state = self.conn.process_new_packets()?;
        if may_accept && has_early_data(&mut self.conn) {
            // Nothing may leave: the answer that waits would acknowledge bytes that are never read
            // (R6).
            self.last_bytes = Some(0);
            return Err(::rustls::Error::General(EARLY_DATA_ACCEPTED.to_owned()));
        }
        self.tls13 = self.tls13 || is_tls13(&self.conn);
        self.may_have_control |= self.tls13 && !self.conn.is_handshaking();
        if state.peer_has_closed() {
            // Bytes behind the end are ignored (RFC 8446, section 6.1).
            self.ahead.clear();
        }
        Ok(())
    }

    /// Whether the peer's first bytes can be the beginning of TLS; true while there are none.
    pub(crate) fn peer_speaks_tls(&self) -> bool {
        self.first.is_tls()
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.conn.reader().read(buf)?;
        self.shrink();
        Ok(len)
    }

    pub(crate) fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.conn.reader().into_first_chunk()
    }

    /// Takes `len` bytes of the first chunk, or all of it if it is shorter: rustls panics on more than there are.
    pub(crate) fn consume(&mut self, len: usize) {
        let mut reader = self.conn.reader();
        let left = reader.fill_buf().map_or(0, <[u8]>::len);
        reader.consume(len.min(left));
        self.shrink();
    }
}

/// A reader that records whether rustls has called it. So an error of the reader can be
/// distinguished from one that rustls returns before it reads.
struct Asked<'a> {
    reader: &'a mut dyn Read,
    yes: bool,
    first: &'a mut FirstBytes,
}

impl Read for Asked<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.yes = true;
        match self.reader.read(buf)? {
            taken if taken <= buf.len() => {
                self.first.look(&buf[..taken]);
                Ok(taken)
            }
            taken => Err(overrun(taken, buf.len())),
        }
    }
}

/// The peer's first bytes, which show whether it speaks TLS.
#[derive(Debug, Default)]
pub(super) struct FirstBytes {
    bytes: [u8; 2],
    len: usize,
}

impl FirstBytes {
    #[inline]
    fn look(&mut self, received: &[u8]) {
        if self.len < self.bytes.len() {
            for byte in received.iter().take(self.bytes.len() - self.len) {
                self.bytes[self.len] = *byte;
                self.len += 1;
            }
        }
    }

    /// Whether the bytes can begin a record: a content type and the major version 3 (RFC 8446,
    /// section 5.1).
    fn is_tls(&self) -> bool {
        match self.bytes[..self.len] {
            [] => true,
            [kind] => CONTENT_TYPES.contains(&kind),
            [kind, version, ..] => CONTENT_TYPES.contains(&kind) && version == 3,
        }
    }
}
