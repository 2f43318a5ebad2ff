//! A client on a completion loop, with io_uring through the `compio` crate: sends MESSAGE and prints the reply. Linux only.
//!
//! Operations own their buffers until they complete: [`take_transmit`](tls_cork::Connection::take_transmit) gives output away. One
//! send and one receive are on their way at a time.
#![allow(clippy::disallowed_methods, reason = "the core has no clock and no sockets; what embeds it has")]
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only the loop is missing there"))]

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
    Err("io_uring is there on Linux only".into())
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

    /// How long the alert for a peer that broke the protocol may take.
    const ALERT_LIMIT: Duration = Duration::from_secs(1);
    /// How long the peer may take to end the stream after us.
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
            // About to wait: let go of what the peer may be waiting for.
            let _ = conn.handle_read_wait(Instant::now());
            if !sending {
                // The next batch only when this one has left: what is written until then shares its records.
                if let Some(output) = conn.take_transmit()? {
                    operations.push(send(socket.clone(), output.data).boxed_local());
                    sending = true;
                } else if ended {
                    return reply.finish();
                }
            }
            // Wait for a completion, or for the deadline. Operations go on meanwhile: none is dropped.
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
                            // The alert for the peer leaves if it can; the error that caused it counts.
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

    /// Writes what is accepted; it leaves the request.
    fn write(conn: &mut Connection, request: &mut Request) -> io::Result<()> {
        while let Some((data, flags)) = request.front_mut() {
            match conn.write_bytes(Instant::now(), data, *flags) {
                Ok(_) if data.is_empty() => drop(request.pop_front()),
                Ok(_) => {}
                // Until a send has completed, or the handshake has.
                Err(WriteError::Blocked) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes what was received, nothing meaning the socket's end; true at the stream's proper end.
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

    /// Sends all of `data`, however many operations that takes.
    async fn send(mut socket: TcpStream, data: Bytes) -> Completion {
        let BufResult(result, _) = socket.write_all(data).await;
        Completion::Sent(result)
    }
}
