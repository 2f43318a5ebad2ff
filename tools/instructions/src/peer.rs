//! The other end of a session, and the transport to it, in memory.

use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
use tls_cork_mio::Transport;

/// A transport whose peer is a server of rustls.
///
/// After the handshake it takes what it is given and forgets it.
#[derive(Debug)]
pub(crate) struct Peer {
    server: ServerConnection,
    incoming: Vec<u8>,
    read: usize,
}

impl Peer {
    /// A peer, and a configuration for its client.
    pub(crate) fn new() -> Result<(Self, Arc<ClientConfig>), Box<dyn Error>> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let cert = certified.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        server.set_buffer_limit(None);
        Ok((Self { server, incoming: Vec::new(), read: 0 }, Arc::new(client)))
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.server.is_handshaking()
    }

    /// Sends `count` messages of `len` bytes, one record each.
    pub(crate) fn send(&mut self, len: usize, count: usize) -> io::Result<()> {
        let message = vec![42; len];
        for _ in 0..count {
            self.server.writer().write_all(&message)?;
        }
        self.speak()
    }

    fn speak(&mut self) -> io::Result<()> {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.incoming)?;
        }
        Ok(())
    }

    fn take(&mut self, mut data: &[u8]) -> io::Result<usize> {
        let taken = data.len();
        while self.server.is_handshaking() && !data.is_empty() {
            self.server.read_tls(&mut data)?;
            self.server.process_new_packets().map_err(io::Error::other)?;
            self.speak()?;
        }
        Ok(taken)
    }
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let waiting = &self.incoming[self.read..];
        if waiting.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = waiting.len().min(buf.len());
        buf[..taken].copy_from_slice(&waiting[..taken]);
        self.read += taken;
        Ok(taken)
    }
}

impl Write for Peer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.take(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        bufs.iter().try_fold(0, |sum, buf| Ok(sum + self.take(buf)?))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Peer {
    fn send(&mut self, bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        Write::write_vectored(self, bufs)
    }
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut().read(buf) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.get_mut().write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Write::write_vectored(self.get_mut(), bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut().read(buf.initialize_unfilled()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done.map(|taken| buf.advance(taken))),
        }
    }
}

impl tokio::io::AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.get_mut().write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Write::write_vectored(self.get_mut(), bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
