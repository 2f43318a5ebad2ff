//! A client on a blocking `std::net` socket: sends MESSAGE and prints the reply.
//!
//! One thread that sends, then receives: right for a peer that reads a whole request before it replies. Where both sides
//! send at the same time, each may wait for the other to read; see `readiness.rs` then.
#![allow(clippy::disallowed_methods, reason = "the core has no clock and no sockets; what embeds it has")]

mod common;

use std::error::Error;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags, WriteError};

use common::{Peer, Reply, Request};

/// How long the peer may leave a send waiting.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// How long the peer may take to end the stream after us.
const END_LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let (peer, request) = common::arguments(std::env::args().skip(1))?;
    let reply = exchange(peer, CorkConfig::default(), request)?;
    Ok(io::stdout().write_all(&reply)?)
}

pub(crate) fn exchange((addr, config, name): Peer, cork: CorkConfig, request: Request) -> io::Result<Vec<u8>> {
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(SEND_LIMIT))?;
    let conn = Connection::client(config, name, cork)?;
    let mut stream = Stream { conn, socket, give_up: None };
    while stream.conn.is_handshaking() {
        stream.transmit()?;
        stream.receive()?;
    }
    for (data, flags) in request {
        stream.send(&data, flags)?;
    }
    let mut reply = Reply::default();
    let mut buf = [0; 16 * 1024];
    while !reply.is_complete() {
        match stream.read(&mut buf)? {
            0 => break,
            n => reply.push(&buf[..n])?,
        }
    }
    // Our close_notify, then the peer's: without it the stream may have been cut.
    let _ = stream.conn.close(Instant::now());
    stream.give_up = Some(Instant::now() + END_LIMIT);
    stream.transmit()?;
    while stream.read(&mut buf)? > 0 {}
    reply.finish()
}

struct Stream {
    conn: Connection,
    socket: TcpStream,
    /// When a read is given up.
    give_up: Option<Instant>,
}

impl Stream {
    /// As `send(2)`: with `MORE` the tail waits for the next call, without it everything has left on return.
    ///
    /// A blocking loop has no timer of its own: if the next call may be long in coming, do not say `MORE`.
    fn send(&mut self, mut data: &[u8], flags: SendFlags) -> io::Result<()> {
        let _ = self.conn.handle_timeout(Instant::now());
        loop {
            let written = self.conn.write(Instant::now(), &[IoSlice::new(data)], flags);
            // Makes room after a short or a blocked write, and tells why one has failed.
            self.transmit()?;
            match written {
                Ok(written) => data = &data[written.accepted..],
                Err(WriteError::Blocked) => {}
                Err(error) => return Err(error.into()),
            }
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits for plaintext; `Ok(0)` is the stream's proper end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.conn.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            // About to sleep: let go of what the peer may be waiting for, and wake up for the deadline.
            let now = Instant::now();
            let _ = self.conn.handle_timeout(now);
            let _ = self.conn.handle_read_wait(now);
            self.transmit()?;
            // Zero would be an error: what is due already is so at the next turn.
            let left = |at: Instant| at.saturating_duration_since(now).max(Duration::from_millis(1));
            if self.give_up.is_some_and(|at| at <= now) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wake_up = self.conn.poll_timeout().into_iter().chain(self.give_up).min();
            self.socket.set_read_timeout(wake_up.map(left))?;
            self.receive()?;
        }
    }

    /// Receives once, and answers what TLS has to answer.
    fn receive(&mut self) -> io::Result<()> {
        match self.conn.receive_from(Instant::now(), &mut self.socket) {
            Ok(_) => self.transmit(),
            Err(ReceiveError::Io(error)) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
            Err(error) => {
                // The alert for the peer leaves if it can; the error that caused it counts.
                let _ = self.transmit();
                Err(error.into())
            }
        }
    }

    /// Partial sends and EINTR are taken care of; "blocked" means here that the write timeout has passed.
    fn transmit(&mut self) -> io::Result<()> {
        let sent = self.conn.transmit_with(|bufs, _more| self.socket.write_vectored(bufs))?;
        if sent.blocked {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}
