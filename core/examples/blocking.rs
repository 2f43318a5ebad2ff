//! A client on a blocking `std::net` socket: sends MESSAGE and prints the reply.
//!
//! One thread sends, then receives. This suits a peer that reads a whole request before it replies.
//! If both sides send at the same time, each may wait for the other to read: see `readiness.rs` for
//! that.
#![allow(clippy::disallowed_methods, reason = "only the core must not use the clock and sockets")]

mod common;

use std::error::Error;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags, WriteError};

use common::{Peer, Reply, Request};

/// The most time that the peer may let a send wait.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// The most time that the peer may take to end the stream after us.
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
    // Send our close_notify, then wait for the peer's: without the latter the stream may have been
    // cut.
    let _ = stream.conn.close(Instant::now());
    stream.give_up = Some(Instant::now() + END_LIMIT);
    stream.transmit()?;
    while stream.read(&mut buf)? > 0 {}
    reply.finish()
}

struct Stream {
    conn: Connection,
    socket: TcpStream,
    /// The time at which a read is given up.
    give_up: Option<Instant>,
}

impl Stream {
    /// Sends `data` like send(2): with `MORE` the tail waits for the next call; without it,
    /// everything has left on return.
    ///
    /// A blocking loop has no timer of its own. If the next call may be late, do not set `MORE`.
    fn send(&mut self, mut data: &[u8], flags: SendFlags) -> io::Result<()> {
        let _ = self.conn.handle_timeout(Instant::now());
        loop {
            let written = self.conn.write(Instant::now(), &[IoSlice::new(data)], flags);
            // Makes room after a short or a blocked write. After a failed write it returns the
            // cause.
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

    /// Waits for plaintext. `Ok(0)` is the stream's proper end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.conn.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            // Before sleeping: release what the peer may be waiting for, and wake up for the
            // deadline.
            let now = Instant::now();
            let _ = self.conn.handle_timeout(now);
            let _ = self.conn.handle_read_wait(now);
            self.transmit()?;
            // A timeout of zero would be an error. A deadline that is due already fires in the next
            // turn.
            let left = |at: Instant| at.saturating_duration_since(now).max(Duration::from_millis(1));
            if self.give_up.is_some_and(|at| at <= now) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wake_up = self.conn.poll_timeout().into_iter().chain(self.give_up).min();
            self.socket.set_read_timeout(wake_up.map(left))?;
            self.receive()?;
        }
    }

    /// Receives once, then transmits the answers of TLS.
    fn receive(&mut self) -> io::Result<()> {
        match self.conn.receive_from(Instant::now(), &mut self.socket) {
            Ok(_) => self.transmit(),
            Err(ReceiveError::Io(error)) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
            Err(error) => {
                // Sends the alert if possible, and returns the error that caused it.
                let _ = self.transmit();
                Err(error.into())
            }
        }
    }

    /// Transmits what may leave; the core handles partial sends and EINTR. "Blocked" means here
    /// that the write timeout has passed.
    fn transmit(&mut self) -> io::Result<()> {
        let sent = self.conn.transmit_with(|bufs, _more| self.socket.write_vectored(bufs))?;
        if sent.blocked {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}
