//! The heap of an idle HTTP connection, beside that of tokio-rustls.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::alloc::System;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;

use support::{configs_with, name};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static BODY: [u8; 1 << 20] = [7; 1 << 20];
const CONNECTIONS: usize = 20;
/// A stream frees what it no longer needs after a second.
const IDLE: Duration = Duration::from_millis(1500);
/// How much more an idle connection may take than with tokio-rustls.
const LIMIT: isize = 8 << 10;

fn allocated() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(&BODY))))
}

/// Bytes of heap for each connection that is idle after a response of 1 MiB: of a server on `$tls`,
/// and of its client on tokio-rustls.
macro_rules! idle {
    ($tls:ident, $protocol:expr, $exchange:expr) => {{
        let (client_config, server_config) = configs_with(&[$protocol]);
        let connector = tokio_rustls::TlsConnector::from(client_config);
        let acceptor = $tls::TlsAcceptor::from(server_config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            loop {
                let tcp = listener.accept().await.unwrap().0;
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let io = TokioIo::new(acceptor.accept(tcp).await.unwrap());
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service_fn(answer)).await;
                });
            }
        });
        let mut clients = Vec::with_capacity(CONNECTIONS + 1);
        let mut before = 0;
        for n in 0..=CONNECTIONS {
            if n == 1 {
                before = allocated();
            }
            let tcp = TcpStream::connect(address).await.unwrap();
            clients.push($exchange(connector.connect(name(), tcp).await.unwrap()).await);
        }
        sleep(IDLE).await;
        let each = (allocated() - before) / CONNECTIONS as isize;
        server.abort();
        each
    }};
}

/// Gets the body, without hyper: the size of its buffer depends on how the body arrives.
async fn http1(mut tls: TlsStream<TcpStream>) -> TlsStream<TcpStream> {
    tls.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let (mut buf, mut got) = (vec![0; 16_384], 0);
    let head = loop {
        got += tls.read(&mut buf[got..]).await.unwrap();
        if let Some(end) = buf[..got].windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
    };
    while got < head + BODY.len() {
        got += tls.read(&mut buf).await.unwrap();
    }
    assert_eq!(got, head + BODY.len());
    tls
}

/// Gets the body. What it returns keeps the connection open.
async fn http2(tls: TlsStream<TcpStream>) -> client::conn::http2::SendRequest<Empty<Bytes>> {
    let (mut sender, connection) =
        client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(Empty::new()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), BODY.len());
    sender
}

#[tokio::test]
async fn an_idle_connection_takes_no_more_heap_than_with_tokio_rustls() {
    // Once for what is made once.
    let _ = (idle!(tokio_rustls, b"h2", http2), idle!(tls_cork_tokio, b"h2", http2));
    let _ = (idle!(tokio_rustls, b"http/1.1", http1), idle!(tls_cork_tokio, b"http/1.1", http1));
    let figures = [
        ("HTTP/1.1", idle!(tls_cork_tokio, b"http/1.1", http1), idle!(tokio_rustls, b"http/1.1", http1)),
        ("HTTP/2", idle!(tls_cork_tokio, b"h2", http2), idle!(tokio_rustls, b"h2", http2)),
    ];
    for (version, ours, theirs) in figures {
        println!("{version}, both ends of an idle connection: {ours} bytes, {theirs} with tokio-rustls");
    }
    for (version, ours, theirs) in figures {
        assert!(ours - theirs <= LIMIT, "{version}: {ours} bytes, {theirs} with tokio-rustls");
    }
}
