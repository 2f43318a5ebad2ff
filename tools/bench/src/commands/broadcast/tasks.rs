//! The ways to write one message to many receivers with async code: a task for each receiver, which waits in its write.

use std::future::Future;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use bytes::Bytes;
use futures_util::io::AsyncWriteExt as _;
use rustls::ServerConfig;
use tls_cork::SendFlags;
use tokio::io::AsyncWriteExt as _;
use tokio::task::LocalSet;

use super::memory::Memory;
use super::sender::{Held, Quiet, STEP_LIMIT, SenderArgs, Stack, accept};
use tls_cork_programs::Failure;

/// Serves as `args` has it, on one thread.
pub(super) fn serve(
    args: &SenderArgs,
    listener: &TcpListener,
    config: Arc<ServerConfig>,
    message: &Bytes,
) -> Result<Held, Failure> {
    let fail = |e: io::Error| Failure::new("broadcast", args.stack.name(), e);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(fail)?;
    let broadcast = Broadcast { args, listener, message };
    LocalSet::new().block_on(&runtime, async {
        match args.stack {
            Stack::OursAsync => {
                let acceptor = tls_cork_async_std::TlsAcceptor::from(config);
                let admit = async |socket| acceptor.accept(Async::<TcpStream>::new(socket)?).await;
                broadcast
                    .run(admit, |mut stream, mut message| async move {
                        stream.send_bytes(&mut message, SendFlags::NONE).await.map(drop)
                    })
                    .await
            }
            Stack::FuturesRustls => {
                let acceptor = futures_rustls::TlsAcceptor::from(config);
                let admit = async |socket| acceptor.accept(Async::<TcpStream>::new(socket)?).await;
                broadcast.run(admit, |mut stream, message| async move { stream.write_all(&message).await }).await
            }
            _ => {
                let acceptor = tokio_rustls::TlsAcceptor::from(config);
                let admit = async |socket| acceptor.accept(tokio::net::TcpStream::from_std(socket)?).await;
                broadcast.run(admit, |mut stream, message| async move { stream.write_all(&message).await }).await
            }
        }
    })
}

struct Broadcast<'a> {
    args: &'a SenderArgs,
    listener: &'a TcpListener,
    message: &'a Bytes,
}

impl Broadcast<'_> {
    async fn run<S, W>(
        &self,
        admit: impl AsyncFn(TcpStream) -> io::Result<S>,
        write: impl Fn(S, Bytes) -> W,
    ) -> Result<Held, Failure>
    where
        W: Future<Output = io::Result<()>> + 'static,
    {
        let fail = |e: io::Error| Failure::new("broadcast", self.args.stack.name(), e);
        let before = Memory::now()?;
        let mut streams = Vec::new();
        for number in 0..self.args.receivers as usize {
            let socket = accept(self.listener, self.args, number).map_err(fail)?;
            streams.push(admit(socket).await.map_err(fail)?);
        }
        settle().await.map_err(fail)?;
        let idle = Memory::now()?;
        let tasks: Vec<_> =
            streams.into_iter().map(|stream| tokio::task::spawn_local(write(stream, self.message.clone()))).collect();
        settle().await.map_err(fail)?;
        let stalled = Memory::now()?;
        if tasks.iter().any(tokio::task::JoinHandle::is_finished) {
            return Err(fail(io::Error::other("a write has ended although its receiver reads nothing")));
        }
        Ok(Held { before, idle, stalled })
    }
}

/// Waits until nothing moves any more.
async fn settle() -> io::Result<()> {
    let deadline = Instant::now() + STEP_LIMIT;
    let mut quiet = Quiet::new();
    while !quiet.has_come() {
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the receivers do not stall"));
        }
        Timer::after(Duration::from_millis(50)).await;
    }
    Ok(())
}
