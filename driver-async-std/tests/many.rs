//! Many streams in one process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::alloc::System;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all, select};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::pair::gets;
use support::pipe::pipe;
use support::{configs, pass, patient, run};
use tls_cork_async_std::tls_cork::SendFlags;
use tls_cork_async_std::{TlsAcceptor, TlsConnector};
use tls_cork_testing::sessions::name;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STREAMS: usize = 2000;
const MESSAGES: usize = 10;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Both run in one test: they would count each other's memory.
#[test]
fn two_thousand_streams() {
    memory_of_an_idle_stream();
    none_stalls();
}

/// Each stream echoes small messages in a task of its own, half of them with the header held.
fn none_stalls() {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(files > 2 * STREAMS as u64 + 50, "the limit of open files is {files}: raise it (ulimit -n)");
    let (client_config, server_config) = configs();
    // Patient: on a busy machine a task may sleep longer between two pieces than they are held by default.
    let connector = TlsConnector::from(client_config).with_cork(patient()).unwrap();
    let acceptor = TlsAcceptor::from(server_config);
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let start = Instant::now();
        let server = smol::spawn(async move {
            for _ in 0..STREAMS {
                let tcp = listener.accept().await.unwrap().0;
                let acceptor = acceptor.clone();
                smol::spawn(async move {
                    let mut stream = acceptor.accept(tcp).await.unwrap();
                    let mut buf = [0; 256];
                    loop {
                        match stream.read(&mut buf).await.unwrap() {
                            0 => break,
                            n => stream.write_all(&buf[..n]).await.unwrap(),
                        }
                    }
                    stream.close().await.unwrap();
                })
                .detach();
            }
        });
        // All are open before the first message is sent.
        let mut streams = Vec::new();
        for group in 0..STREAMS / 100 {
            let opening = (0..100).map(|_| async {
                let tcp = TcpStream::connect(address).await.unwrap();
                connector.connect(name(), tcp).await.unwrap()
            });
            streams.extend(join_all(opening).await);
            assert_eq!(streams.len(), (group + 1) * 100);
        }
        server.await;
        println!("{STREAMS} streams opened in {:?}", start.elapsed());

        let tasks: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(n, mut stream)| {
                smol::spawn(async move {
                    let mut slowest = Duration::ZERO;
                    for message in 0..MESSAGES {
                        let start = Instant::now();
                        let text = format!("stream {n} message {message}");
                        let (head, tail) = text.split_at(7);
                        let flags = SendFlags::more_if((n + message) % 2 == 0);
                        stream.send_all(head.as_bytes(), SendFlags::MORE).await.unwrap();
                        // A last piece that is held too leaves because the task waits for the echo.
                        stream.send_all(tail.as_bytes(), flags).await.unwrap();
                        assert_eq!(gets(&mut stream, text.len()).await, text.as_bytes());
                        slowest = slowest.max(start.elapsed());
                    }
                    assert_eq!(stream.stats().records, MESSAGES as u64);
                    stream.close().await.unwrap();
                    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
                    slowest
                })
            })
            .collect();
        let start = Instant::now();
        let slowest = join_all(tasks).await.into_iter().max().unwrap();
        println!("{} echoes in {:?}, the slowest took {slowest:?}", STREAMS * MESSAGES, start.elapsed());
    });
}

/// Compared with futures-rustls, whose streams hold nothing but the transport and rustls's state.
fn memory_of_an_idle_stream() {
    const COUNT: usize = 100;
    const IDLE: Duration = Duration::from_millis(1500);
    macro_rules! measured {
        ($tls:ident) => {{
            let (client_config, server_config) = configs();
            let connector = $tls::TlsConnector::from(client_config);
            let acceptor = $tls::TlsAcceptor::from(server_config);
            run(async {
                let mut streams = Vec::with_capacity(COUNT + 1);
                let mut before = 0;
                for n in 0..=COUNT {
                    if n == 1 {
                        before = allocated();
                    }
                    let (client, server) = pipe(1 << 16);
                    let (client, server) = join(connector.connect(name(), client), acceptor.accept(server)).await;
                    let (mut client, mut server) = (client.unwrap(), server.unwrap());
                    client.write_all(&[1; 300]).await.unwrap();
                    gets(&mut server, 300).await;
                    server.write_all(&[1; 300]).await.unwrap();
                    gets(&mut client, 300).await;
                    streams.push(Box::new((client, server)));
                }
                // Idle for a while, as streams are: both sides wait to read.
                let idle = streams.iter_mut().map(|pair| async {
                    let (client, server) = &mut **pair;
                    join(client.read(&mut [0; 8]), server.read(&mut [0; 8])).await
                });
                let _ = select(join_all(idle), pin!(pass(IDLE))).await;
                (allocated() - before) / COUNT / 2
            })
        }};
    }
    // Once for what is made once.
    let _ = (measured!(futures_rustls), measured!(tls_cork_async_std));
    let theirs = measured!(futures_rustls);
    let ours = measured!(tls_cork_async_std);
    let more = ours.saturating_sub(theirs);
    println!("an idle stream: {ours} bytes, with futures-rustls {theirs}: {more} beyond rustls's own state");
    assert!(more < 1024, "{more} bytes");
}
