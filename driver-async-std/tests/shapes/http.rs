// An HTTP/1.1 client and server with keep-alive, as written for futures-rustls. The module around it has the `use` lines that name the crate.

use std::io;
use std::sync::Arc;

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::io::BufReader;
use futures_util::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

pub async fn serve<IO>(config: Arc<ServerConfig>, tcp: IO) -> io::Result<usize>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = TlsAcceptor::from(config);
    let stream: server::TlsStream<IO> = acceptor.accept(tcp).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(stream.get_ref().1.server_name(), Some("localhost"));
    let mut stream = BufReader::new(stream);
    let mut served = 0;
    while let Some((request_line, length)) = read_head(&mut stream).await? {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let wanted: usize = request_line.split(['/', ' ']).nth(2).and_then(|n| n.parse().ok()).unwrap_or(0);
        let body: Vec<u8> = body.iter().copied().chain((0..).map(|n: usize| n as u8)).take(wanted).collect();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {wanted}\r\n\r\n");
        let stream = stream.get_mut();
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.flush().await?;
        served += 1;
    }
    stream.get_mut().close().await?;
    Ok(served)
}

pub async fn fetch<IO>(config: Arc<ClientConfig>, tcp: IO, requests: &[(usize, usize)]) -> io::Result<Vec<Vec<u8>>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let connector = TlsConnector::from(config);
    let name = pki_types::ServerName::try_from("localhost").map_err(io::Error::other)?;
    let stream: client::TlsStream<IO> = connector.connect_with(name, tcp, |session| session.set_buffer_limit(None)).await?;
    let (_, session) = stream.get_ref();
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(session.peer_certificates().map(|chain| chain.len()), Some(1));
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert!(session.negotiated_cipher_suite().is_some() && !session.is_handshaking());
    let mut stream = BufReader::new(stream);
    let mut bodies = Vec::new();
    for &(posted, wanted) in requests {
        let head = format!("POST /{wanted} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {posted}\r\n\r\n");
        let body = vec![b'x'; posted];
        let mut slices = [io::IoSlice::new(head.as_bytes()), io::IoSlice::new(&body)];
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let n = stream.get_mut().write_vectored(slices).await?;
            io::IoSlice::advance_slices(&mut slices, n);
        }
        stream.get_mut().flush().await?;
        let (status, length) = read_head(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        bodies.push(body);
    }
    stream.get_mut().close().await?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    assert!(rest.is_empty());
    let (_io, session) = stream.into_inner().into_inner();
    assert!(!session.is_handshaking());
    Ok(bodies)
}

/// The first line and the length of the body; `None` at the stream's end.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Option<(String, usize)>> {
    let (mut first, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().map_err(io::Error::other)?;
        }
        match (line, first) {
            ("", Some(first)) => return Ok(Some((first, length))),
            (line, None) => first = Some(line.to_owned()),
            (_, already) => first = already,
        }
    }
}
