// A server that chooses its configuration by name, and what both sides tell of failures, as written for futures-rustls. The module around it has the `use`
// lines that name the crate.

use std::io;
use std::sync::Arc;

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{AsyncReadExt, AsyncWriteExt};

pub async fn serve<IO>(choices: &[(&str, Arc<ServerConfig>)], tcp: IO) -> io::Result<String>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let start: StartHandshake<IO> = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await?;
    let name = start.client_hello().server_name().unwrap_or_default().to_owned();
    let (_, config) = choices.iter().find(|(choice, _)| *choice == name).ok_or(io::ErrorKind::NotFound)?;
    let mut stream = start.into_stream_with(Arc::clone(config), |session| session.set_buffer_limit(Some(4096))).await?;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).await?;
    stream.write_all(greeting.to_uppercase().as_bytes()).await?;
    stream.close().await?;
    Ok(name)
}

pub async fn greet<IO>(config: Arc<ClientConfig>, tcp: IO, name: &'static str) -> io::Result<String>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let name = pki_types::ServerName::try_from(name).map_err(io::Error::other)?;
    let mut stream = TlsConnector::from(config).connect(name, tcp).await?;
    stream.write_all(b"hello").await?;
    stream.close().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// What a program sees of an error: its kind, and the TLS library's own.
pub fn seen(error: io::Error) -> (io::ErrorKind, Option<String>) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    (error.kind(), inner.map(|inner| inner.to_string()))
}
