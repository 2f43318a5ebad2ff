//! The ways to queue one message to many receivers, each on a poll loop.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use mio::event::{Event, Source};
use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;

/// What a careful author seals at a time.
const STEP: usize = 64 * 1024;

/// One receiver, seen from the sender.
pub(super) trait Receiver {
    fn source(&mut self) -> &mut dyn Source;
    /// Goes on with the handshake, and with what is queued.
    fn handle_event(&mut self, event: &Event) -> io::Result<()>;
    fn is_ready(&self) -> bool;
    /// Queues all of `message` and sends what the socket takes.
    fn queue(&mut self, message: Bytes) -> io::Result<()>;
    /// To be called before each poll.
    fn before_poll(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// tls-cork on mio: the message is queued whole, and shared.
pub(super) struct Ours(TlsStream<TcpStream>);

impl Ours {
    pub(super) fn new(socket: TcpStream, config: Arc<ServerConfig>, limit: usize) -> io::Result<Self> {
        let cork = CorkConfig::default();
        let cork = cork.send_buffer_limit(limit.max(256 * 1024));
        TlsStream::server(socket, config, cork).map(Self)
    }
}

impl Receiver for Ours {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.0
    }

    fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        self.0.handle_event(event)
    }

    fn is_ready(&self) -> bool {
        !self.0.is_handshaking()
    }

    fn queue(&mut self, mut message: Bytes) -> io::Result<()> {
        while !message.is_empty() {
            self.0.send_bytes(&mut message, SendFlags::NONE)?;
        }
        Ok(())
    }

    fn before_poll(&mut self) -> io::Result<()> {
        self.0.before_poll().map(drop)
    }
}

/// rustls as it comes, in two ways.
pub(super) struct Rustls {
    conn: ServerConnection,
    socket: TcpStream,
    /// What is not yet sealed.
    queue: VecDeque<Bytes>,
    /// Its buffer limit is lifted and everything sealed at once.
    at_once: bool,
}

impl Rustls {
    pub(super) fn new(socket: TcpStream, config: Arc<ServerConfig>, at_once: bool) -> io::Result<Self> {
        let mut conn = ServerConnection::new(config).map_err(io::Error::other)?;
        if at_once {
            conn.set_buffer_limit(None);
        }
        Ok(Self { conn, socket, queue: VecDeque::new(), at_once })
    }

    /// Sends until the socket pushes back or nothing is left.
    fn send(&mut self) -> io::Result<()> {
        loop {
            while self.conn.wants_write() {
                if would_block(self.conn.write_tls(&mut self.socket))? {
                    return Ok(());
                }
            }
            let Some(front) = self.queue.front_mut() else {
                return Ok(());
            };
            let step = front.len().min(STEP);
            let sealed = self.conn.writer().write(&front[..step])?;
            front.advance(sealed);
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
    }
}

impl Receiver for Rustls {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.socket
    }

    fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        if event.is_readable() {
            while !would_block(self.conn.read_tls(&mut self.socket))? {
                self.conn.process_new_packets().map_err(io::Error::other)?;
            }
        }
        self.send()
    }

    fn is_ready(&self) -> bool {
        !self.conn.is_handshaking()
    }

    fn queue(&mut self, message: Bytes) -> io::Result<()> {
        if self.at_once {
            self.conn.writer().write_all(&message)?;
        } else {
            self.queue.push_back(message);
        }
        self.send()
    }
}

/// No TLS at all.
pub(super) struct Cleartext {
    socket: TcpStream,
    queue: VecDeque<Bytes>,
}

impl Cleartext {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, queue: VecDeque::new() }
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some(front) = self.queue.front_mut() {
            match self.socket.write(front) {
                Ok(sent) => front.advance(sent),
                result => return would_block(result).map(drop),
            }
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        Ok(())
    }
}

impl Receiver for Cleartext {
    fn source(&mut self) -> &mut dyn Source {
        &mut self.socket
    }

    fn handle_event(&mut self, _event: &Event) -> io::Result<()> {
        self.send()
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn queue(&mut self, message: Bytes) -> io::Result<()> {
        self.queue.push_back(message);
        self.send()
    }
}

/// True for WouldBlock; an end of the stream is an error here.
fn would_block(result: io::Result<usize>) -> io::Result<bool> {
    match result {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for dyn Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
