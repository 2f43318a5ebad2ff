//! What a relay keeps back: `io::copy` polls its source alone while that is silent, so that what was accepted and has not left stays.
//!
//! `AsyncWrite` accepts no more than futures-rustls does while the transport pushes back, at any capacity of the transport.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{Either, join, poll_fn, select};
use futures_util::io::{BufReader, copy, copy_buf};
use rustls::{ClientConfig, ServerConfig};
use support::pipe::{End, Tap, pipe};
use support::{configs, run};
use tls_cork_async_std::tls_cork::SendFlags;
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

const CAPACITIES: [usize; 16] =
    [1, 22, 100, 1000, 4096, 8192, 8214, 16_384, 16_406, 20_000, 30_000, 65_536, 65_624, 100_000, 262_144, 400_000];
const SHAKING_HANDS: usize = 1 << 20;

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

/// A client's stream of each kind over a pipe of so many bytes, a server of futures-rustls, and the client's direction.
async fn ours(configs: Configs, capacity: usize) -> (impl AsyncWrite + Unpin, impl AsyncRead + Unpin, Tap) {
    let connector = tls_cork_async_std::TlsConnector::from(configs.0);
    let ((client, server), tap) = ends();
    let server = futures_rustls::TlsAcceptor::from(configs.1).accept(server);
    let (client, server) = join(connector.connect(name(), client), server).await;
    tap.set_capacity(capacity);
    (client.unwrap(), server.unwrap(), tap)
}

async fn theirs(configs: Configs, capacity: usize) -> (impl AsyncWrite + Unpin, impl AsyncRead + Unpin, Tap) {
    let connector = futures_rustls::TlsConnector::from(configs.0);
    let ((client, server), tap) = ends();
    let server = futures_rustls::TlsAcceptor::from(configs.1).accept(server);
    let (client, server) = join(connector.connect(name(), client), server).await;
    tap.set_capacity(capacity);
    (client.unwrap(), server.unwrap(), tap)
}

fn ends() -> ((End, End), Tap) {
    let (client, server) = pipe(SHAKING_HANDS);
    let tap = client.outgoing();
    ((client, server), tap)
}

/// What is accepted before a write has to wait, nobody reading.
fn accepted(mut stream: impl AsyncWrite + Unpin, piece: usize, slices: bool) -> usize {
    let data = noise(piece, 1);
    let mut cx = Context::from_waker(Waker::noop());
    let mut sum = 0;
    loop {
        let stream = Pin::new(&mut stream);
        let bufs: Vec<_> = data.chunks(piece.div_ceil(3)).map(IoSlice::new).collect();
        let written = match slices {
            true => stream.poll_write_vectored(&mut cx, &bufs),
            false => stream.poll_write(&mut cx, &data),
        };
        match written {
            Poll::Ready(done) => sum += done.unwrap(),
            Poll::Pending => return sum,
        }
    }
}

#[test]
fn no_more_is_accepted_than_by_a_plain_driver() {
    let configs = configs();
    for capacity in CAPACITIES {
        for piece in [1, 28, 1000, 8192, 16_384, 65_536, 100_000, 1 << 20] {
            for slices in [false, true] {
                run(async {
                    let ours = accepted(ours(configs.clone(), capacity).await.0, piece, slices);
                    let theirs = accepted(theirs(configs.clone(), capacity).await.0, piece, slices);
                    assert!(ours <= theirs, "{capacity} bytes of room, pieces of {piece}: {ours} instead of {theirs}");
                });
            }
        }
    }
}

#[test]
fn nothing_is_accepted_behind_what_sends_have_queued() {
    run(async {
        let mut cx = Context::from_waker(Waker::noop());
        let configs = configs();
        let ((client, server), tap) = ends();
        let server = futures_rustls::TlsAcceptor::from(configs.1).accept(server);
        let (client, _server) =
            join(tls_cork_async_std::TlsConnector::from(configs.0).connect(name(), client), server).await;
        let mut client = client.unwrap();
        tap.set_capacity(10_000);
        let data = noise(400_000, 5);
        while client.poll_send(&mut cx, &data, SendFlags::NONE).is_ready() {}
        // Room for some, not for all that waits: a plain write still has to wait.
        drop(tap.steal());
        let before = client.get_ref().1.waiting();
        assert!(Pin::new(&mut client).poll_write(&mut cx, &data).is_pending());
        assert!(client.get_ref().1.waiting() <= before);
    });
}

/// Gives its data, then nothing for ever.
struct FallsSilent(io::Cursor<Vec<u8>>);

impl AsyncRead for FallsSilent {
    fn poll_read(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match io::Read::read(&mut self.0, buf)? {
            0 => Poll::Pending,
            n => Poll::Ready(Ok(n)),
        }
    }
}

/// How many of `len` bytes do not arrive, though the reader takes all there is once the writer has got stuck for the first time.
async fn kept_back(
    mut stream: impl AsyncWrite + Unpin,
    mut peer: impl AsyncRead + Unpin,
    len: usize,
    buffer: Option<usize>,
) -> usize {
    let source = FallsSilent(io::Cursor::new(noise(len, 2)));
    let relay = async {
        match buffer {
            None => copy(source, &mut stream).await,
            Some(size) => copy_buf(BufReader::with_capacity(size, source), &mut stream).await,
        }
    };
    let mut arrived = 0;
    let mut turns = 0;
    let reads = poll_fn(|cx| {
        // The transport is full for a while.
        turns += 1;
        if turns < 10 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut buf = [0; 16_384];
        let mut idle = 0;
        while let Poll::Ready(n) = Pin::new(&mut peer).poll_read(cx, &mut buf) {
            arrived += n.unwrap();
            idle = 0;
        }
        idle += turns;
        if idle > 10_000 {
            Poll::Ready(())
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    match select(std::pin::pin!(relay), std::pin::pin!(reads)).await {
        Either::Left((done, _)) => panic!("the source never ends: {done:?}"),
        Either::Right(_) => len - arrived,
    }
}

#[test]
fn a_relay_keeps_no_more_back_than_over_a_plain_driver() {
    let configs = configs();
    for len in [100_000, 1_000_000] {
        // What a plain write hands over at a time is 64 KiB: a larger buffer may leave the end of its last part.
        for (buffer, most) in [(None, 8192), (Some(65_536), 65_536), (Some(300_000), 65_536)] {
            let (mut ours_in_all, mut theirs_in_all) = (0, 0);
            for capacity in CAPACITIES.into_iter().filter(|capacity| len / capacity <= 1000) {
                run(async {
                    let (stream, peer, _) = ours(configs.clone(), capacity).await;
                    let ours = kept_back(stream, peer, len, buffer).await;
                    let (stream, peer, _) = theirs(configs.clone(), capacity).await;
                    let theirs = kept_back(stream, peer, len, buffer).await;
                    let what = format!("{len} bytes, a buffer of {buffer:?}, {capacity} bytes of room");
                    assert!(ours <= most, "{what}: {ours} kept back");
                    assert!(ours <= theirs || buffer > Some(65_536), "{what}: {ours} kept back instead of {theirs}");
                    ours_in_all += ours;
                    theirs_in_all += theirs;
                });
            }
            println!("{len} bytes, a buffer of {buffer:?}: {ours_in_all} kept back, by futures-rustls {theirs_in_all}");
            assert!(ours_in_all <= theirs_in_all);
        }
    }
}
