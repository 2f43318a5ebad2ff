//! tokio's sockets, which are told that more follows, and a stream that is the transport of
//! another.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::fd::AsRawFd;

use bytes::Bytes;
use tls_cork_tokio::{SendFlags, TlsAcceptor, TlsConnector, TlsStream, client, server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use support::{configs, name, noise};

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (client, (server, _)) = (client.unwrap(), accepted.unwrap());
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

async fn shaken<IO>(up: IO, down: IO) -> (client::TlsStream<IO>, server::TlsStream<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client_config, server_config) = configs();
    let (client, server) = tokio::join!(
        TlsConnector::from(client_config).connect(name(), up),
        TlsAcceptor::from(server_config).accept(down)
    );
    (client.unwrap(), server.unwrap())
}

/// 1 MiB there, 1 MiB back, of which more waits than one send takes, then the end of the client's
/// stream.
async fn exchange<IO>((mut client, mut server): (client::TlsStream<IO>, server::TlsStream<IO>))
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (up, down) = (Bytes::from(noise(1 << 20, 1)), Bytes::from(noise(1 << 20, 2)));
    let there = async {
        client.send_all(b"header", SendFlags::MORE).await.unwrap();
        client.send_all_bytes(&mut up.clone(), SendFlags::NONE).await.unwrap();
        client.flush().await.unwrap();
        let mut got = vec![0; down.len()];
        client.read_exact(&mut got).await.unwrap();
        assert!(got == down);
        client.close_gracefully().await.unwrap();
    };
    let back = async {
        let mut got = vec![0; 6 + up.len()];
        server.read_exact(&mut got).await.unwrap();
        assert!(got[6..] == up);
        server.send_all_bytes(&mut down.clone(), SendFlags::NONE).await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(server.read(&mut got).await.unwrap(), 0);
        server.close_gracefully().await.unwrap();
    };
    tokio::join!(there, back);
}

#[tokio::test]
async fn tcp_sockets_carry_a_stream() {
    let (up, down) = tcp().await;
    let (address, descriptor) = (up.local_addr().unwrap(), up.as_raw_fd());
    let (client, server) = shaken(up, down).await;
    assert_eq!(client.get_ref().0.local_addr().unwrap(), address);
    assert_eq!((client.as_raw_fd(), TlsStream::from(client).as_raw_fd()), (descriptor, descriptor));
    let (up, down) = tcp().await;
    drop(server);
    exchange(shaken(up, down).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_sockets_carry_a_stream_on_several_threads() {
    let (up, down) = tcp().await;
    tokio::spawn(exchange(shaken(up, down).await)).await.unwrap();
}

#[tokio::test]
async fn unix_sockets_carry_a_stream() {
    let (up, down) = UnixStream::pair().unwrap();
    exchange(shaken(up, down).await).await;
}

/// A stream has the descriptor of its transport, and must not be taken for a socket: bytes would be
/// sent past the outer stream.
#[tokio::test]
async fn tls_runs_inside_tls() {
    let (up, down) = tcp().await;
    let (outer_client, outer_server) = shaken(up, down).await;
    let (client, server) = shaken(TlsStream::from(outer_client), TlsStream::from(outer_server)).await;
    exchange((client, server)).await;
}

#[tokio::test]
async fn sockets_in_a_box_carry_a_stream() {
    trait Any: AsyncRead + AsyncWrite + Unpin + Send {}
    impl Any for TcpStream {}
    let (up, down) = tcp().await;
    let (up, down): (Box<dyn Any>, Box<dyn Any>) = (Box::new(up), Box::new(down));
    exchange(shaken(up, down).await).await;
}

#[tokio::test]
async fn tokios_split_carries_a_stream() {
    let (up, down) = tcp().await;
    let (client, server) = shaken(up, down).await;
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut server_reads, mut server_writes) = tokio::io::split(server);
    let data = noise(500_000, 3);
    let sent = data.clone();
    let writes = tokio::spawn(async move {
        client_writes.write_all(&sent).await.unwrap();
        client_writes.shutdown().await.unwrap();
        client_writes
    });
    let echoes = tokio::spawn(async move {
        tokio::io::copy(&mut server_reads, &mut server_writes).await.unwrap();
        server_writes.shutdown().await.unwrap();
        server_reads.unsplit(server_writes)
    });
    let mut got = Vec::new();
    client_reads.read_to_end(&mut got).await.unwrap();
    assert!(got == data);
    let client = client_reads.unsplit(writes.await.unwrap());
    assert!(!client.get_ref().1.is_handshaking());
    drop(echoes.await.unwrap());
}
