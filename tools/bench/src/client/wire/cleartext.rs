//! The same strategies without TLS, to tell what TLS costs.

use std::io::{self, IoSlice, Read, Write};

use super::plain::Sink;
use crate::shared::socket::CountingSocket;

#[derive(Debug)]
pub(super) struct CleartextSink {
    socket: CountingSocket,
    readable: bool,
    writable: bool,
}

impl CleartextSink {
    pub(super) fn new(socket: CountingSocket) -> Self {
        Self { socket, readable: true, writable: true }
    }
}

impl Sink for CleartextSink {
    fn socket(&self) -> &CountingSocket {
        &self.socket
    }

    fn socket_mut(&mut self) -> &mut CountingSocket {
        &mut self.socket
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn put(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        while self.writable {
            let result = match bufs {
                [one] => self.socket.write(one),
                many => self.socket.write_vectored(many),
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(self.writable)
    }

    fn has_unsent(&self) -> bool {
        false
    }

    fn lift_limit(&mut self) {}

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(&mut self.socket, &mut self.readable, buffer)
    }

    fn set_readiness(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    fn send_close(&mut self) -> io::Result<()> {
        self.socket.shutdown_write()
    }
}

/// Reads while the socket is known to be readable, and notes when it no longer is.
pub(super) fn read(socket: &mut CountingSocket, readable: &mut bool, buffer: &mut [u8]) -> io::Result<usize> {
    while *readable {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *readable = false,
            result => return result,
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}
