//! rustls as it comes: its own buffers, its own limits.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::plain::Sink;
use crate::shared::socket::CountingSocket;

#[derive(Debug)]
pub(super) struct TlsSink {
    conn: ClientConnection,
    socket: CountingSocket,
    readable: bool,
    writable: bool,
}

impl TlsSink {
    pub(super) fn new(
        socket: CountingSocket,
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
    ) -> io::Result<Self> {
        Ok(Self {
            conn: ClientConnection::new(config, server_name).map_err(io::Error::other)?,
            socket,
            readable: true,
            writable: true,
        })
    }

    /// Takes in what the socket has; `WouldBlock` when that is nothing.
    fn receive(&mut self) -> io::Result<()> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.conn.read_tls(&mut self.socket) {
            Ok(0) => self.readable = false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => {
                self.readable = false;
                return Err(error);
            }
        }
        let processed = self.conn.process_new_packets();
        // Handshake messages and, after an error, the alert that says why.
        let flushed = self.flush();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        flushed.map(drop)
    }
}

impl Sink for TlsSink {
    fn socket(&self) -> &CountingSocket {
        &self.socket
    }

    fn socket_mut(&mut self) -> &mut CountingSocket {
        &mut self.socket
    }

    fn is_ready(&self) -> bool {
        !self.conn.is_handshaking()
    }

    /// Encrypts even while the socket is full, as far as rustls's buffer limit goes: the next
    /// records are then ready when it drains.
    fn put(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match bufs {
            [one] => self.conn.writer().write(one),
            many => self.conn.writer().write_vectored(many),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        while self.conn.wants_write() {
            if !self.writable {
                return Ok(false);
            }
            match self.conn.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn has_unsent(&self) -> bool {
        self.conn.wants_write()
    }

    fn lift_limit(&mut self) {
        self.conn.set_buffer_limit(None);
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.conn.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receive()?,
                result => return result,
            }
        }
    }

    fn set_readiness(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    fn send_close(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush().map(drop)
    }
}
