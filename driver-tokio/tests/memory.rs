//! The heap of an idle stream, beside that of tokio-rustls.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::alloc::System;
use std::future::Future;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tls_cork_tokio as ours;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls as theirs;

use support::{configs, name};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STREAMS: usize = 20;
/// The most bytes of heap beyond tokio-rustls.
const MOST: usize = 1024;

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The heap of one connection that `connects` makes, with its pipe, after data in both directions
/// and two idle seconds in which both ends wait to read.
async fn heap<F, C, S>(connects: impl Fn(DuplexStream, DuplexStream) -> F) -> usize
where
    F: Future<Output = (C, S)>,
    C: Io,
    S: Io,
{
    let mut streams = Vec::with_capacity(STREAMS + 1);
    let mut before = 0;
    for n in 0..=STREAMS {
        // The first one pays for what is made once.
        if n == 1 {
            before = allocated();
        }
        let (up, down) = duplex(1 << 16);
        let mut ends = Box::new(connects(up, down).await);
        let (client, server) = &mut *ends;
        for len in [300, 100_000] {
            send(client, server, len).await;
            send(server, client, len).await;
        }
        let (mut client_buf, mut server_buf) = ([0; 8], [0; 8]);
        let idle = async { tokio::join!(client.read(&mut client_buf), server.read(&mut server_buf)) };
        assert!(tokio::time::timeout(Duration::from_secs(2), idle).await.is_err(), "nothing comes");
        streams.push(ends);
    }
    (allocated() - before) / STREAMS
}

async fn send(from: &mut impl Io, to: &mut impl Io, len: usize) {
    let (data, mut got) = (vec![7; len], vec![0; len]);
    let sends = async {
        from.write_all(&data).await.unwrap();
        from.flush().await.unwrap();
    };
    tokio::join!(sends, async { to.read_exact(&mut got).await.unwrap() });
}

macro_rules! ends {
    ($configs:ident, $client:ident.$connect:ident, $server:ident.$accept:ident) => {
        heap(|up, down| {
            let connector = $client::TlsConnector::from($configs.0.clone());
            let acceptor = $server::TlsAcceptor::from($configs.1.clone());
            async move {
                let (client, server) = tokio::join!(connector.$connect(name(), up), acceptor.$accept(down));
                (client.unwrap(), server.unwrap())
            }
        })
        .await
    };
}

/// One test, because others would count each other's memory.
#[tokio::test(start_paused = true)]
async fn an_idle_stream_has_no_more_than_1_kib_beyond_tokio_rustls() {
    let configs = configs();
    let plain = ends!(configs, theirs.connect, theirs.accept);
    for (kind, heap) in [
        ("client", ends!(configs, ours.connect, theirs.accept)),
        ("server", ends!(configs, theirs.connect, ours.accept)),
        ("local client", ends!(configs, ours.connect_local, theirs.accept)),
        ("local server", ends!(configs, theirs.connect, ours.accept_local)),
    ] {
        let more = heap.saturating_sub(plain);
        println!("idle {kind}: {heap} bytes for both ends, {plain} with tokio-rustls: {more} more");
        assert!(more <= MOST, "{kind}: {more} bytes more");
    }
}
