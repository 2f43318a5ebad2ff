//! The strategies that need no cork of ours, over rustls as it comes: its own buffers, its own limits.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use mio::event::Event;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::request_queue::{Outgoing, RequestQueue};
use super::{Strategy, Wire};
use crate::shared::socket::{Counters, CountingSocket};

#[derive(Debug)]
pub(super) struct FlushedWire {
    session: Session,
    strategy: Strategy,
    queue: RequestQueue,
    tcp_corked: bool,
    /// `FullCork`: what the turn has copied together. Its capacity is kept from turn to turn.
    held: Vec<u8>,
    closing: bool,
}

impl FlushedWire {
    pub(super) fn new(
        socket: CountingSocket,
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
        strategy: Strategy,
    ) -> io::Result<Self> {
        let mut conn = ClientConnection::new(config, server_name).map_err(io::Error::other)?;
        if strategy == Strategy::FullCork {
            // It takes any amount, as a corked session does.
            conn.set_buffer_limit(None);
        }
        Ok(Self {
            session: Session { conn, socket, readable: true, writable: true },
            strategy,
            queue: RequestQueue::default(),
            tcp_corked: false,
            held: Vec::new(),
            closing: false,
        })
    }

    /// Sends what waits until nothing does or the socket pushes back.
    fn drive(&mut self) -> io::Result<()> {
        if !self.held.is_empty() {
            self.session.conn.writer().write_all(&self.held)?;
            self.held.clear();
        }
        self.drive_queue()?;
        self.session.flush()?;
        if self.closing && self.queue.is_empty() {
            self.closing = false;
            self.session.conn.send_close_notify();
            self.session.flush()?;
        }
        Ok(())
    }

    fn drive_queue(&mut self) -> io::Result<()> {
        while let Some(request) = self.queue.front_mut() {
            if self.strategy == Strategy::TcpCork && !self.tcp_corked {
                self.session.socket.set_cork(true)?;
                self.tcp_corked = true;
            }
            while !request.is_done() {
                let n = match self.strategy {
                    Strategy::Vectored => self.session.put(&request.slices())?,
                    _ if request.header().is_empty() => self.session.put(&[IoSlice::new(request.payload())])?,
                    _ => self.session.put(&[IoSlice::new(request.header())])?,
                };
                if n == 0 {
                    return Ok(());
                }
                request.advance(n);
            }
            if self.tcp_corked {
                // Uncorked before its data has reached the kernel, the cork would be for nothing.
                if !self.session.flush()? {
                    return Ok(());
                }
                self.session.socket.set_cork(false)?;
                self.tcp_corked = false;
            }
            self.queue.pop();
        }
        Ok(())
    }
}

impl Wire for FlushedWire {
    fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.session.socket, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        self.session.flush().map(drop)
    }

    fn is_ready(&self) -> bool {
        !self.session.conn.is_handshaking()
    }

    fn submit(&mut self, request: Outgoing, last: bool) -> io::Result<()> {
        if self.strategy == Strategy::FullCork {
            self.held.extend_from_slice(request.header());
            self.held.extend_from_slice(request.payload());
            return Ok(());
        }
        self.queue.push(request, last);
        self.drive_queue()
    }

    fn end_turn(&mut self) -> io::Result<()> {
        self.drive()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.conn.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.session.receive()?,
                result => return result,
            }
        }
    }

    fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        self.session.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        if event.is_writable() || event.is_write_closed() {
            self.session.writable = true;
            self.drive()?;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.closing = true;
        self.drive()
    }

    fn has_unsent(&self) -> bool {
        self.closing || !self.queue.is_empty() || !self.held.is_empty() || self.session.conn.wants_write()
    }

    fn counters(&self) -> Counters {
        self.session.socket.counters()
    }
}

#[derive(Debug)]
struct Session {
    conn: ClientConnection,
    socket: CountingSocket,
    readable: bool,
    writable: bool,
}

impl Session {
    /// One write, flushed. Zero means that the socket has pushed back and there is no room.
    ///
    /// It encrypts even while the socket is full, as far as rustls's buffer limit goes: the next
    /// records are then ready when it drains.
    fn put(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        for _ in 0..2 {
            let n = self.conn.writer().write_vectored(bufs)?;
            if !self.flush()? || n > 0 {
                return Ok(n);
            }
            // There was no room, and flushing made some.
        }
        Err(io::ErrorKind::WriteZero.into())
    }

    /// Hands everything taken to the socket; false when the socket has pushed back.
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
