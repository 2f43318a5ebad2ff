//! The driver for tokio, on tokio's sockets.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tls_cork_tokio::tls_cork::{Connection, CorkConfig, SendFlags};
use tls_cork_tokio::{TlsAcceptor, TlsConnector, client, server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use crate::ours::{Counts, LIMIT, Polled, Tapped};

type Socket = Tapped<tokio::net::TcpStream>;
pub(crate) type Stream = tls_cork_tokio::TlsStream<Socket>;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime"));

/// A stream without a deadline task, so that held bytes are there when a case looks at them.
pub(crate) fn client(
    tcp: TcpStream,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    cork: CorkConfig,
) -> io::Result<client::TlsStream<Socket>> {
    let connector = TlsConnector::from(config).with_cork(cork).map_err(io::Error::other)?;
    Stream::in_time(async { connector.connect_local(name, socket(tcp)?).await })
}

/// As [`client`].
pub(crate) fn server(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    cork: CorkConfig,
) -> io::Result<server::TlsStream<Socket>> {
    let acceptor = TlsAcceptor::from(config).with_cork(cork).map_err(io::Error::other)?;
    Stream::in_time(async { acceptor.accept_local(socket(tcp)?).await })
}

fn socket(tcp: TcpStream) -> io::Result<Socket> {
    tcp.set_nodelay(true)?;
    tcp.set_nonblocking(true)?;
    Ok(Tapped::new(tokio::net::TcpStream::from_std(tcp)?))
}

impl Polled for Stream {
    fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        RUNTIME.block_on(async { tokio::time::timeout(LIMIT, work).await? })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        self.poll_send(cx, data, flags)
    }

    fn poll_send_bytes(&mut self, cx: &mut Context<'_>, data: &mut Bytes, flags: SendFlags) -> Poll<io::Result<usize>> {
        self.poll_send_bytes(cx, data, flags)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(AsyncRead::poll_read(Pin::new(self), cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }

    fn connection(&self) -> &Connection {
        self.get_ref().1
    }

    fn counts(&self) -> (Counts, Counts) {
        self.get_ref().0.counts()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tapped<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.received.advance(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tapped<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.count_sent(bufs, n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
