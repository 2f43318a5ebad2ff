//! The client side.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tls_cork::{ConfigError, Connection, CorkConfig, client_without_early_data};

use crate::client::TlsStream;
use crate::io::{Handshake, Io};

/// Makes client-side streams from one TLS configuration. Early data is not offered, whatever that
/// says.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    cork: CorkConfig,
}

impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self { config: client_without_early_data(config), cork: CorkConfig::default() }
    }
}

impl TlsConnector {
    /// The same connector, whose streams hold, release and seal as `cork` says.
    ///
    /// # Errors
    ///
    /// If a field of `cork` is out of its range.
    pub fn with_cork(mut self, cork: CorkConfig) -> Result<Self, ConfigError> {
        cork.validate()?;
        self.cork = cork;
        Ok(self)
    }

    /// Shakes hands over `stream`, with the server that `domain` names.
    ///
    /// Without a limit on time: put one around the future; dropping it drops `stream`.
    pub fn connect<IO>(&self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_with(domain, stream, |_| ())
    }

    /// As [`connect`](Self::connect), with a look at the session before its first byte leaves.
    ///
    /// The closure is for settings. Plaintext that it writes leaves at the end of the handshake and
    /// is not counted; rustls's buffer limit is lifted afterwards,
    /// [`CorkConfig::send_buffer_limit`] takes its place. Early data is out of scope.
    pub fn connect_with<IO, F>(&self, domain: ServerName<'static>, stream: IO, f: F) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&mut ClientConnection),
    {
        match ClientConnection::new(Arc::clone(&self.config), domain) {
            Ok(mut session) => {
                f(&mut session);
                Connect(Handshake::new(
                    Io::new(stream),
                    Connection::from_client(session, &self.config, self.cork.clone()),
                ))
            }
            Err(error) => Connect(Handshake::refused(Io::new(stream), error)),
        }
    }
}

/// A handshake that gives a [`client::TlsStream`](TlsStream), or an error.
///
/// The error holds the [`rustls::Error`] if TLS failed, or a [`ReceiveError`](tls_cork::ReceiveError)
/// if the peer does not seem to speak TLS: see [`io::Error::get_ref`]. Dropping it
/// drops the transport.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Connect<IO>(Handshake<IO>);

/// As [`Connect`], but gives the transport back with an error.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct FallibleConnect<IO>(Handshake<IO>);

impl<IO> Connect<IO> {
    /// The same handshake, which gives the transport back with an error.
    pub fn into_fallible(self) -> FallibleConnect<IO> {
        FallibleConnect(self.0)
    }

    /// The transport; `None` after the end.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io().map(|io| &io.inner)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Connect<IO> {
    type Output = io::Result<TlsStream<IO>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| done.map(TlsStream::new).map_err(|(error, _)| error))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleConnect<IO> {
    type Output = Result<TlsStream<IO>, (io::Error, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| done.map(TlsStream::new).map_err(|(error, io)| (error, io.inner)))
    }
}
