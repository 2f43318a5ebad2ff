//! The server side.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{ServerConfig, ServerConnection};
use tls_cork::{ConfigError, Connection, CorkConfig, server_without_early_data};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::keeper::{Attended, Handshake};
use crate::server::TlsStream;

/// Makes server-side streams from one TLS configuration. Early data is refused, whatever the
/// configuration allows, so that the client sends it again (RFC 8446, section 4.2.10).
#[derive(Clone, Debug)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    cork: CorkConfig,
}

impl From<Arc<ServerConfig>> for TlsAcceptor {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self { config: server_without_early_data(config), cork: CorkConfig::default() }
    }
}

impl TlsAcceptor {
    /// Sets the cork settings of the streams that this acceptor makes.
    ///
    /// # Errors
    ///
    /// If a field of `cork` is out of its range.
    pub fn with_cork(mut self, cork: CorkConfig) -> Result<Self, ConfigError> {
        cork.validate()?;
        self.cork = cork;
        Ok(self)
    }

    /// Performs the handshake over `stream`.
    ///
    /// The handshake has no time limit: the future waits for a client that sends nothing. Set a
    /// limit around the future. A future that is dropped drops `stream`.
    ///
    /// Ready when the transport has also taken the session tickets. If the transport has little
    /// room, the client must read the tickets before it writes more than the transport holds.
    /// Otherwise both ends wait for each other.
    pub fn accept<IO>(&self, stream: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.accept_with(stream, |_| ())
    }

    /// As [`accept`](Self::accept), but calls `f` with the session before its first byte arrives.
    ///
    /// Use `f` for settings only. Plaintext that `f` writes leaves at the end of the handshake and
    /// is not counted. A buffer limit that `f` sets is replaced by
    /// [`CorkConfig::send_buffer_limit`]. Half-RTT data is not supported.
    pub fn accept_with<IO, F>(&self, stream: IO, f: F) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(&mut ServerConnection),
    {
        self.handshake(Attended::attended(stream), f)
    }

    /// As [`accept`](Self::accept), over a transport that need not be `Send` or `'static`.
    ///
    /// The deadlines of such a stream fire as described at
    /// [`TlsConnector::connect_local`](crate::TlsConnector::connect_local).
    pub fn accept_local<IO>(&self, stream: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake(Attended::local(stream), |_| ())
    }

    /// The configuration, with early data turned off.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    fn handshake<IO>(&self, io: Attended<IO>, f: impl FnOnce(&mut ServerConnection)) -> Accept<IO> {
        Accept(match ServerConnection::new(Arc::clone(&self.config)) {
            Ok(mut session) => {
                f(&mut session);
                Handshake::new(io, Connection::from_server(session, &self.config, self.cork.clone()))
            }
            Err(error) => Handshake::refused(io, error),
        })
    }
}

/// A future of a handshake: returns a [`server::TlsStream`](TlsStream) or an error.
///
/// The error holds the [`rustls::Error`] if TLS failed, or a
/// [`ReceiveError`](tls_cork::ReceiveError) if the peer's bytes are not TLS: see
/// [`io::Error::get_ref`]. A future that is dropped drops the transport.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Accept<IO>(pub(crate) Handshake<IO>);

/// As [`Accept`], but returns the transport with an error.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct FallibleAccept<IO>(Handshake<IO>);

impl<IO> Accept<IO> {
    /// The same handshake, but the transport is returned with an error.
    pub fn into_fallible(self) -> FallibleAccept<IO> {
        FallibleAccept(self.0)
    }

    /// The transport; `None` after the future was ready.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io().map(|io| &io.inner)
    }

    /// A mutable reference to the transport; `None` after the future was ready.
    pub fn get_mut(&mut self) -> Option<&mut IO> {
        self.0.io_mut().map(|io| &mut io.inner)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Accept<IO> {
    type Output = io::Result<TlsStream<IO>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| done.map(TlsStream::new).map_err(|(error, _)| error))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleAccept<IO> {
    type Output = Result<TlsStream<IO>, (io::Error, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| done.map(TlsStream::new).map_err(|(error, io)| (error, io.inner)))
    }
}
