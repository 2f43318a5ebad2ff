//! What a driver for tokio consists of: a sketch that shows that [`Transport`] and [`Timer`] fit.
//!
//! A socket gets gathered sends with `MSG_MORE`, by `poll_write_ready` and `try_io`. Time is
//! tokio's, so that a test can pause it.
#![cfg(target_os = "linux")]

mod plain;

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tls_cork_engine::tls_cork::{CorkConfig, SendFlags};
use tls_cork_engine::{Engine, Shared, Timer, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use plain::Plain;

struct Socket(TcpStream);

impl Transport for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>> {
        let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let send = || SockRef::from(&self.0).send_vectored_with_flags(bufs, flags);
            match self.0.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Sleep(Pin<Box<tokio::time::Sleep>>);

impl Timer for Sleep {
    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn arm(at: Instant, waker: &Waker) -> Option<Self> {
        let mut sleep = Box::pin(tokio::time::sleep_until(at.into()));
        match sleep.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(Self(sleep)),
        }
    }

    fn at(&self) -> Instant {
        self.0.deadline().into_std()
    }
}

struct Stream(Shared<Socket, Plain, Sleep>);

impl Stream {
    async fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| self.0.lock().poll_send(cx, data, flags)).await
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = ready!(self.0.lock().poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_close(cx)
    }
}

async fn connected() -> io::Result<(Stream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    let engine = Engine::new(Socket(client), Plain::new(CorkConfig::default()));
    Ok((Stream(Shared::new(engine)), server))
}

#[tokio::test]
async fn a_socket_of_tokio_takes_what_the_engine_sends() {
    let (mut stream, mut peer) = connected().await.unwrap();
    stream.send(b"header ", SendFlags::MORE).await.unwrap();
    stream.write_all(b"body").await.unwrap();
    let mut got = [0; 11];
    peer.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"header body");

    // More than the socket takes at once: `poll_send` waits for room.
    let sent = vec![7; 8 << 20];
    let peer = tokio::spawn(async move {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        peer.write_all(b"goodbye").await.unwrap();
        got
    });
    stream.write_all(&sent).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(peer.await.unwrap() == sent);
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "goodbye");
}

/// R15: nobody polls the stream.
#[tokio::test]
async fn the_deadline_task_runs_on_tokios_timers() {
    let (mut stream, mut peer) = connected().await.unwrap();
    tokio::spawn(stream.0.deadline_task());
    tokio::task::yield_now().await;
    stream.send(b"held", SendFlags::MORE).await.unwrap();
    let mut got = [0; 4];
    tokio::time::timeout(Duration::from_secs(60), peer.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"held");
}
