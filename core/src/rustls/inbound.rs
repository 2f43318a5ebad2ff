//! Received bytes in, plaintext out.

use std::io::{self, Read};

use super::Session;

impl Session {
    /// Whether rustls takes more bytes: not while plaintext waits to be read, nor after the peer's `close_notify`.
    pub(crate) fn wants_receive(&self) -> bool {
        self.conn.wants_read() || (self.conn.is_handshaking() && !self.conn.wants_write())
    }

    /// One read from `reader`; zero is the end of the transport.
    pub(crate) fn receive_from(&mut self, reader: &mut dyn Read) -> io::Result<usize> {
        self.conn.read_tls(reader)
    }

    /// Returns whether plaintext waits to be read.
    pub(crate) fn process(&mut self) -> Result<bool, ::rustls::Error> {
        let state = self.conn.process_new_packets()?;
        self.may_have_control |= self.is_tls13() && !self.conn.is_handshaking();
        Ok(state.plaintext_bytes_to_read() > 0)
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.conn.reader().read(buf)
    }
}
