//! A client on a readiness loop, with the `polling` crate: sends MESSAGE and prints the reply.
//!
//! It sends and receives at the same time, as far as the socket allows.
#![allow(clippy::disallowed_methods, reason = "only the core must not use the clock and sockets")]

mod common;

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use polling::{Event, Poller};
use tls_cork::{Connection, CorkConfig, ReceiveError, WriteError};

use common::{Peer, Reply, Request};

const SOCKET: usize = 0;
/// The most time that the peer may take to end the stream after us.
const END_LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let (peer, request) = common::arguments(std::env::args().skip(1))?;
    let reply = exchange(peer, CorkConfig::default(), request)?;
    Ok(io::stdout().write_all(&reply)?)
}

pub(crate) fn exchange((addr, config, name): Peer, cork: CorkConfig, mut request: Request) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let mut conn = Connection::client(config, name, cork)?;
    let poller = Poller::new()?;
    poller.add(&socket, Event::none(SOCKET))?;
    let mut events = Vec::new();
    let mut reply = Reply::default();
    let mut give_up = None;
    loop {
        // Handle what has happened: time has passed, bytes have arrived, and there may be room to
        // send.
        let _ = conn.handle_timeout(Instant::now());
        let ended = receive(&mut conn, &mut socket, &mut reply)?;
        send(&mut conn, &mut socket, &mut request)?;
        if reply.is_complete() && request.is_empty() {
            let _ = conn.close(Instant::now());
            give_up.get_or_insert(Instant::now() + END_LIMIT);
        }
        // Before sleeping until the peer answers: release what it may be waiting for. A loop that
        // only writes would omit this call, and gather across turns.
        let now = Instant::now();
        let _ = conn.handle_read_wait(now);
        let blocked = transmit(&mut conn, &mut socket)?;
        if ended && !blocked {
            return reply.finish();
        }
        // `polling` reports a source once. Set again what to wait for, and wake up for the
        // deadline.
        poller.modify(&socket, Event { key: SOCKET, readable: !ended, writable: blocked })?;
        if give_up.is_some_and(|at| at <= now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wake_up = conn.poll_timeout().into_iter().chain(give_up).min();
        let timeout = wake_up.map(|at| at.saturating_duration_since(now));
        events.clear();
        match poller.wait(&mut events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

/// Receives until the socket has no more. Returns true at the stream's proper end.
fn receive(conn: &mut Connection, socket: &mut TcpStream, reply: &mut Reply) -> io::Result<bool> {
    let mut buf = [0; 16 * 1024];
    loop {
        match conn.read(&mut buf) {
            Ok(0) => return Ok(true),
            Ok(n) => {
                reply.push(&buf[..n])?;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match conn.receive_from(Instant::now(), socket) {
            // The end of the socket is not the end of the stream: the next read distinguishes them.
            Ok(_) => {}
            Err(ReceiveError::Io(error)) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(false),
                io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
            Err(error) => {
                // Sends the alert if possible, and returns the error that caused it.
                let _ = transmit(conn, socket);
                return Err(error.into());
            }
        }
    }
}

/// Writes and transmits until everything is accepted, or nothing more can be accepted for now.
fn send(conn: &mut Connection, socket: &mut TcpStream, request: &mut Request) -> io::Result<()> {
    while let Some((data, flags)) = request.front_mut() {
        // Accepted bytes are split off `data`; the rest is written again with the same flags.
        let written = conn.write_bytes(Instant::now(), data, *flags);
        if data.is_empty() {
            request.pop_front();
        }
        match written {
            Ok(_) => {}
            Err(WriteError::Blocked) => {
                // The buffer is full. Go on if a transmit makes room; during the handshake it does
                // not.
                transmit(conn, socket)?;
                if conn.send_capacity() == 0 {
                    return Ok(());
                }
            }
            Err(error) => {
                // The transmit returns the cause of the failure.
                transmit(conn, socket)?;
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Transmits what may leave. Returns true if the socket blocked before all of it had left.
fn transmit(conn: &mut Connection, socket: &mut TcpStream) -> io::Result<bool> {
    // `more` is a hint (`MSG_MORE` of send(2)) that the sockets of the standard library cannot
    // take.
    let sent = conn.transmit_with(|bufs, _more| socket.write_vectored(bufs))?;
    Ok(sent.blocked)
}
