// Length-prefixed requests and answers over the two halves of a split stream, as written for futures-rustls. The module around it has the `use` lines
// that name the crate.

use std::io;
use std::sync::Arc;

use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::try_join;
use futures_util::io::{ReadHalf, WriteHalf};
use futures_util::{AsyncReadExt, AsyncWriteExt};

pub async fn serve<IO>(config: Arc<ServerConfig>, tcp: IO) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TlsStream::from(TlsAcceptor::from(config).accept(tcp).await?);
    assert!(matches!(&stream, TlsStream::Server(_)));
    assert!(!stream.get_ref().1.is_handshaking());
    let (mut reader, mut writer): (ReadHalf<TlsStream<IO>>, WriteHalf<TlsStream<IO>>) = stream.split();
    while let Some(mut request) = read_frame(&mut reader).await? {
        request.reverse();
        write_frame(&mut writer, &request).await?;
        writer.flush().await?;
    }
    writer.close().await
}

/// Sends every request while it reads the answers in another task.
pub async fn call<IO>(config: Arc<ClientConfig>, tcp: IO, requests: Vec<Vec<u8>>) -> io::Result<Vec<Vec<u8>>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let name = pki_types::ServerName::try_from("localhost").map_err(io::Error::other)?;
    let connecting: Connect<IO> = TlsConnector::from(config).connect(name, tcp);
    let stream = connecting.into_fallible().await.map_err(|(error, _tcp)| error)?;
    let (mut reader, mut writer) = stream.split();
    let asking = smol::spawn(async move {
        for request in requests {
            write_frame(&mut writer, &request).await?;
            writer.flush().await?;
        }
        writer.close().await
    });
    let hearing = smol::spawn(async move {
        let mut answers = Vec::new();
        while let Some(answer) = read_frame(&mut reader).await? {
            answers.push(answer);
        }
        Ok(answers)
    });
    let ((), answers) = try_join(asking, hearing).await?;
    Ok(answers)
}

async fn write_frame<W: AsyncWrite + Unpin>(writer: &mut W, frame: &[u8]) -> io::Result<()> {
    writer.write_all(&(frame.len() as u32).to_be_bytes()).await?;
    writer.write_all(frame).await
}

/// `None` at the stream's end.
async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if reader.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut length[1..]).await?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    reader.read_exact(&mut frame).await?;
    Ok(Some(frame))
}
