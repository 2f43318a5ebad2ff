// A program that was written for tokio-rustls, in five parts. Included twice, with `tls` for either
// crate. Each part shakes hands over `up` and `down`, and returns what both ends have read.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use tls::{LazyConfigAcceptor, TlsAcceptor, TlsConnector, TlsStream};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

pub(crate) type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

async fn shaken<IO>((client, server): Configs, up: IO, down: IO) -> (TlsStream<IO>, TlsStream<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connector = TlsConnector::from(client);
    let acceptor = TlsAcceptor::from(server);
    let (client, server): (tls::client::TlsStream<IO>, tls::server::TlsStream<IO>) =
        tokio::try_join!(connector.connect(localhost(), up), acceptor.accept(down)).unwrap();
    assert_eq!(client.get_ref().1.alpn_protocol(), server.get_ref().1.alpn_protocol());
    assert_eq!(client.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert!(client.get_ref().1.peer_certificates().is_some_and(|chain| chain.len() == 1));
    assert_eq!(server.get_ref().1.server_name(), Some("localhost"));
    let either = TlsStream::from(client);
    let (io, session) = either.get_ref();
    let _: &IO = io;
    assert!(session.negotiated_cipher_suite().is_some());
    (either, TlsStream::Server(server))
}

/// Requests on one connection, in the manner of HTTP/1.1, with a body in each direction.
pub(crate) async fn http<IO>(configs: Configs, up: IO, down: IO) -> (Vec<u8>, Vec<u8>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, server) = shaken(configs, up, down).await;
    let serves = tokio::spawn(async move {
        let mut server = BufReader::new(server);
        let mut seen = Vec::new();
        loop {
            let (mut line, mut length) = (String::new(), 0);
            while server.read_line(&mut line).await.unwrap() > 2 {
                seen.extend(line.as_bytes());
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            if line.is_empty() {
                break;
            }
            let mut body = vec![0; length];
            server.read_exact(&mut body).await.unwrap();
            seen.extend(&body);
            body.reverse();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            server.write_all(head.as_bytes()).await.unwrap();
            server.write_all(&body).await.unwrap();
            server.flush().await.unwrap();
        }
        server.shutdown().await.unwrap();
        seen
    });
    let mut client = BufReader::new(client);
    let mut got = Vec::new();
    for length in [0, 1, 500, 20_000, 300_000] {
        let head = format!("POST /{length} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        client.write_all(&body).await.unwrap();
        client.flush().await.unwrap();
        let (mut line, mut answered) = (String::new(), 0);
        while client.read_line(&mut line).await.unwrap() > 2 {
            got.extend(line.as_bytes());
            if let Some(value) = line.strip_prefix("content-length: ") {
                answered = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; answered];
        client.read_exact(&mut body).await.unwrap();
        got.extend(&body);
    }
    client.shutdown().await.unwrap();
    client.read_to_end(&mut got).await.unwrap();
    (got, serves.await.unwrap())
}

/// Calls with a length in front, by halves of the streams.
pub(crate) async fn rpc<IO>(configs: Configs, up: IO, down: IO) -> (Vec<u8>, Vec<u8>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, server) = shaken(configs, up, down).await;
    let (mut requests, mut replies) = tokio::io::split(server);
    let serves = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Ok(length) = requests.read_u32().await {
            let mut body = vec![0; length as usize];
            requests.read_exact(&mut body).await.unwrap();
            seen.extend(&body);
            replies.write_u32(length).await.unwrap();
            replies.write_all(&body).await.unwrap();
            replies.flush().await.unwrap();
        }
        replies.shutdown().await.unwrap();
        seen
    });
    let (mut replies, mut requests) = tokio::io::split(client);
    let asks = tokio::spawn(async move {
        for length in (0..3000u32).step_by(150) {
            requests.write_u32(length).await.unwrap();
            requests.write_all(&vec![length as u8; length as usize]).await.unwrap();
            requests.flush().await.unwrap();
        }
        requests.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    replies.read_to_end(&mut got).await.unwrap();
    asks.await.unwrap();
    (got, serves.await.unwrap())
}

/// A relay between two streams, with an echo behind it.
pub(crate) async fn relay<IO>(configs: Configs, up: IO, down: IO) -> (Vec<u8>, Vec<u8>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut client, mut relayed) = shaken(configs, up, down).await;
    let (mut near, far) = tokio::io::duplex(10_000);
    let relays = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut relayed, &mut near).await.unwrap() });
    let echoes = tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(far);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let data: Vec<u8> = (0..200_000u32).map(|i| (i % 239) as u8).collect();
    let mut got = vec![0; data.len()];
    for (piece, got) in data.chunks(50_000).zip(got.chunks_mut(50_000)) {
        client.write_all(piece).await.unwrap();
        client.flush().await.unwrap();
        client.read_exact(got).await.unwrap();
    }
    client.shutdown().await.unwrap();
    client.read_to_end(&mut got).await.unwrap();
    echoes.await.unwrap();
    assert_eq!(relays.await.unwrap(), (200_000, 200_000));
    (got, Vec::new())
}

