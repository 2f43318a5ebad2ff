//! Sockets that are told that more follows, and what must not be told.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

use async_io::Async;
use bytes::Bytes;
use futures_util::future::join;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use support::{configs, run};
use tls_cork_async_std::tls_cork::SendFlags;
use tls_cork_async_std::{TlsAcceptor, TlsConnector, client, server};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

async fn tcp() -> (Async<TcpStream>, Async<TcpStream>) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let (client, accepted) = join(Async::<TcpStream>::connect(address), listener.accept()).await;
    let (client, (server, _)) = (client.unwrap(), accepted.unwrap());
    for socket in [&client, &server] {
        socket.get_ref().set_nodelay(true).unwrap();
    }
    (client, server)
}

async fn shaken<IO>(up: IO, down: IO) -> (client::TlsStream<IO>, server::TlsStream<IO>)
where
    IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin,
{
    let (client_config, server_config) = configs();
    let (client, server) =
        join(TlsConnector::from(client_config).connect(name(), up), TlsAcceptor::from(server_config).accept(down))
            .await;
    (client.unwrap(), server.unwrap())
}

/// 1 MiB there, 1 MiB back, of which more waits than one send takes, then the end of the client's
/// stream.
async fn exchange<A, B>(mut client: client::TlsStream<A>, mut server: server::TlsStream<B>)
where
    A: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin,
    B: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin,
{
    let (up, down) = (Bytes::from(noise(1 << 20, 1)), Bytes::from(noise(1 << 20, 2)));
    let there = async {
        client.send_all_bytes(&mut up.clone(), SendFlags::NONE).await.unwrap();
        client.flush().await.unwrap();
        let mut got = vec![0; down.len()];
        client.read_exact(&mut got).await.unwrap();
        assert!(got == down);
        client.close().await.unwrap();
    };
    let back = async {
        let mut got = vec![0; up.len()];
        server.read_exact(&mut got).await.unwrap();
        assert!(got == up);
        server.send_all_bytes(&mut down.clone(), SendFlags::NONE).await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(server.read(&mut got).await.unwrap(), 0);
    };
    join(there, back).await;
}

#[test]
fn tcp_sockets_carry_a_stream() {
    run(async {
        let (up, down) = tcp().await;
        let (client, server) = shaken(up, down).await;
        exchange(client.with_msg_more(), server.with_msg_more()).await;
    });
}

#[test]
fn unix_sockets_carry_a_stream() {
    run(async {
        let (up, down) = Async::<UnixStream>::pair().unwrap();
        let (client, server) = shaken(up, down).await;
        exchange(client.with_msg_more(), server.with_msg_more()).await;
    });
}

#[cfg(feature = "async-net")]
#[test]
fn sockets_of_smol_carry_a_stream() {
    run(async {
        let (up, down) = tcp().await;
        let (client, server) = shaken(smol::net::TcpStream::from(up), smol::net::TcpStream::from(down)).await;
        exchange(client.with_msg_more(), server.with_msg_more()).await;
    });
}

/// The outer stream's transport has a descriptor too, and is no socket.
#[test]
fn tls_runs_inside_tls() {
    run(async {
        let (up, down) = tcp().await;
        let (client, server) = shaken(up, down).await;
        let (client, server) = (client.with_msg_more(), server.with_msg_more());
        let descriptor = client.as_raw_fd();
        assert_eq!(client.as_fd().as_raw_fd(), descriptor);
        let (client_config, server_config) = configs();
        let connector = TlsConnector::from(client_config);
        let acceptor = TlsAcceptor::from(server_config);
        let (client, server) = join(connector.connect(name(), client), acceptor.accept(server)).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.as_raw_fd(), descriptor);
        exchange(client, server).await;
    });
}
