//! How streams end: gracefully, so that nothing is lost, and in the handshake.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{Either, join, select};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use rustls::{AlertDescription, Error};
use support::pair::{Pair, connected, connected_with, gets_all};
use support::pipe::{End, Step, pipe};
use support::{configs, run};
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};
use tls_cork_async_std::{TlsAcceptor, TlsConnector};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

async fn sockets() -> (Async<TcpStream>, Async<TcpStream>) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let (client, server) = join(Async::<TcpStream>::connect(address), listener.accept()).await;
    (client.unwrap(), server.unwrap().0)
}

#[test]
fn a_graceful_end_loses_nothing_although_the_client_never_read() {
    let data = noise(10 << 20, 9);
    let (client_config, server_config) = configs();
    let got = run(async {
        let (client, server) = sockets().await;
        let client = async {
            let mut stream = TlsConnector::from(client_config).connect(name(), client).await.unwrap();
            stream.write_all(&data).await.unwrap();
            // The tickets are unread: to drop it now would make the kernel reset the connection.
            stream.close_gracefully().await.unwrap();
            drop(stream);
        };
        let server = async {
            let mut stream = TlsAcceptor::from(server_config).accept(server).await.unwrap();
            let (mut got, mut buf) = (Vec::new(), vec![0; 1 << 20]);
            loop {
                match stream.read(&mut buf).await.unwrap() {
                    0 => break,
                    n => got.extend_from_slice(&buf[..n]),
                }
                if got.len() % 10 == 0 {
                    Timer::after(Duration::from_millis(1)).await;
                }
            }
            stream.close_gracefully().await.unwrap();
            got
        };
        join(client, server).await.1
    });
    assert!(got == data, "{} of {} bytes arrived", got.len(), data.len());
}

#[test]
fn a_graceful_end_takes_a_peer_that_talks_on_and_closes_without_notice() {
    run(async {
        let Pair { mut client, mut server, down, .. } = connected_with(configs(), CorkConfig::default(), 20_000).await;
        let talks = async {
            server.write_all(&noise(1 << 20, 3)).await.unwrap();
            down.cut();
            gets_all(&mut server).await.unwrap()
        };
        client.send_all(b"last words", SendFlags::MORE).await.unwrap();
        let (ended, got) = join(client.close_gracefully(), talks).await;
        ended.unwrap();
        assert_eq!(got, b"last words");
    });
}

#[test]
fn a_graceful_end_can_be_given_up_and_taken_up_again() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(CorkConfig::default()).await;
        let (mut client, _deadlines) = client.with_deadline_task();
        client.send_all(b"last words", SendFlags::MORE).await.unwrap();
        for _ in 0..3 {
            let limit = Timer::after(Duration::from_millis(5));
            let ends = std::pin::pin!(client.close_gracefully());
            assert!(matches!(select(ends, limit).await, Either::Right(_)), "it ended before the peer did");
        }
        assert!(up.is_closed(), "the transport is closed behind the close_notify");
        assert_eq!(gets_all(&mut server).await.unwrap(), b"last words");
        let (ended, closed) = join(client.close_gracefully(), server.close_gracefully()).await;
        ended.unwrap();
        closed.unwrap();
    });
}

#[test]
fn an_abort_says_what_it_costs_and_the_peer_sees_a_cut_stream() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(CorkConfig::default()).await;
        client.write_all(b"left").await.unwrap();
        client.send_all(b"held", SendFlags::MORE).await.unwrap();
        assert_eq!(client.abort().await.unwrap(), 4);
        assert_eq!(client.send(b"x", SendFlags::NONE).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        up.cut();
        let mut got = Vec::new();
        assert_eq!(server.read_to_end(&mut got).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(got, b"left");

        // Nothing is lost: a proper end.
        let Pair { client, mut server, .. } = connected(CorkConfig::default()).await;
        let mut client = tls_cork_async_std::TlsStream::from(client);
        assert_eq!(client.abort().await.unwrap(), 0);
        assert_eq!(gets_all(&mut server).await.unwrap(), b"");
    });
}

#[test]
fn a_graceful_end_says_what_a_reset_may_have_cost() {
    run(async {
        let Pair { mut client, server: _server, up, .. } = connected(CorkConfig::default()).await;
        up.script([Step::Reset]);
        assert_eq!(client.write(b"lost").await.unwrap(), 4);
        assert_eq!(client.close_gracefully().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_stream_whose_peer_is_gone_ends_with_an_error_or_at_once() {
    run(async {
        let (client, server) = sockets().await;
        let (client_config, server_config) = configs();
        let accepts = TlsAcceptor::from(server_config);
        let connects = TlsConnector::from(client_config);
        let (client, server) = join(connects.connect(name(), client), accepts.accept(server)).await;
        let (mut client, server) = (client.unwrap(), server.unwrap());
        server.get_ref().0.get_ref().shutdown(Shutdown::Both).unwrap();
        drop(server);
        client.close_gracefully().await.unwrap();
    });
}

/// A transport whose flush fails.
#[derive(Debug)]
struct NoFlush(End);

impl AsyncRead for NoFlush {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for NoFlush {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

#[test]
fn a_handshake_reads_the_alert_for_which_sending_fails() {
    /// "no application protocol" in the clear (RFC 8446, section 6.2).
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];
    for (alerted, write_fails) in [(true, false), (true, true), (false, false), (false, true)] {
        run(async {
            let (client, mut server) = pipe(1 << 20);
            if alerted {
                server.write_all(&ALERT).await.unwrap();
            }
            if write_fails {
                client.outgoing().script([Step::Reset]);
            }
            let connector = TlsConnector::from(configs().0);
            let error = connector.connect(name(), NoFlush(client)).await.unwrap_err();
            match (alerted, write_fails) {
                (true, _) => {
                    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
                    assert_eq!(inner, Some(&Error::AlertReceived(AlertDescription::NoApplicationProtocol)), "{error}");
                }
                (false, true) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                (false, false) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
            }
        });
    }
}
