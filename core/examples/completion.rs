//! A client on a completion loop, with io_uring through the `compio` crate: sends MESSAGE and
//! prints the reply. Linux only.
//!
//! Operations own their buffers until they complete:
//! [`take_transmit`](tls_cork::Connection::take_transmit) returns output as owned buffers. There is
//! at most one send and one receive at a time.
#![allow(clippy::disallowed_methods, reason = "only the core must not use the clock and sockets")]
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "the loop exists on Linux only"))]

mod common;

use std::error::Error;

#[cfg(target_os = "linux")]
pub(crate) use client::exchange;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    let (peer, request) = common::arguments(std::env::args().skip(1))?;
    let reply = exchange(peer, tls_cork::CorkConfig::default(), request)?;
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &reply)?)
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("this example needs io_uring, which only Linux has: see `readiness` for other systems".into())
}

#[cfg(target_os = "linux")]
mod client {
    use std::io;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use compio::buf::BufResult;
    use compio::io::{AsyncRead, AsyncWriteExt};
    use compio::net::TcpStream;
    use compio::runtime::Runtime;
    use compio::time::{timeout, timeout_at};
    use futures_util::future::FutureExt;
    use futures_util::stream::{FuturesUnordered, StreamExt};
    use tls_cork::{Connection, CorkConfig, WriteError};

    use super::common::{Peer, Reply, Request};

    /// The most time for sending an alert to a peer that broke the protocol.
    const ALERT_LIMIT: Duration = Duration::from_secs(1);
    /// The most time that the peer may take to end the stream after us.
    const END_LIMIT: Duration = Duration::from_secs(10);

    enum Completion {
        Sent(io::Result<()>),
        Received(io::Result<usize>, Vec<u8>),
    }

    pub(crate) fn exchange(peer: Peer, cork: CorkConfig, request: Request) -> io::Result<Vec<u8>> {
        Runtime::new()?.block_on(run(peer, cork, request))
    }

    async fn run((addr, config, name): Peer, cork: CorkConfig, mut request: Request) -> io::Result<Vec<u8>> {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        let mut conn = Connection::client(config, name, cork)?;
        let mut reply = Reply::default();
        let mut operations = FuturesUnordered::new();
        operations.push(receive(socket.clone(), Vec::with_capacity(16 * 1024)).boxed_local());
        let (mut sending, mut ended, mut give_up) = (false, false, None);
        loop {
            write(&mut conn, &mut request)?;
            if reply.is_complete() && request.is_empty() {
                let _ = conn.close(Instant::now());
                give_up.get_or_insert(Instant::now() + END_LIMIT);
            }
            if give_up.is_some_and(|at| at <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // Before waiting: release what the peer may be waiting for.
            let _ = conn.handle_read_wait(Instant::now());
            if !sending {
                // Take the next batch only when this one has left: plaintext written meanwhile
                // shares its records.
                if let Some(output) = conn.take_transmit()? {
                    operations.push(send(socket.clone(), output.data).boxed_local());
                    sending = true;
                } else if ended {
                    return reply.finish();
                }
            }
            // Wait for a completion, or for the deadline. The operations are not dropped, and go on
            // meanwhile.
            let completion = match conn.poll_timeout().into_iter().chain(give_up).min() {
                Some(deadline) => timeout_at(deadline, operations.next()).await.unwrap_or_default(),
                None => operations.next().await,
            };
            let _ = conn.handle_timeout(Instant::now());
            match completion {
                None => {}
                Some(Completion::Sent(result)) => {
                    result?;
                    sending = false;
                }
                Some(Completion::Received(result, buf)) => {
                    match take(&mut conn, &buf[..result?], &mut reply) {
                        Ok(end) => ended = end,
                        Err(error) => {
                            // Sends the alert if possible, and returns the error that caused it.
                            if !sending && let Ok(Some(alert)) = conn.take_transmit() {
                                let _ = timeout(ALERT_LIMIT, send(socket, alert.data)).await;
                            }
                            return Err(error);
                        }
                    }
                    if !ended {
                        operations.push(receive(socket.clone(), buf).boxed_local());
                    }
                }
            }
        }
    }

    /// Writes as much of the request as is accepted, and removes it from the request.
    fn write(conn: &mut Connection, request: &mut Request) -> io::Result<()> {
        while let Some((data, flags)) = request.front_mut() {
            match conn.write_bytes(Instant::now(), data, *flags) {
                Ok(_) if data.is_empty() => drop(request.pop_front()),
                Ok(_) => {}
                // Full until a send, or the handshake, has completed.
                Err(WriteError::Blocked) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Processes received bytes; none mean the socket's end. Returns true at the stream's proper
    /// end.
    fn take(conn: &mut Connection, mut data: &[u8], reply: &mut Reply) -> io::Result<bool> {
        let mut buf = [0; 16 * 1024];
        loop {
            let _ = conn.receive_from(Instant::now(), &mut data)?;
            loop {
                match conn.read(&mut buf) {
                    Ok(0) => return Ok(true),
                    Ok(n) => reply.push(&buf[..n])?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if data.is_empty() {
                return Ok(false);
            }
        }
    }

    async fn receive(mut socket: TcpStream, mut buf: Vec<u8>) -> Completion {
        loop {
            let result;
            BufResult(result, buf) = socket.read(buf).await;
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Completion::Received(done, buf),
            }
        }
    }

    /// Sends all of `data`, in as many operations as that takes.
    async fn send(mut socket: TcpStream, data: Bytes) -> Completion {
        let BufResult(result, _) = socket.write_all(data).await;
        Completion::Sent(result)
    }
}