/// Lines, read from the streams themselves, behind a configuration that the client's wish chooses.
pub(crate) async fn lines<IO>((client, server): Configs, up: IO, down: IO) -> (Vec<u8>, Vec<u8>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let accepts = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), down).await.unwrap();
        assert_eq!(start.client_hello().server_name(), Some("localhost"));
        start.into_stream(server).into_fallible().await.map_err(|(error, _)| error).unwrap()
    };
    let connector = TlsConnector::from(client);
    let connects = async { connector.connect(localhost(), up).into_fallible().await.map_err(|_| ()).unwrap() };
    let (mut client, mut server) = tokio::join!(connects, accepts);
    let serves = tokio::spawn(async move {
        let (mut seen, mut line) = (Vec::new(), String::new());
        while server.read_line(&mut line).await.unwrap() > 0 {
            seen.extend(line.as_bytes());
            let reply = format!("{}: ", line.len());
            server.write_all(reply.as_bytes()).await.unwrap();
            server.write_all(line.to_uppercase().as_bytes()).await.unwrap();
            server.flush().await.unwrap();
            line.clear();
        }
        server.shutdown().await.unwrap();
        seen
    });
    let mut got = Vec::new();
    for words in 0..40 {
        client.write_all(format!("{}\n", "word ".repeat(words)).as_bytes()).await.unwrap();
        client.flush().await.unwrap();
        client.read_until(b'\n', &mut got).await.unwrap();
    }
    client.write_all(b"two\nat once\n").await.unwrap();
    client.flush().await.unwrap();
    client.shutdown().await.unwrap();
    client.read_to_end(&mut got).await.unwrap();
    (got, serves.await.unwrap())
}

/// Facts of a connection over a socket, and what a program does with the socket.
pub(crate) async fn socket((client, server): Configs) -> Vec<u8> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serves = tokio::spawn(async move {
        let (tcp, peer) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(tcp).await.unwrap();
        assert_eq!((stream.get_ref().0.peer_addr().unwrap(), stream.get_ref().0.local_addr().unwrap()), (peer, address));
        stream.get_mut().0.set_nodelay(true).unwrap();
        stream.write_all(b"welcome").await.unwrap();
        stream.flush().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(rest.is_empty());
    });
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(client);
    let mut stream = connector.with_alpn(vec![b"wish".to_vec()]).connect(localhost(), tcp).await.unwrap();
    assert!(connector.config().alpn_protocols.is_empty());
    let mut got = vec![0; 7];
    stream.read_exact(&mut got).await.unwrap();
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut got).await.unwrap();
    let (tcp, session) = stream.into_inner();
    assert!(tcp.local_addr().unwrap().ip().is_loopback());
    got.extend(session.alpn_protocol().unwrap_or(b"none"));
    serves.await.unwrap();
    got
}
