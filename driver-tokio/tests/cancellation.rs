//! Futures that are dropped at any point lose nothing and repeat nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use rustls::server::Acceptor;
use tls_cork_tokio::{CorkConfig, LazyConfigAcceptor, SendFlags, TlsAcceptor, TlsConnector};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

use support::{Pair, configs, connected_with, name, noise};

/// Polls `future` so many times, then drops it.
async fn some_polls<F: Future>(future: F, mut polls: usize) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        match polled {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if polls <= 1 => Poll::Ready(None),
            Poll::Pending => {
                polls -= 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

/// A transport that tells when it is dropped.
struct Dropped(DuplexStream, Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

impl AsyncRead for Dropped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dropped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// All that both ends' calls do, each dropped after a few polls and made again.
#[tokio::test]
async fn calls_that_are_dropped_lose_and_repeat_nothing() {
    for seed in 1..40u32 {
        let random = noise(4000, seed * 7919);
        let mut random = random.into_iter().cycle();
        let mut next = move || usize::from(random.next().unwrap_or(0));
        let Pair { mut client, mut server, .. } = connected_with(configs(), CorkConfig::default(), 700).await;
        let data: Vec<u8> = noise(60_000, seed);
        let (mut sent, mut got) = (0usize, Vec::<u8>::new());
        while got.len() < data.len() {
            let polls = 1 + next() % 3;
            let flags = SendFlags::more_if(next() % 2 == 0);
            let end = data.len().min(sent + 1 + next() * 13);
            let piece = &data[sent..end];
            match next() % 7 {
                _ if piece.is_empty() => {
                    some_polls(client.flush(), polls).await;
                }
                0 => sent += some_polls(client.send(piece, flags), polls).await.map_or(0, Result::unwrap),
                1 => sent += some_polls(client.write(piece), polls).await.map_or(0, Result::unwrap),
                2 => {
                    let mut bytes = Bytes::copy_from_slice(piece);
                    some_polls(client.send_all_bytes(&mut bytes, flags), polls).await.transpose().unwrap();
                    sent = end - bytes.len();
                }
                3 => {
                    let bufs = [std::io::IoSlice::new(&piece[..1]), std::io::IoSlice::new(&piece[1..])];
                    sent += some_polls(client.send_vectored(&bufs, flags), polls).await.map_or(0, Result::unwrap);
                }
                4 => {
                    some_polls(client.flush(), polls).await.transpose().unwrap();
                }
                5 => {
                    client.cork();
                    some_polls(client.uncork(), polls).await.transpose().unwrap();
                }
                _ => assert!(some_polls(client.read(&mut [0; 8]), polls).await.is_none()),
            }
            let mut buf = vec![0; 1 + next() * 20];
            if next() % 3 == 0 {
                let shown = some_polls(server.fill_buf(), polls).await.map_or(0, |shown| {
                    let shown = shown.unwrap();
                    let taken = shown.len().min(1 + buf.len() / 2);
                    got.extend(&shown[..taken]);
                    taken
                });
                server.consume(shown);
            } else {
                let len = some_polls(server.read(&mut buf), polls).await.map_or(0, Result::unwrap);
                got.extend(&buf[..len]);
            }
            if next() % 40 == 0 {
                // Nothing is polled, and the deadline task has its turn.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            tokio::task::yield_now().await;
        }
        assert!(got == data, "{seed}");
        let ends = async {
            while some_polls(client.close_gracefully(), 1 + next() % 3).await.transpose().unwrap().is_none() {
                tokio::task::yield_now().await;
            }
        };
        let answers = async {
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
            server.shutdown().await.unwrap();
        };
        tokio::join!(ends, answers);
    }
}

/// A handshake that is dropped drops its transport, at whichever poll.
#[tokio::test]
async fn handshakes_that_are_dropped_drop_their_transports() {
    let (client_config, server_config) = configs();
    let connector = TlsConnector::from(client_config);
    let acceptor = TlsAcceptor::from(server_config.clone());
    for polls in 1..30 {
        for kind in 0..3 {
            let (up, down) = duplex(100);
            let dropped = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
            let (up, down) = (Dropped(up, dropped[0].clone()), Dropped(down, dropped[1].clone()));
            let both = async {
                let connects = async {
                    match kind {
                        0 => drop(connector.connect(name(), up).await),
                        1 => drop(connector.connect_local(name(), up).await),
                        _ => drop(connector.connect(name(), up).into_fallible().await),
                    }
                };
                let accepts = async {
                    match kind {
                        0 => drop(acceptor.accept(down).await),
                        1 => drop(acceptor.accept(down).into_fallible().await),
                        _ => {
                            if let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), down).await {
                                drop(start.into_stream(server_config.clone()).await);
                            }
                        }
                    }
                };
                tokio::join!(connects, accepts);
            };
            some_polls(both, polls).await;
            assert!(dropped.iter().all(|dropped| dropped.load(Ordering::SeqCst)), "{polls} {kind}");
        }
    }
}

/// The transport of a stream that holds goes with the stream, not with its task.
#[tokio::test]
async fn a_stream_that_is_dropped_drops_its_transport_at_once() {
    let (client_config, server_config) = configs();
    let (up, down) = duplex(100_000);
    let dropped = Arc::new(AtomicBool::new(false));
    let (client, mut server) = {
        let up = Dropped(up, dropped.clone());
        let acceptor = TlsAcceptor::from(server_config);
        tokio::try_join!(TlsConnector::from(client_config).connect(name(), up), acceptor.accept(down)).unwrap()
    };
    let mut client = client;
    client.send_all(b"held", SendFlags::MORE).await.unwrap();
    tokio::task::yield_now().await;
    let (reader, mut writer) = client.into_split();
    writer.send_all(b"held", SendFlags::MORE).await.unwrap();
    drop(reader);
    assert!(!dropped.load(Ordering::SeqCst));
    drop(writer);
    assert!(dropped.load(Ordering::SeqCst));
    // A cut, and what was held is gone.
    assert_eq!(server.read(&mut [0; 8]).await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

/// `take_io` after a client without TLS, and after a dropped poll.
#[tokio::test]
async fn a_lazy_acceptor_gives_its_transport_back() {
    let (mut up, down) = duplex(1000);
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), down);
    assert!(some_polls(&mut acceptor, 1).await.is_none());
    up.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!((&mut acceptor).await.is_err());
    let mut io = acceptor.take_io().unwrap();
    assert!(acceptor.take_io().is_none());
    assert!((&mut acceptor).await.is_err());
    io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    drop(io);
    let mut got = Vec::new();
    up.read_to_end(&mut got).await.unwrap();
    assert!(got.ends_with(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
}

/// Halves and streams that are not alone, or not together.
#[tokio::test]
async fn a_half_comes_apart_when_it_is_alone() {
    let Pair { client, mut server, .. } = connected_with(configs(), CorkConfig::default(), 100_000).await;
    let (mut reader, mut writer) = client.into_split();
    writer.send_all(b"held", SendFlags::MORE).await.unwrap();
    server.write_all(b"shown and read").await.unwrap();
    assert_eq!(reader.fill_buf().await.unwrap(), b"shown and read");
    reader.consume(6);
    let writer = writer.into_inner().unwrap_err().0;
    drop(reader);
    let (_, mut session) = writer.into_inner().unwrap();
    assert_eq!(session.waiting(), 4);
    let mut got = [0; 8];
    assert_eq!(session.read(&mut got).unwrap(), 8);
    assert_eq!(&got, b"and read");
}
