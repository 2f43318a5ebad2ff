//! The same conversation over TCP on async-std, smol and tokio.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use support::pair::{gets, gets_all};
use support::{configs, in_time, patient};
use tls_cork_async_std::tls_cork::{FlushReason, SendFlags};
use tls_cork_async_std::{TlsAcceptor, TlsConnector, client};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;
use tokio_util::compat::TokioAsyncReadCompatExt;

const LEN: usize = 1 << 20;
/// What each conversation sends behind its request.
const HELD: [&[u8]; 2] = [b"", b"never finished"];
const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Reads a request whose header and body are held apart, answers with a megabyte, and reads to the end.
async fn serve(acceptor: &TlsAcceptor, tcp: impl AsyncRead + AsyncWrite + Unpin) -> Vec<u8> {
    let mut stream = acceptor.accept(tcp).await.unwrap();
    let request = gets(&mut stream, 11).await;
    stream.send_all(&request, SendFlags::MORE).await.unwrap();
    stream.send_all_bytes(&mut Bytes::from(noise(LEN, 1)), SendFlags::NONE).await.unwrap();
    stream.flush().await.unwrap();
    let rest = gets_all(&mut stream).await.unwrap();
    stream.close().await.unwrap();
    rest
}

/// Sends the request in `pieces`, and gets the answer.
async fn ask<IO>(connector: &TlsConnector, tcp: IO, pieces: &[&str]) -> client::TlsStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = connector.connect(name(), tcp).await.unwrap();
    for (n, piece) in pieces.iter().enumerate() {
        stream.send_all(piece.as_bytes(), SendFlags::more_if(n + 1 < pieces.len())).await.unwrap();
    }
    let answer = gets(&mut stream, 11 + LEN).await;
    assert!(answer.starts_with(b"header body") && answer[11..] == noise(LEN, 1));
    stream
}

/// Two conversations, one after the other. `spawn` is the executor's own.
async fn converse<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connector: TlsConnector,
    [first, second]: [IO; 2],
    spawn: impl FnOnce(tls_cork_async_std::DeadlineTask<IO>),
) {
    // Patient: on a busy machine a task may sleep longer between two pieces than they are held by default.
    let mut stream = ask(&connector.clone().with_cork(patient()).unwrap(), first, &["header ", "body"]).await;
    assert_eq!(stream.stats().records, 1);
    stream.close().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);

    // Held, and never polled again until the deadline must have fired.
    let (mut stream, deadlines) = ask(&connector, second, &["header body"]).await.with_deadline_task();
    spawn(deadlines);
    stream.send_all(b"never finished", SendFlags::MORE).await.unwrap();
    while stream.stats().flushes(FlushReason::Deadline) == 0 {
        async_io::Timer::after(Duration::from_millis(1)).await;
    }
    let (mut reader, mut writer) = stream.into_split();
    writer.close().await.unwrap();
    assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
}

fn ends() -> (TlsConnector, TlsAcceptor) {
    let (client, server) = configs();
    (client.into(), server.into())
}

#[test]
fn on_async_std() {
    use async_std::net::{TcpListener, TcpStream};
    use async_std::task;
    let (connector, acceptor) = ends();
    task::block_on(in_time(async {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = task::spawn(async move {
            for rest in HELD {
                assert_eq!(serve(&acceptor, listener.accept().await.unwrap().0).await, rest);
            }
        });
        let tcp = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        converse(connector, tcp, |deadlines| drop(task::spawn(deadlines))).await;
        server.await;
    }));
}

#[test]
fn on_smol() {
    use smol::net::{TcpListener, TcpStream};
    let (connector, acceptor) = ends();
    smol::block_on(in_time(async {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = smol::spawn(async move {
            for rest in HELD {
                assert_eq!(serve(&acceptor, listener.accept().await.unwrap().0).await, rest);
            }
        });
        let tcp = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        converse(connector, tcp, |deadlines| smol::spawn(deadlines).detach()).await;
        server.await;
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_tokio() {
    use tokio::net::{TcpListener, TcpStream};
    let (connector, acceptor) = ends();
    in_time(async {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for rest in HELD {
                assert_eq!(serve(&acceptor, listener.accept().await.unwrap().0.compat()).await, rest);
            }
        });
        let (first, second) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        converse(connector, [first.compat(), second.compat()], |deadlines| drop(tokio::spawn(deadlines))).await;
        server.await.unwrap();
    })
    .await;
}
