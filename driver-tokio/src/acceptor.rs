//! The server side.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{ServerConfig, ServerConnection};
use tls_cork::{ConfigError, Connection, CorkConfig, server_without_early_data};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::io::{Handshake, Io};
use crate::server::TlsStream;

/// Makes server-side streams from one TLS configuration. Early data is refused, whatever that says,
/// so that the client sends it again.
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
    /// The same acceptor, whose streams hold, release and seal as `cork` says.
    ///
    /// # Errors
    ///
    /// If a field of `cork` is out of its range.
    pub fn with_cork(mut self, cork: CorkConfig) -> Result<Self, ConfigError> {
        cork.validate()?;
        self.cork = cork;
        Ok(self)
    }

    /// Shakes hands over `stream`.
    ///
    /// Without a limit on time: a client that says nothing is waited for. Put one around the
    /// future; dropping it drops `stream`.
    ///
    /// Ends when the transport has taken the session tickets too. If it has little room, the client
    /// has to read them before it writes more than fits the transport: otherwise both ends wait for
    /// each other.
    pub fn accept<IO>(&self, stream: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.accept_with(stream, |_| ())
    }

    /// As [`accept`](Self::accept), with a look at the session before its first byte arrives.
    ///
    /// The closure is for settings. Plaintext that it writes leaves at the end of the handshake and
    /// is not counted; rustls's buffer limit is lifted afterwards,
    /// [`CorkConfig::send_buffer_limit`] takes its place. Half-RTT data is out of scope.
    pub fn accept_with<IO, F>(&self, stream: IO, f: F) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(&mut ServerConnection),
    {
        self.handshake(Io::attended(stream), f)
    }

    /// As [`accept`](Self::accept), over a transport that need not be `Send` or `'static`.
    ///
    /// What is held leaves as
    /// [`TlsConnector::connect_local`](crate::TlsConnector::connect_local) says.
    pub fn accept_local<IO>(&self, stream: IO) -> Accept<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake(Io::local(stream), |_| ())
    }

    /// The configuration, in which early data is turned off.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    fn handshake<IO>(&self, io: Io<IO>, f: impl FnOnce(&mut ServerConnection)) -> Accept<IO> {
        Accept(match ServerConnection::new(Arc::clone(&self.config)) {
            Ok(mut session) => {
                f(&mut session);
                Handshake::new(io, Connection::from_server(session, &self.config, self.cork.clone()))
            }
            Err(error) => Handshake::refused(io, error),
        })
    }
}

/// A handshake that gives a [`server::TlsStream`](TlsStream), or an error.
///
/// The error holds the [`rustls::Error`] if TLS failed, or a
/// [`ReceiveError`](tls_cork::ReceiveError) if the peer does not seem to speak TLS: see
/// [`io::Error::get_ref`]. Dropping it drops the transport.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Accept<IO>(pub(crate) Handshake<IO>);

/// As [`Accept`], but gives the transport back with an error.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct FallibleAccept<IO>(Handshake<IO>);

impl<IO> Accept<IO> {
    /// The same handshake, which gives the transport back with an error.
    pub fn into_fallible(self) -> FallibleAccept<IO> {
        FallibleAccept(self.0)
    }

    /// The transport; `None` after the end.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io().map(|io| &io.inner)
    }

    /// The transport, to be changed; `None` after the end.
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
